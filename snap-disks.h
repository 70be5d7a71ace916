/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The further disks of a machine that is saved (--with): each gets a snapshot
 * of the same name without VM state, as savevm makes them.
 *
 * They are committed before the image with the VM state. A crash in between
 * leaves snapshots of disks that belong to no VM state: nothing refers to
 * them, QEMU does not load them, and a name that is taken tells of them. The
 * other way round there would be a VM state without its disks.
 */
#ifndef SNAP_DISKS_H
#define SNAP_DISKS_H

#include "interrupt.h"
#include "snap-internal.h"

typedef struct SnapDisks SnapDisks;

/* The same image must not be meant twice. Fills @errp (INVALID). */
bool snap_check_distinct(const SnapOptions *options, GError **errp);

/* Those of the options, which may be none. Nothing is opened. */
SnapDisks *snap_disks_new(const SnapOptions *options);

/*
 * Look at them without locks, and refuse what will certainly be refused later.
 * Yields. Fills @errp.
 */
bool coroutine_fn snap_disks_glance(const SnapDisks *disks, GError **errp);

/*
 * Lock them for writing and begin a snapshot called @name in each: whatever
 * can fail fails here. One that is locked is waited for as the options say or
 * until @interrupt; without one it is an error at once (LOCKED). Yields. On
 * failure all are closed again.
 */
bool coroutine_fn snap_disks_begin(SnapDisks *disks, const char *name,
                                   const Interrupt *interrupt, GError **errp);

/*
 * Commit all or, as far as the storage lets us, none: what had been committed
 * is deleted again. @stamp says nothing of VM state. Yields. Fills @errp.
 */
bool coroutine_fn snap_disks_commit(SnapDisks *disks,
                                    const Qcow2SnapshotStamp *stamp,
                                    GError **errp);

/*
 * The VM state did not get into its image, for the reason in *@errp: delete
 * what was committed. Where that fails the text says so. Yields.
 */
void coroutine_fn snap_disks_take_back(SnapDisks *disks, GError **errp);

/* Close them, and forget what was not committed. Yields. */
void coroutine_fn snap_disks_close(SnapDisks *disks);

/* After _close(). NULL is allowed. */
void snap_disks_free(SnapDisks *disks);

#endif /* SNAP_DISKS_H */
