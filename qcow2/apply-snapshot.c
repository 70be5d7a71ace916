/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Applying a snapshot: the active disk becomes the snapshot's, in three steps.
 *   1. All references of the active L1 are dropped, also those to VM state that
 *      QEMU left there.
 *   2. The snapshot's disk is shared (share-disk.h) with an active L1 that has
 *      nothing else. So all that the disk reaches has two references at least,
 *      and COPIED is nowhere but where the L1 names a copy of an L2 table.
 *   3. The L1 is replaced, the disk's size with it, and the commit.
 *
 * Dropping comes before sharing, so no refcount is higher in between than it
 * is before or after. Nothing is written before all references are known to be
 * possible. The snapshot's VM state stays the snapshot's: who wants to go on
 * from it loads it, and QEMU then maps it by itself.
 *
 * All but the commit may be done long before it: everything lies in clusters
 * that nobody refers to, and the VM state is read meanwhile as it ever was.
 */
#include "drop-references.h"
#include "prepared-change.h"
#include "share-disk.h"
#include "snap-error.h"
#include "snapshot-l1.h"
#include "write-tables.h"

/* The same condition and, where it has some, the words of QEMU. */
static bool check_applicable(const Qcow2Image *image,
                             const Qcow2Snapshot *snapshot, uint64_t size,
                             GError **errp)
{
    const Qcow2Header *header = &image->header;

    if (header->bitmap_count) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the image has persistent dirty bitmaps, which say nothing "
                    "of the disk of snapshot '%s'; `qemu-img bitmap --remove' "
                    "removes them",
                    snapshot->name);
        return false;
    }
    if (size != header->size && header->version == 2) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the disk of snapshot '%s' has %" PRIu64 " bytes, and a "
                    "version 2 image with snapshots cannot be resized from "
                    "%" PRIu64,
                    snapshot->name, size, header->size);
        return false;
    }
    if (size > INT64_MAX ||
        qcow2_vm_index(header, size) > QCOW2_MAX_L1_ENTRIES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible disk size of snapshot '%s': %" PRIu64 " bytes",
                    snapshot->name, size);
        return false;
    }
    return true;
}

/* The disk's size when the snapshot has been applied: odd ones stay. */
static uint64_t size_of(const Qcow2Image *image, const Qcow2Snapshot *snapshot)
{
    uint64_t size = image->header.size;

    return snapshot->disk_size == round_down(size, 512) ? size
                                                        : snapshot->disk_size;
}

static bool coroutine_fn drop_active(Qcow2Transaction *transaction,
                                     GError **errp)
{
    const Qcow2Image *image = transaction->image;
    const Qcow2Header *header = &image->header;
    g_autofree uint64_t *l2_offsets = NULL;
    uint64_t *l1 = qcow2_read_table(image->file, header->l1_table_offset,
                                    header->l1_size, "L1 table", errp);

    if (!l1) {
        return false;
    }
    l2_offsets = qcow2_l1_decode(image, l1, header->l1_size, errp);
    free(l1);
    return l2_offsets &&
           qcow2_drop_references(transaction, l2_offsets, header->l1_size,
                                 errp) &&
           qcow2_transaction_check_metadata(transaction, errp);
}

/*
 * An active L1 of @l1_size entries, all empty, and the snapshot's L2 tables to
 * be shared with it; an L1 may be shorter than its disk.
 */
static bool coroutine_fn prepare(const Qcow2Image *image,
                                 const Qcow2Snapshot *snapshot,
                                 uint64_t l1_size, Qcow2SharedDisk *disk,
                                 GError **errp)
{
    g_autofree uint64_t *l2_offsets =
        qcow2_snapshot_l1_read(image, snapshot, errp);
    uint64_t present = MIN(disk->disk_entries, snapshot->l1_size);

    if (!l2_offsets) {
        return false;
    }
    disk->active_l1 = calloc(MAX(l1_size, 1), sizeof(uint64_t));
    if (!disk->active_l1) {
        snap_error_set_errno(errp, -ENOMEM, "cannot make an L1 table");
        return false;
    }
    disk->snapshot_l1 = qcow2_new_table(disk->disk_entries, "L1 table", errp);
    if (!disk->snapshot_l1) {
        return false;
    }
    memcpy(disk->snapshot_l1, l2_offsets, present * sizeof(uint64_t));
    return true;
}

static bool coroutine_fn prepare_change(Qcow2Change *change,
                                        const Qcow2Snapshot *snapshot,
                                        uint64_t size, GError **errp)
{
    Qcow2Transaction *transaction = change->transaction;
    const Qcow2Image *image = transaction->image;
    Qcow2SharedDisk disk = {
        .disk_entries = qcow2_vm_index(&image->header, size),
    };
    Qcow2HeaderUpdate *update = &change->update;
    bool prepared;

    update->size = size;
    update->l1_size = MAX(update->l1_size, disk.disk_entries);
    prepared =
        prepare(image, snapshot, update->l1_size, &disk, errp) &&
        drop_active(transaction, errp) &&
        qcow2_share_tables(transaction, &disk, errp) &&
        qcow2_replace_active_l1(transaction, disk.active_l1, update, errp);
    qcow2_shared_disk_clear(&disk);
    return prepared;
}

Qcow2Change *coroutine_fn qcow2_apply_begin(Qcow2Image *image,
                                            const Qcow2Snapshot *snapshot,
                                            GError **errp)
{
    uint64_t size = size_of(image, snapshot);
    Qcow2Change *change;

    if (!qcow2_check_writable(image, errp) ||
        !check_applicable(image, snapshot, size, errp)) {
        return NULL;
    }
    change = qcow2_change_begin(image, errp);
    if (change && !prepare_change(change, snapshot, size, errp)) {
        g_clear_pointer(&change, qcow2_change_end);
    }
    return change;
}

bool coroutine_fn qcow2_snapshot_apply(Qcow2Image *image,
                                       const Qcow2Snapshot *snapshot,
                                       GError **errp)
{
    Qcow2Change *change = qcow2_apply_begin(image, snapshot, errp);
    bool applied = change && qcow2_change_commit(change, errp);

    qcow2_change_end(change);
    return applied;
}
