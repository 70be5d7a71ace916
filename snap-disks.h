/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The further disks of a machine (--with) that is saved, or whose disks get a
 * snapshot: each gets one of the same name without VM state, as savevm makes
 * them.
 *
 * They are committed before the image with the VM state. A crash in between
 * leaves snapshots of disks that belong to no VM state: nothing refers to
 * them, QEMU does not load them, and a name that is taken tells of them. The
 * other way round there would be a VM state without its disks.
 */
#ifndef SNAP_DISKS_H
#define SNAP_DISKS_H

#include "qcow2-vmstate.h"
#include "snap-target.h"

typedef struct SnapDisks SnapDisks;

/* The same image must not be meant twice. Fills @errp (INVALID). */
bool snap_check_distinct(const SnapOptions *options, GError **errp);

/*
 * The same, and nothing may be asked for that cannot be taken back when another
 * image fails. Fills @errp (INVALID).
 */
bool snap_disks_check(const SnapOptions *options, GError **errp);

/* Those of the options, which may be none. Nothing is opened. */
SnapDisks *snap_disks_new(const SnapOptions *options);

/*
 * Look at them without locks, and refuse what will certainly be refused later.
 * Yields. Fills @errp.
 */
bool coroutine_fn snap_disks_glance(const SnapDisks *disks, GError **errp);

/*
 * Lock them for writing and begin a snapshot called @name in each: whatever
 * can fail fails here. One that is locked is waited for as snap_target_wait()
 * does; where @wait is NULL it is an error at once (LOCKED). Yields. On failure
 * all are closed again.
 */
bool coroutine_fn snap_disks_begin(SnapDisks *disks, const char *name,
                                   SnapWait *wait, GError **errp);

/*
 * Commit all and then @writer, which is that of the first image; @stamp is its
 * own. Or, as far as the storage lets us, none: what had been committed is
 * deleted again, and where that fails the text says so. Yields. Fills @errp.
 */
bool coroutine_fn snap_disks_commit(SnapDisks *disks,
                                    Qcow2SnapshotWriter *writer,
                                    const Qcow2SnapshotStamp *stamp,
                                    GError **errp);

/* Close them, and forget what was not committed. Yields. */
void coroutine_fn snap_disks_close(SnapDisks *disks);

/* After _close(). NULL is allowed. */
void snap_disks_free(SnapDisks *disks);

#endif /* SNAP_DISKS_H */
