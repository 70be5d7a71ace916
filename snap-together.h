/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One change of the disks of a machine: all go back to a snapshot, or all lose
 * it. All is prepared before the first of them changes, in a moment that the
 * caller chooses.
 *
 * Going back cannot be taken back, nor can deleting. So what a crash between
 * the images may leave is chosen by their order. Where there is VM state, its
 * disks are there: a snapshot with VM state is deleted first. A disk that goes
 * back with the VM state that is loaded does so before the image of that state,
 * but the same command puts all of them back anyway.
 */
#ifndef SNAP_TOGETHER_H
#define SNAP_TOGETHER_H

#include "snap-internal.h"

typedef enum SnapTogetherKind {
    SNAP_TOGETHER_LOAD, /* apply, while an incoming QEMU knows the disks */
    SNAP_TOGETHER_APPLY,
    SNAP_TOGETHER_DELETE,
} SnapTogetherKind;

typedef struct SnapTogether SnapTogether;

/*
 * Prepare the change for @snapshot of @image, which is locked for writing and
 * outlives the result, and for the snapshot of that name in each further image
 * of the options. Yields. Returns NULL and fills @errp, and nothing has
 * changed.
 */
SnapTogether *coroutine_fn snap_together_begin(const SnapOptions *options,
                                               SnapTogetherKind kind,
                                               const SnapImage *image,
                                               const Qcow2Snapshot *snapshot,
                                               GError **errp);

/*
 * Change one image after the other, and drop all locks. Yields. On failure the
 * locks stay, and what has changed has: see snap_together_explain().
 */
bool coroutine_fn snap_together_commit(SnapTogether *together, GError **errp);

/* How many images have changed, or may have. */
unsigned snap_together_changed(const SnapTogether *together);

/* It failed; if any image has changed, say how many at the end of *@errp. */
void snap_together_explain(const SnapTogether *together, GError **errp);

/* Close the further images, unchanged without a commit. NULL is allowed. */
void coroutine_fn snap_together_end(SnapTogether *together);

#endif /* SNAP_TOGETHER_H */
