/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Pages whose last record tells only how they differ from what they were
 * before (XBZRLE). All records of such a page count, in the order of the
 * stream: so it is gone through once, and what it does to them is done to a
 * temporary file that holds these pages, and no others, one behind the other.
 */
#ifndef SNAP_REPLAY_H
#define SNAP_REPLAY_H

#include "snap-pages.h"

typedef struct SnapReplay SnapReplay;

/* Has @index any such pages? It knows where pages are. */
bool snap_replay_is_needed(const StreamIndex *index);

/* As snap_pages_open(). */
SnapReplay *coroutine_fn snap_replay_new(const StreamIndex *index,
                                         const SnapSource *source,
                                         const char *directory,
                                         const SnapOptions *options,
                                         GError **errp);

/* NULL is allowed. */
void snap_replay_free(SnapReplay *replay);

/*
 * Read page number @page of @block, which is one of them. Yields. Fills @errp
 * (IO).
 */
bool coroutine_fn snap_replay_read(SnapReplay *replay,
                                   const MigrationBlock *block, uint32_t page,
                                   uint8_t *data, GError **errp);

#endif /* SNAP_REPLAY_H */
