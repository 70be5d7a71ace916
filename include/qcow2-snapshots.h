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
 * Changes that free clusters give their disk space back to the file system
 * when they have happened. After this call those of @image do not.
 */
void qcow2_keep_freed(Qcow2Image *image);

/*
 * Can a snapshot be called @name in this image, apart from @old, which may be
 * NULL? Decimal names are refused because QEMU takes them for IDs. Fills @errp
 * (INVALID, EXISTS).
 */
bool qcow2_check_new_name(const Qcow2Image *image, const char *name,
                          const Qcow2Snapshot *old, GError **errp);

/*
 * Add a disk-only snapshot of @image's present disk content as `qemu-img
 * snapshot -c' makes one: with any @name of up to QCOW2_MAX_NAME_BYTES, also one
 * that is taken, and an instruction count of 0. @stamp says nothing of VM state.
 * Afterwards @image is what it was: who wants to see the change opens it anew.
 * Yields. On failure the file is as it was, unless the text says otherwise.
 * Fills @errp.
 */
bool coroutine_fn qcow2_snapshot_create_like_qemu_img(
    Qcow2Image *image, const char *name, const Qcow2SnapshotStamp *stamp,
    GError **errp);

/*
 * Delete @snapshot, which is one of @image's, with its VM state: what nobody
 * else uses becomes free, and the file is cut behind what is still in use.
 * Afterwards @image is what it was, as above. Yields. On failure the file is
 * as it was, unless the text says otherwise. Fills @errp (DAMAGED, UNSUPPORTED,
 * IO, NO_SPACE: also deleting writes new tables before it frees the old, unless
 * those fit where the snapshot's own data was).
 */
bool coroutine_fn qcow2_snapshot_delete(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp);

/*
 * Let the active disk be what it was when @snapshot, which is one of @image's,
 * was made; its size, too. The snapshot stays. VM state in the active L1 goes,
 * and the snapshot's is not put there. Afterwards @image is what it was, as
 * above. Yields. On failure the file is as it was, unless the text says
 * otherwise. Fills @errp (DAMAGED, IO, NO_SPACE, UNSUPPORTED: also bitmaps,
 * another size in version 2, refcounts that are too narrow).
 */
bool coroutine_fn qcow2_snapshot_apply(Qcow2Image *image,
                                       const Qcow2Snapshot *snapshot,
                                       GError **errp);

typedef struct Qcow2Change Qcow2Change;

/*
 * The same in two steps: everything that can be refused is refused in the
 * first, and nothing that the image refers to is changed before the second, so
 * that VM state of @image may be read meanwhile. @image outlives the result.
 * Yields. Returns NULL and fills @errp.
 */
Qcow2Change *coroutine_fn qcow2_delete_begin(Qcow2Image *image,
                                             const Qcow2Snapshot *snapshot,
                                             GError **errp);
Qcow2Change *coroutine_fn qcow2_apply_begin(Qcow2Image *image,
                                            const Qcow2Snapshot *snapshot,
                                            GError **errp);

/*
 * Take the disk space that the commit needs, so that a full disk is noticed
 * now. Yields. Fills @errp (NO_SPACE); _end() is still due.
 */
bool coroutine_fn qcow2_change_reserve(Qcow2Change *change, GError **errp);

/*
 * Let it happen, stable, and give back disk space. Yields. On failure the file
 * is as it was, unless the text says otherwise; _end() is still due.
 */
bool coroutine_fn qcow2_change_commit(Qcow2Change *change, GError **errp);

/* Has it happened, or may it have, although _commit() failed? */
bool qcow2_change_may_be_committed(const Qcow2Change *change);

/*
 * Free it; without a commit the file is cut back to its old length. NULL is
 * allowed. Yields.
 */
void coroutine_fn qcow2_change_end(Qcow2Change *change);

/*
 * Give @snapshot, which is one of @image's, another name; nothing else of it
 * changes. Afterwards @image is what it was, as above. Yields. On failure the
 * file is as it was, unless the text says otherwise. Fills @errp (INVALID,
 * EXISTS, DAMAGED, UNSUPPORTED, IO, NO_SPACE).
 */
bool coroutine_fn qcow2_snapshot_rename(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        const char *name, GError **errp);

/* VM state that QEMU left behind the disk in the active L1 when it loaded. */
typedef struct Qcow2StaleVmstate {
    bool present;
    uint64_t freeable; /* bytes of clusters that nothing else refers to */
} Qcow2StaleVmstate;

/*
 * Look for it; only what is left behind is read. Yields. Fills @errp (DAMAGED,
 * UNSUPPORTED, IO).
 */
bool coroutine_fn qcow2_look_at_stale_vmstate(Qcow2Image *image,
                                              Qcow2StaleVmstate *vmstate,
                                              GError **errp);

/*
 * Take it out of the active L1 and free what nothing else refers to. Without
 * any, nothing is written. Afterwards @image is what it was, as above. Yields.
 * On failure the file is as it was, unless the text says otherwise. Fills @errp
 * as qcow2_snapshot_delete() does.
 */
bool coroutine_fn qcow2_free_stale_vmstate(Qcow2Image *image, GError **errp);

#endif /* QCOW2_SNAPSHOTS_H */
