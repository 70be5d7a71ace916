/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Making the present disk content belong to a snapshot as well, or that of a
 * snapshot to the disk.
 *
 * Every cluster of the disk gets one more reference, and COPIED must go from
 * the active tables, since a guest overwrites in place what carries it. L2
 * tables are not changed where they are: an L2 table with COPIED entries is
 * left to the snapshot, which ignores the flag, and the active L1 gets a fresh
 * copy without it. An L2 table without any is shared by both.
 */
#ifndef QCOW2_SHARE_DISK_H
#define QCOW2_SHARE_DISK_H

#include "transaction.h"

typedef struct Qcow2SharedDisk {
    uint64_t *active_l1;   /* all entries, host order, new state; free() */
    uint64_t *snapshot_l1; /* the first `disk_entries' of the snapshot's */
    uint64_t disk_entries; /* L1 entries that the disk uses */
    bool changed;          /* the active L1 differs from the stored one */
} Qcow2SharedDisk;

/*
 * Share the disk part of the active L1 within @transaction. Yields. Returns
 * false and fills @errp (DAMAGED, UNSUPPORTED: refcounts too narrow, IO,
 * NO_SPACE); *@disk is then empty.
 */
bool coroutine_fn qcow2_share_disk(Qcow2Transaction *transaction,
                                   Qcow2SharedDisk *disk, GError **errp);

/*
 * The same for other tables: `snapshot_l1' is filled in, with the offsets of
 * `disk_entries' L2 tables, and `active_l1' gets its entries for them. Nothing
 * is written before all references have been taken. On failure *@disk is the
 * caller's to clear.
 */
bool coroutine_fn qcow2_share_tables(Qcow2Transaction *transaction,
                                     Qcow2SharedDisk *disk, GError **errp);

/* Free what qcow2_share_disk() filled in. */
void qcow2_shared_disk_clear(Qcow2SharedDisk *disk);

#endif /* QCOW2_SHARE_DISK_H */
