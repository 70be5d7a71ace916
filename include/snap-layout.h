/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A file that nobody has written yet: which bytes of RAM, of the stream, or of
 * our own are where in it. It can be read at any place, and knows where it has
 * nothing but zeros, so that it can go to a sparse file or to a pipe.
 */
#ifndef SNAP_LAYOUT_H
#define SNAP_LAYOUT_H

#include "snap-pages.h"

typedef struct SnapLayout SnapLayout;

/* A file of no bytes; @pages and @source must outlive it. */
SnapLayout *snap_layout_new(SnapPages *pages, const SnapSource *source);
void snap_layout_free(SnapLayout *layout);

/*
 * Put something at @at, behind all that is there already. Of a block @bytes
 * from @offset on, whole pages at a multiple of the page size; of the stream,
 * those from @position on; or @bytes themselves, which are taken over.
 */
void snap_layout_add_block(SnapLayout *layout, uint64_t at,
                           const MigrationBlock *block, uint64_t offset,
                           uint64_t bytes);
void snap_layout_add_stream(SnapLayout *layout, uint64_t at, uint64_t position,
                            uint64_t bytes);
void snap_layout_add_bytes(SnapLayout *layout, uint64_t at, GByteArray *bytes);

/* How long the file is. */
uint64_t snap_layout_bytes(const SnapLayout *layout);

/*
 * The next range at or behind *@start and before @limit that has to be written:
 * from *@start to *@end, @most bytes at most, which are whole pages. What lies
 * between ranges is zero; a few KiB of zeros between data are not worth a hole.
 * False: there is none.
 */
bool snap_layout_find(const SnapLayout *layout, uint64_t *start, uint64_t *end,
                      uint64_t limit, uint64_t most);

/*
 * Read @bytes at @position, where RAM is, whole pages. Many at once. Yields.
 * Fills @errp as snap_pages_read().
 */
bool coroutine_fn snap_layout_read(const SnapLayout *layout, uint64_t position,
                                   uint8_t *data, size_t bytes, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapLayout, snap_layout_free)

#endif /* SNAP_LAYOUT_H */
