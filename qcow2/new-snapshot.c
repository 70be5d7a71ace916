/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See new-snapshot.h. The active L1 is replaced where sharing the disk has
 * changed it; it never maps VM state of ours.
 */
#include "new-snapshot.h"
#include "snap-error.h"
#include "write-tables.h"

static bool name_refused(GError **errp, const char *name, const char *why)
{
    g_autofree char *escaped = g_strescape(name, NULL);

    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                "snapshot name '%.64s%s' %s", escaped,
                strlen(escaped) > 64 ? "..." : "", why);
    return false;
}

bool qcow2_check_new_name(const Qcow2Image *image, const char *name,
                          GError **errp)
{
    const char *byte;

    if (!*name) {
        return name_refused(errp, name, "is empty");
    }
    if (strlen(name) > QCOW2_MAX_NAME_BYTES) {
        return name_refused(errp, name, "is longer than 255 bytes");
    }
    for (byte = name; *byte; byte++) {
        if (g_ascii_iscntrl(*byte)) {
            return name_refused(errp, name, "has control characters");
        }
    }
    if (strspn(name, "0123456789") == strlen(name)) {
        return name_refused(errp, name,
                            "is a number, which QEMU takes for an ID");
    }
    if (qcow2_find_snapshot(image, name)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_EXISTS,
                    "a snapshot called '%s' already exists", name);
        return false;
    }
    return true;
}

/* Room in the table for one more entry, whatever its offsets will be. */
static bool check_table_room(const Qcow2Image *image, const char *id,
                             const char *name, GError **errp)
{
    Qcow2Snapshot snapshot = { .id = (char *)id, .name = (char *)name };
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(&snapshot);
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_append(image->snapshots, entry, errp);

    return table != NULL;
}

bool coroutine_fn qcow2_new_snapshot_begin(Qcow2NewSnapshot *snapshot,
                                           Qcow2Image *image, const char *name,
                                           GError **errp)
{
    if (!qcow2_check_writable(image, errp) ||
        !qcow2_check_new_name(image, name, errp)) {
        return false;
    }
    snapshot->image = image;
    snapshot->name = g_strdup(name);
    snapshot->id = qcow2_snapshot_new_id(image->snapshots);
    if (!check_table_room(image, snapshot->id, name, errp)) {
        return false;
    }
    snapshot->transaction = qcow2_transaction_begin(image, errp);
    return snapshot->transaction &&
           qcow2_share_disk(snapshot->transaction, &snapshot->disk, errp);
}

/* The snapshot's own L1: the disk as it is now, then the VM state. Yields. */
static bool coroutine_fn write_l1(const Qcow2NewSnapshot *snapshot,
                                  uint64_t l2_offset, uint64_t l2_tables,
                                  Qcow2Snapshot *entry, GError **errp)
{
    uint64_t disk_entries = snapshot->disk.disk_entries;
    uint64_t count = disk_entries + l2_tables;
    g_autofree uint64_t *entries = g_new(uint64_t, count);
    uint64_t i;

    for (i = 0; i < count; i++) {
        entries[i] = i < disk_entries
                         ? snapshot->disk.snapshot_l1[i]
                         : l2_offset +
                               ((i - disk_entries)
                                << snapshot->image->header.cluster_bits);
    }
    entry->l1_size = count;
    return qcow2_write_l1(snapshot->transaction, entries, count,
                          &entry->l1_table_offset, errp);
}

static bool coroutine_fn write_table(const Qcow2NewSnapshot *snapshot,
                                     const Qcow2Snapshot *new_one,
                                     Qcow2HeaderUpdate *update, GError **errp)
{
    const GPtrArray *snapshots = snapshot->image->snapshots;
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(new_one);
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_append(snapshots, entry, errp);

    return table &&
           qcow2_replace_snapshot_table(snapshot->transaction, table,
                                        snapshots->len + 1, update, errp);
}

bool coroutine_fn qcow2_new_snapshot_commit(Qcow2NewSnapshot *snapshot,
                                            const Qcow2SnapshotStamp *stamp,
                                            uint64_t l2_offset,
                                            uint64_t l2_tables, GError **errp)
{
    Qcow2Snapshot entry = {
        .id = snapshot->id,
        .name = snapshot->name,
        .date_sec = stamp->date_sec,
        .date_nsec = stamp->date_nsec,
        .vm_clock_nsec = stamp->vm_clock_nsec,
        .vm_state_size = stamp->vm_state_size,
        /* QEMU resizes the disk to this when it loads, in whole sectors. */
        .disk_size = round_down(snapshot->image->header.size, 512),
        .icount = QCOW2_NO_ICOUNT,
    };
    Qcow2Transaction *transaction = snapshot->transaction;
    const Qcow2SharedDisk *disk = &snapshot->disk;
    Qcow2HeaderUpdate update;

    qcow2_header_update_init(transaction, &update);
    return write_l1(snapshot, l2_offset, l2_tables, &entry, errp) &&
           (!disk->changed ||
            qcow2_replace_active_l1(transaction, disk->active_l1, &update,
                                    errp)) &&
           write_table(snapshot, &entry, &update, errp) &&
           qcow2_transaction_commit(transaction, &update, errp);
}

void coroutine_fn qcow2_new_snapshot_end(Qcow2NewSnapshot *snapshot)
{
    qcow2_transaction_end(snapshot->transaction);
    qcow2_shared_disk_clear(&snapshot->disk);
    g_free(snapshot->id);
    g_free(snapshot->name);
}

bool coroutine_fn qcow2_snapshot_create(Qcow2Image *image, const char *name,
                                        const Qcow2SnapshotStamp *stamp,
                                        GError **errp)
{
    Qcow2NewSnapshot snapshot = { 0 };
    bool created;

    g_assert(stamp->vm_state_size == 0);
    created = qcow2_new_snapshot_begin(&snapshot, image, name, errp) &&
              qcow2_new_snapshot_commit(&snapshot, stamp, 0, 0, errp);
    qcow2_new_snapshot_end(&snapshot);
    return created;
}
