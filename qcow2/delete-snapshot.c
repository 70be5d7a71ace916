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
 *
 * Where there is no room for new tables, all this is begun once more and the
 * snapshot is struck off between the second and the third step
 * (strike-snapshot.h).
 */
#include "active-disk.h"
#include "prepared-change.h"
#include "snap-error.h"
#include "snapshot-l1.h"
#include "strike-snapshot.h"
#include "write-tables.h"

static bool coroutine_fn replace_roots(const Qcow2ActiveDisk *disk,
                                       const Qcow2Snapshot *snapshot,
                                       Qcow2HeaderUpdate *update, GError **errp)
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

/* Clusters of all new tables, the refcounts apart, at the most. */
static uint64_t count_tables(const Qcow2ActiveDisk *disk)
{
    const Qcow2Image *image = disk->transaction->image;
    const Qcow2Header *header = &image->header;
    uint64_t clusters =
        qcow2_bytes_to_clusters(header, header->l1_size * sizeof(uint64_t)) +
        qcow2_bytes_to_clusters(header,
                                qcow2_snapshot_table_bytes(image->snapshots));
    uint64_t i;

    for (i = 0; i < header->l1_size; i++) {
        clusters += disk->changing_l2[i] != 0;
    }
    return clusters;
}

/*
 * Replace the tables of the active disk. Those that the snapshot alone used may
 * be of use again, but not when what it used is written to. Yields.
 */
static bool coroutine_fn replace_tables(Qcow2ActiveDisk *disk,
                                        const Qcow2Snapshot *snapshot,
                                        const uint64_t *l2_offsets,
                                        bool *struck, GError **errp)
{
    if (!struck) {
        return qcow2_active_disk_replace(disk, l2_offsets, snapshot->l1_size,
                                         errp);
    }
    return qcow2_strike_snapshot(disk->transaction, snapshot,
                                 count_tables(disk), struck, errp) &&
           qcow2_active_disk_replace(disk, NULL, 0, errp);
}

/* @struck: as in begin(). */
static bool coroutine_fn prepare(Qcow2Change *change,
                                 const Qcow2Snapshot *snapshot, bool *struck,
                                 GError **errp)
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
        replace_tables(&disk, snapshot, l2_offsets, struck, errp) &&
        replace_roots(&disk, snapshot, &change->update, errp);

    qcow2_active_disk_clear(&disk);
    return prepared;
}

/*
 * With @struck the snapshot is struck off first, and *@struck tells whether
 * that has happened, also on failure. Yields.
 */
static Qcow2Change *coroutine_fn begin(Qcow2Image *image,
                                       const Qcow2Snapshot *snapshot,
                                       bool *struck, GError **errp)
{
    Qcow2Change *change = qcow2_change_begin(image, errp);

    if (change && !prepare(change, snapshot, struck, errp)) {
        g_clear_pointer(&change, qcow2_change_end);
    }
    return change;
}

Qcow2Change *coroutine_fn qcow2_delete_begin(Qcow2Image *image,
                                             const Qcow2Snapshot *snapshot,
                                             GError **errp)
{
    return qcow2_check_writable(image, errp)
               ? begin(image, snapshot, NULL, errp)
               : NULL;
}

/* @change may be NULL: it could not be begun. Yields. */
static bool coroutine_fn commit_and_end(Qcow2Change *change, bool *committed,
                                        GError **errp)
{
    bool deleted = change && qcow2_change_commit(change, errp);

    *committed = change && qcow2_change_may_be_committed(change);
    qcow2_change_end(change);
    return deleted;
}

/* @error is what came of the first attempt, and is replaced. Yields. */
static bool coroutine_fn delete_in_place(Qcow2Image *image,
                                         const Qcow2Snapshot *snapshot,
                                         GError **error)
{
    g_autoptr(GError) reason = NULL;
    bool struck = false;
    bool committed;
    Qcow2Change *change = begin(image, snapshot, &struck, &reason);

    if (commit_and_end(change, &committed, &reason)) {
        g_clear_error(error);
        return true;
    }
    if (!struck) {
        snap_error_append(error, "; %s", reason->message);
        return false;
    }
    g_clear_error(error);
    if (!committed) {
        g_prefix_error(&reason,
                       "the snapshot is deleted, but what it used leaks "
                       "(`qemu-snap check -r leaks' frees it): ");
    }
    *error = g_steal_pointer(&reason);
    return false;
}

bool coroutine_fn qcow2_snapshot_delete(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp)
{
    GError *error = NULL;
    bool committed;
    Qcow2Change *change = qcow2_delete_begin(image, snapshot, &error);
    bool deleted = commit_and_end(change, &committed, &error);

    if (!deleted && !committed &&
        g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NO_SPACE)) {
        deleted = delete_in_place(image, snapshot, &error);
    }
    if (error) {
        g_propagate_error(errp, error);
    }
    return deleted;
}
