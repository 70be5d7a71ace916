/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What load --apply does besides: the disks of a machine go back to a snapshot
 * while its VM state goes out. All is prepared before the first byte; the
 * disks change between the last read and the last bytes.
 *
 * Not before: a stream that breaks off, because QEMU refuses what it reads or
 * is told to quit, then leaves the disks as they are. And not later: QEMU opens
 * them anew when it has the end, and must find the snapshot's content.
 */
#ifndef SNAP_RESTORE_H
#define SNAP_RESTORE_H

#include "snap-internal.h"

typedef struct SnapRestore SnapRestore;

/*
 * Prepare to apply @snapshot of @image, which is locked for writing and
 * outlives the result, and the snapshot of that name in each further image of
 * the options. Yields. Returns NULL and fills @errp, and nothing has changed.
 */
SnapRestore *coroutine_fn snap_restore_begin(const SnapOptions *options,
                                             const SnapImage *image,
                                             const Qcow2Snapshot *snapshot,
                                             GError **errp);

/*
 * Apply, one image after the other, and drop all locks. Yields. On failure the
 * locks stay, and what has been applied is; it does no harm to do it again.
 */
bool coroutine_fn snap_restore_commit(SnapRestore *restore, GError **errp);

/* How many disks are the snapshot's, or may be. */
unsigned snap_restore_applied(const SnapRestore *restore);

/* Close the further images, unchanged without a commit. NULL is allowed. */
void coroutine_fn snap_restore_end(SnapRestore *restore);

#endif /* SNAP_RESTORE_H */
