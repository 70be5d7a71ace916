/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Deleting a snapshot, in four steps:
 *   1. Its references are dropped: all that its L1 reaches, VM state included.
 *   2. COPIED is made right in the active disk (active-disk.h).
 *   3. Active L2 tables in which a flag changes are replaced, then the L1.
 *   4. The snapshot table without the entry, and the commit.
 *
 * Nothing is written before the third step, so refcounts that would fall below
 * 0 are found before. The work is bounded by the entries of both L1 tables
 * times l2_entries.
 */
#include "active-disk.h"
#include "prepared-change.h"
#include "snapshot-l1.h"
#include "write-tables.h"

static bool coroutine_fn replace_tables(const Qcow2ActiveDisk *disk,
                                        const Qcow2Snapshot *snapshot,
                                        Qcow2HeaderUpdate *update,
                                        GError **errp)
{
    Qcow2Transaction *transaction = disk->transaction;
    const GPtrArray *snapshots = transaction->image->snapshots;
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_remove(snapshots, snapshot);

    return (!disk->changed ||
            qcow2_replace_active_l1(transaction, disk->l1, update, errp)) &&
           qcow2_replace_snapshot_table(transaction, table, snapshots->len - 1,
                                        update, errp);
}

static bool coroutine_fn prepare(Qcow2Change *change,
                                 const Qcow2Snapshot *snapshot, GError **errp)
{
    Qcow2Transaction *transaction = change->transaction;
    Qcow2ActiveDisk disk = { 0 };
    g_autofree uint64_t *l2_offsets =
        qcow2_snapshot_l1_read(transaction->image, snapshot, errp);
    bool prepared =
        l2_offsets &&
        qcow2_snapshot_l1_drop(transaction, snapshot, l2_offsets, errp) &&
        qcow2_active_disk_read(&disk, transaction, errp) &&
        qcow2_active_disk_mark(&disk, errp) &&
        qcow2_active_disk_replace(&disk, l2_offsets, snapshot->l1_size, errp) &&
        replace_tables(&disk, snapshot, &change->update, errp);

    qcow2_active_disk_clear(&disk);
    return prepared;
}

Qcow2Change *coroutine_fn qcow2_delete_begin(Qcow2Image *image,
                                             const Qcow2Snapshot *snapshot,
                                             GError **errp)
{
    Qcow2Change *change;

    if (!qcow2_check_writable(image, errp)) {
        return NULL;
    }
    change = qcow2_change_begin(image, errp);
    if (change && !prepare(change, snapshot, errp)) {
        g_clear_pointer(&change, qcow2_change_end);
    }
    return change;
}

bool coroutine_fn qcow2_snapshot_delete(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp)
{
    Qcow2Change *change = qcow2_delete_begin(image, snapshot, errp);
    bool deleted = change && qcow2_change_commit(change, errp);

    qcow2_change_end(change);
    return deleted;
}
