/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Changes of the set of snapshots that an image has. Each happens at once, by
 * one write of one sector, or not at all. Snapshots with VM state are made
 * with qcow2-vmstate.h.
 */
#ifndef QCOW2_SNAPSHOTS_H
#define QCOW2_SNAPSHOTS_H

#include "qcow2.h"

typedef struct Qcow2SnapshotStamp {
    uint64_t vm_state_size; /* bytes; 0: a disk-only snapshot */
    uint32_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
} Qcow2SnapshotStamp;

/*
 * Can a snapshot be called @name in this image? Decimal names are refused
 * because QEMU takes them for IDs. Fills @errp (INVALID, EXISTS).
 */
bool qcow2_check_new_name(const Qcow2Image *image, const char *name,
                          GError **errp);

/*
 * Add a disk-only snapshot called @name of @image's present disk content;
 * @stamp says nothing of VM state. Afterwards @image is what it was: who wants
 * to see the change opens it anew. Yields. On failure the file is as it was,
 * unless the text says otherwise. Fills @errp.
 */
bool coroutine_fn qcow2_snapshot_create(Qcow2Image *image, const char *name,
                                        const Qcow2SnapshotStamp *stamp,
                                        GError **errp);

/*
 * Delete @snapshot, which is one of @image's, with its VM state: what nobody
 * else uses becomes free, and the file is cut behind what is still in use.
 * Afterwards @image is what it was, as above. Yields. On failure the file is
 * as it was, unless the text says otherwise. Fills @errp (DAMAGED, UNSUPPORTED,
 * IO, NO_SPACE: also deleting writes new tables before it frees the old).
 */
bool coroutine_fn qcow2_snapshot_delete(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp);

#endif /* QCOW2_SNAPSHOTS_H */
