/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reading many tables of one cluster each, L2 tables or refcount blocks, in
 * order and fast: they lie all over the file, a gigabyte apart, and one after
 * the other would cost the latency of the disk for each. Reads run ahead of
 * the caller, tables that are neighbours in the file are read in one request,
 * and what is in memory is bounded.
 */
#ifndef QCOW2_TABLE_SCAN_H
#define QCOW2_TABLE_SCAN_H

#include "block-file.h"

typedef struct Qcow2TableScan Qcow2TableScan;

/*
 * Begin to read the tables of @table_bytes (a power of two, 512 to 2 MiB) at
 * @offsets, of which there are @count; 0 means that there is none. @offsets
 * and @what, a table's name for errors, must outlive the scan. Returns NULL
 * and fills @errp: DAMAGED when together they are much larger than the file,
 * because some are named very often; IO when there is no memory. Does not
 * yield.
 */
Qcow2TableScan *qcow2_table_scan_begin(BlockFile *file, const char *what,
                                       const uint64_t *offsets, uint64_t count,
                                       size_t table_bytes, GError **errp);

/*
 * The next table whose offset is not 0, as stored; the caller asks no more
 * often than there are such. It may be changed, and is there until the next
 * call. Yields. Returns NULL and fills @errp (IO) when it cannot be read.
 */
void *coroutine_fn qcow2_table_scan_next(Qcow2TableScan *scan, GError **errp);

/* Wait for what is in flight and free the scan. NULL is allowed. Yields. */
void coroutine_fn qcow2_table_scan_end(Qcow2TableScan *scan);

#endif /* QCOW2_TABLE_SCAN_H */
