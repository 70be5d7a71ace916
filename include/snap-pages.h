/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The content of RAM as a stream holds it: any page of any block, in any order,
 * by many coroutines at once, without reading what lies between in the stream.
 *
 * What a page holds is what its last record says. Three kinds of records say
 * all of it by themselves. The fourth (XBZRLE) tells only how the page differs
 * from what it was before, which an index of last records does not know: where
 * a page ends with one, the stream is gone through once at the beginning, and
 * such pages are put together in a temporary file (snap-replay.h).
 */
#ifndef SNAP_PAGES_H
#define SNAP_PAGES_H

#include "snap-options.h"
#include "stream-index.h"

/* The bytes of a stream, wherever they are. */
typedef struct SnapSource {
    /* Read, inside `bytes'. Many at once, in any order. Yields. */
    bool coroutine_fn (*fetch)(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp);
    uint64_t bytes;
    void *opaque;
} SnapSource;

typedef struct SnapPages SnapPages;

/* What a range of pages is like. */
typedef enum SnapContent {
    SNAP_CONTENT_DATA,   /* it has to be read */
    SNAP_CONTENT_ZERO,   /* the stream says that it is zero */
    SNAP_CONTENT_ABSENT, /* not in the stream: a load leaves it alone */
} SnapContent;

/*
 * Make the pages of the stream in @source, of which @index knows, readable;
 * both must outlive what is returned. What has to be put together first goes
 * to a temporary file in @directory, as @options say about depth and progress.
 * Yields. Returns NULL and fills @errp: UNSUPPORTED (nobody knows where its
 * pages are: far too many pieces), STREAM, that of `fetch', or those of
 * temporary files.
 */
SnapPages *coroutine_fn snap_pages_open(const StreamIndex *index,
                                        const SnapSource *source,
                                        const char *directory,
                                        const SnapOptions *options,
                                        GError **errp);

/* No read is under way. NULL is allowed. */
void snap_pages_close(SnapPages *pages);

/* Bytes of a page; 0: there is not a single one in the stream. */
uint32_t snap_pages_size(const SnapPages *pages);

/*
 * How many bytes of @block from @offset on are all like the first of them,
 * which is *@content? @offset is inside the block and a multiple of the page
 * size, as is what is returned; nothing behind @most bytes is looked at, which
 * may reach beyond the block. Does not yield.
 */
uint64_t snap_pages_extent(const SnapPages *pages, const MigrationBlock *block,
                           uint64_t offset, uint64_t most,
                           SnapContent *content);

/*
 * Read whole pages inside @block: @offset and @bytes are multiples of the page
 * size. What is absent reads as zeros. Pages that are neighbours in the stream
 * are read together, also across other records that lie between. Each read uses
 * 2 MiB besides @data, and SNAP_MAX_DEPTH of them do so at once. Yields.
 * Returns false and fills @errp: STREAM (the text names block, page, and offset
 * in the stream), that of `fetch', or IO.
 */
bool coroutine_fn snap_pages_read(SnapPages *pages, const MigrationBlock *block,
                                  uint64_t offset, uint8_t *data, size_t bytes,
                                  GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapPages, snap_pages_close)

#endif /* SNAP_PAGES_H */
