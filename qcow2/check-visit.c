/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reading L2 tables: many in the order of the file, and those that lie where
 * no table can be.
 */
#include <errno.h>

#include "check.h"
#include "snap-error.h"
#include "table-scan.h"

/* Tables of one scan: their offsets are in memory (512 KiB). */
#define BATCH_TABLES 65536

bool coroutine_fn qcow2_check_read_unaligned(Qcow2Check *check, uint64_t offset,
                                             uint8_t **table, GError **errp)
{
    int ret;

    *table = NULL;
    if (qcow2_check_present(check, offset, 1) == 0) {
        return true;
    }
    if (!qcow2_check_charge(check, check->cluster_size, errp)) {
        return false;
    }
    *table = g_try_malloc(check->cluster_size);
    ret = *table ? block_file_pread(check->image->file, offset, *table,
                                    check->cluster_size)
                 : -ENOMEM;
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the L2 table at 0x%" PRIx64, offset);
        return false;
    }
    return true;
}

/* Yields. */
static bool coroutine_fn visit_batch(Qcow2Check *check, const uint64_t *offsets,
                                     uint64_t count, Qcow2CheckVisit *visit,
                                     GError **errp)
{
    Qcow2TableScan *scan = qcow2_table_scan_begin(check->image->file,
                                                  "L2 table", offsets, count,
                                                  check->cluster_size, errp);
    bool visited = scan != NULL;
    uint64_t i;

    for (i = 0; i < count && visited; i++) {
        uint64_t cluster = offsets[i] >> check->image->header.cluster_bits;
        uint8_t *table = qcow2_table_scan_next(scan, errp);

        visited = table && visit(check, cluster, table, errp);
    }
    qcow2_table_scan_end(scan);
    return visited;
}

/* The header as a table: the offset 0 means something else to a scan. */
static bool coroutine_fn visit_header(Qcow2Check *check, Qcow2CheckVisit *visit,
                                      GError **errp)
{
    g_autofree uint8_t *table = NULL;

    return qcow2_check_read_unaligned(check, 0, &table, errp) &&
           visit(check, 0, table, errp);
}

bool coroutine_fn qcow2_check_visit_tables(Qcow2Check *check,
                                           const Qcow2ReferenceMap *map,
                                           Qcow2CheckVisit *visit,
                                           GError **errp)
{
    g_autofree uint64_t *offsets = g_new(uint64_t, BATCH_TABLES);
    uint64_t cluster = qcow2_reference_map_next(map, 1);

    if (qcow2_reference_map_get(map, 0) && !visit_header(check, visit, errp)) {
        return false;
    }
    while (cluster != QCOW2_NO_CLUSTER) {
        uint64_t count;

        for (count = 0; count < BATCH_TABLES && cluster != QCOW2_NO_CLUSTER;
             count++) {
            offsets[count] = cluster << check->image->header.cluster_bits;
            cluster = qcow2_reference_map_next(map, cluster + 1);
        }
        if (!visit_batch(check, offsets, count, visit, errp)) {
            return false;
        }
    }
    return true;
}
