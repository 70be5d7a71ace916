/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The image that a save goes into: opened, made, or waited for; and looked at
 * while somebody else has it.
 */
#ifndef SNAP_TARGET_H
#define SNAP_TARGET_H

#include "interrupt.h"
#include "snap-internal.h"

typedef struct SnapTarget {
    SnapImage image;
    bool created; /* the image did not exist before */
} SnapTarget;

/*
 * Open options->image for writing, or make it if it is missing and that is
 * wanted. Yields. Fills @errp; LOCKED: somebody else has it.
 * snap_target_close() is due also then.
 */
bool coroutine_fn snap_target_open(const SnapOptions *options,
                                   SnapTarget *target, GError **errp);

/*
 * How a command waits for images that are locked: one after the other, all
 * together as long as its options say.
 */
typedef struct SnapWait {
    const Interrupt *interrupt; /* ends it */
    gint64 since; /* g_get_monotonic_time(); 0: nobody was waited for yet */
} SnapWait;

/*
 * The same, but wait for an image that is locked, as long as the options say
 * since @wait began, which may be now, or until it is interrupted
 * (INTERRUPTED).
 */
bool coroutine_fn snap_target_wait(const SnapOptions *options, SnapWait *wait,
                                   SnapTarget *target, GError **errp);

/*
 * Close it. An image that was made is removed, unless @keep. Zero-initialised
 * is allowed.
 */
void snap_target_close(const SnapOptions *options, SnapTarget *target,
                       bool keep);

/* What the new snapshot will be called; freed with g_free(). */
char *snap_target_new_name(const SnapOptions *options, const Qcow2Image *image);

/* What there is to know of an image without the lock. */
typedef struct SnapGlance {
    char *path; /* of the image: absolute, without symbolic links */
    char *name; /* of the new snapshot, if nothing comes between */
    bool grows; /* it is a regular file and takes space where it is */
    uint64_t cluster_bytes;
    uint64_t image_bytes; /* length of the file */
    uint64_t table_bytes; /* of tables that will be written anew, at most */
} SnapGlance;

/*
 * Look at an image that somebody else may be writing to, and refuse what will
 * certainly be refused when it is locked. Yields. Fills @errp.
 */
bool coroutine_fn snap_target_glance(const SnapOptions *options,
                                     SnapGlance *glance, GError **errp);
void snap_glance_clear(SnapGlance *glance);

/* What the image will grow by to take in @bytes of VM state. Bytes. */
uint64_t snap_glance_growth(const SnapGlance *glance, uint64_t bytes);

#endif /* SNAP_TARGET_H */
