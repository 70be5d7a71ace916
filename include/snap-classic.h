/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A stream with mapped RAM as the classic stream that the same machine would
 * have sent: pages are in records, one behind the other, so that it can go
 * through a pipe. It is never made as a whole. Any part of it can be read, by
 * many at once, so that what moves streams moves this one, too.
 */
#ifndef SNAP_CLASSIC_H
#define SNAP_CLASSIC_H

#include "snap-pages.h"

typedef struct SnapClassic SnapClassic;

/*
 * Of the stream in @source, which must outlive it, and whose `fetch' fails on
 * holes. Its frame is read (snap_mapped_read_frame()). Memory is that of the
 * list of blocks and 8 bytes for each 32 Ki pages. Yields. Returns NULL and
 * fills @errp: UNSUPPORTED (RAM is not mapped, or shared with others), STREAM,
 * that of `fetch'.
 */
SnapClassic *coroutine_fn snap_classic_open(const SnapSource *source,
                                            GError **errp);

/* No read is under way. NULL is allowed. */
void snap_classic_close(SnapClassic *classic);

/* Its length. */
uint64_t snap_classic_bytes(const SnapClassic *classic);

/*
 * Read inside it. Memory besides @data is 1 MiB and that of the list of pages
 * in it; SNAP_MAX_DEPTH calls do so at once, and others wait. Yields. Returns
 * false and fills @errp: that of `fetch', or STREAM (a bitmap is not what it
 * was).
 */
bool coroutine_fn snap_classic_read(SnapClassic *classic, uint64_t position,
                                    uint8_t *data, size_t bytes, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapClassic, snap_classic_close)

#endif /* SNAP_CLASSIC_H */
