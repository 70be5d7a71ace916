/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A RAM block of two streams, compared page by page. What the indexes know is
 * not read; the rest is read from both, with many requests in flight, and comes
 * out in the order of the block.
 */
#ifndef SNAP_COMPARE_H
#define SNAP_COMPARE_H

#include "page-pieces.h"
#include "snap-buffers.h"
#include "snap-pages.h"

/* One of the two streams. */
typedef struct SnapCompareSide {
    const StreamIndex *index;
    SnapPages *pages;            /* of that index */
    const MigrationBlock *block; /* NULL: it has no such block, all is absent */
} SnapCompareSide;

/* @count pages from @first on are like that. Never yields. */
typedef void SnapCompareFunc(uint64_t first, uint64_t count,
                             PageVerdict verdict, void *opaque);

/*
 * A ring for comparing; @depth as in SnapOptions. Returns NULL and fills @errp
 * when there is no memory.
 */
AioBufferPool *snap_compare_ring_new(unsigned depth, GError **errp);

/*
 * Tell @func what the two @sides hold of a block, in pages of @page_size bytes,
 * going up; what is never told is absent from both. A page behind the end of
 * one block counts as absent from that side. Nothing is in flight when this
 * returns. Yields. Returns false and fills @errp (those of snap_pages_read(),
 * with "a: " or "b: " in front); @pool is of no more use then.
 */
bool coroutine_fn snap_compare_block(AioBufferPool *pool,
                                     const SnapCompareSide sides[2],
                                     uint32_t page_size, SnapCompareFunc *func,
                                     void *opaque, GError **errp);

#endif /* SNAP_COMPARE_H */
