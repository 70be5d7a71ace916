/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What adding a snapshot is, with VM state or without: the disk is shared with
 * it, it gets an L1 of its own and an entry in the snapshot table.
 */
#ifndef QCOW2_NEW_SNAPSHOT_H
#define QCOW2_NEW_SNAPSHOT_H

#include "qcow2-snapshots.h"
#include "share-disk.h"
#include "transaction.h"

typedef struct Qcow2NewSnapshot {
    bool like_qemu_img; /* set before _begin(): see qcow2-snapshots.h */
    /* Constant after _begin(). */
    Qcow2Image *image;
    Qcow2Transaction *transaction;
    Qcow2SharedDisk disk;
    const Qcow2Snapshot *old; /* the one that is replaced, or NULL */
    char *id;
    char *name;
} Qcow2NewSnapshot;

/*
 * Begin a snapshot called @name, which replaces @old if that is not NULL:
 * everything that can be refused is refused here. Fills the zero-initialised
 * *@snapshot. Yields. Returns false and fills @errp; _end() is due also then.
 */
bool coroutine_fn qcow2_new_snapshot_begin(Qcow2NewSnapshot *snapshot,
                                           Qcow2Image *image, const char *name,
                                           const Qcow2Snapshot *old,
                                           GError **errp);

/*
 * Make it part of the image. Its VM state, if any, is mapped by @l2_tables L2
 * tables that lie one behind the other from @l2_offset on. Yields.
 */
bool coroutine_fn qcow2_new_snapshot_commit(Qcow2NewSnapshot *snapshot,
                                            const Qcow2SnapshotStamp *stamp,
                                            uint64_t l2_offset,
                                            uint64_t l2_tables, GError **errp);

/* Free what it holds; without a commit the file is cut back. Yields. */
void coroutine_fn qcow2_new_snapshot_end(Qcow2NewSnapshot *snapshot);

#endif /* QCOW2_NEW_SNAPSHOT_H */
