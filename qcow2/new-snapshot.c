/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See new-snapshot.h. The active L1 is replaced where sharing the disk has
 * changed it; it never maps VM state of ours.
 */
#include "new-snapshot.h"
#include "snap-error.h"
#include "snapshot-l1.h"
#include "stale-vmstate.h"
#include "write-tables.h"

static bool name_refused(GError **errp, const char *name, const char *why)
{
    g_autofree char *escaped = g_strescape(name, NULL);

    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                "snapshot name '%.64s%s' %s", escaped,
                strlen(escaped) > 64 ? "..." : "", why);
    return false;
}

/* Does another snapshot than @old answer to @name? */
static bool is_taken(const Qcow2Image *image, const char *name,
                     const Qcow2Snapshot *old)
{
    guint i;

    for (i = 0; i < image->snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(image->snapshots, i);

        if (snapshot != old &&
            (!strcmp(snapshot->id, name) || !strcmp(snapshot->name, name))) {
            return true;
        }
    }
    return false;
}

bool qcow2_check_new_name(const Qcow2Image *image, const char *name,
                          const Qcow2Snapshot *old, GError **errp)
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
    if (is_taken(image, name, old)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_EXISTS,
                    "a snapshot called '%s' already exists", name);
        return false;
    }
    return true;
}

/* Room in the table for one more entry, whatever its offsets will be. */
static bool check_table_room(const Qcow2NewSnapshot *new_one, GError **errp)
{
    Qcow2Snapshot snapshot = { .id = new_one->id, .name = new_one->name };
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(&snapshot);
    g_autoptr(GByteArray) table = qcow2_snapshot_table_append(
        new_one->image->snapshots, new_one->old, entry, errp);

    return table != NULL;
}

/*
 * Drop all references of the snapshot that is replaced, and those to VM state
 * in the active L1, which may be its own. Before the disk is shared: so no
 * refcount is higher in between than it is before or after, and all that the
 * disk reaches has two references at the end. Yields.
 */
static bool coroutine_fn drop_old(Qcow2NewSnapshot *snapshot, GError **errp)
{
    Qcow2Transaction *transaction = snapshot->transaction;
    g_autofree uint64_t *l2_offsets = NULL;

    if (!snapshot->old) {
        return true;
    }
    qcow2_transaction_discard(transaction);
    l2_offsets = qcow2_snapshot_l1_read(snapshot->image, snapshot->old, errp);
    return l2_offsets && qcow2_stale_vmstate_drop(transaction, errp) &&
           qcow2_snapshot_l1_drop(transaction, snapshot->old, l2_offsets, errp);
}

bool coroutine_fn qcow2_new_snapshot_begin(Qcow2NewSnapshot *snapshot,
                                           Qcow2Image *image, const char *name,
                                           const Qcow2Snapshot *old,
                                           GError **errp)
{
    if (!qcow2_check_writable(image, errp) ||
        (!snapshot->like_qemu_img &&
         !qcow2_check_new_name(image, name, old, errp))) {
        return false;
    }
    snapshot->image = image;
    snapshot->old = old;
    snapshot->name = g_strdup(name);
    snapshot->id = qcow2_snapshot_new_id(image->snapshots, old);
    if (!check_table_room(snapshot, errp)) {
        return false;
    }
    snapshot->transaction = qcow2_transaction_begin(image, errp);
    if (!snapshot->transaction || !drop_old(snapshot, errp) ||
        !qcow2_share_disk(snapshot->transaction, &snapshot->disk, errp)) {
        return false;
    }
    if (old) {
        snapshot->disk.changed |=
            qcow2_stale_vmstate_clear(image, snapshot->disk.active_l1);
    }
    return true;
}

/* The snapshot's own L1: the disk as it is now, then the VM state. Yields. */
static bool coroutine_fn write_l1(const Qcow2NewSnapshot *snapshot,
                                  uint64_t l2_offset, uint64_t l2_tables,
                                  Qcow2Snapshot *entry, GError **errp)
{
    uint64_t disk_entries = snapshot->disk.disk_entries;
    uint64_t count = disk_entries + l2_tables;
    g_autofree uint64_t *entries = qcow2_new_table(count, "L1 table", errp);
    uint64_t i;

    if (!entries) {
        return false;
    }
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
    const Qcow2Snapshot *old = snapshot->old;
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(new_one);
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_append(snapshots, old, entry, errp);

    return table && qcow2_replace_snapshot_table(snapshot->transaction, table,
                                                 snapshots->len + (old ? 0 : 1),
                                                 update, errp);
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
        .icount = snapshot->like_qemu_img ? 0 : QCOW2_NO_ICOUNT,
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

bool coroutine_fn qcow2_snapshot_create_like_qemu_img(
    Qcow2Image *image, const char *name, const Qcow2SnapshotStamp *stamp,
    GError **errp)
{
    Qcow2NewSnapshot snapshot = { .like_qemu_img = true };
    bool created;

    g_assert(stamp->vm_state_size == 0);
    created = qcow2_new_snapshot_begin(&snapshot, image, name, NULL, errp) &&
              qcow2_new_snapshot_commit(&snapshot, stamp, 0, 0, errp);
    qcow2_new_snapshot_end(&snapshot);
    return created;
}
