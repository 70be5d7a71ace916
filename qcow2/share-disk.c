/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See share-disk.h. The work is bounded by l1_size * l2_entries whatever the
 * tables say: nothing is followed twice, and a table that is named twice is
 * counted twice, as QEMU counts it.
 */
#include <errno.h>

#include "bytes.h"
#include "share-disk.h"
#include "snap-error.h"

/* One more reference for what an L2 entry points at. Yields. */
static bool coroutine_fn share_cluster(Qcow2Transaction *transaction,
                                       uint64_t entry, uint64_t guest_cluster,
                                       GError **errp)
{
    const Qcow2Image *image = transaction->image;
    Qcow2Cluster cluster;

    if (!qcow2_l2_entry_decode(image, entry, guest_cluster, &cluster, errp)) {
        return false;
    }
    switch (cluster.type) {
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_ZERO_PLAIN:
        return true;
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        return qcow2_transaction_ref(transaction, cluster.offset,
                                     qcow2_cluster_size(&image->header), errp);
    case QCOW2_CLUSTER_COMPRESSED:
        return qcow2_transaction_ref_compressed(transaction, cluster.offset,
                                                cluster.bytes, errp);
    }
    g_assert_not_reached();
}

/*
 * Share all clusters of one L2 table in @table (as stored). *@copied tells
 * whether there is any COPIED flag. Yields.
 */
static bool coroutine_fn share_l2_entries(Qcow2Transaction *transaction,
                                          uint64_t l1_index,
                                          const uint64_t *table, bool *copied,
                                          GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    uint64_t entries = qcow2_l2_entries(header);
    uint64_t i;

    *copied = false;
    for (i = 0; i < entries; i++) {
        uint64_t entry = be64toh(table[i]);

        if (entry == 0) {
            continue;
        }
        if (!share_cluster(transaction, entry, l1_index * entries + i, errp)) {
            return false;
        }
        *copied |= (entry & QCOW2_COPIED) != 0;
    }
    return true;
}

static bool coroutine_fn read_l2_table(const Qcow2Image *image, uint64_t offset,
                                       uint64_t *table, GError **errp)
{
    int ret = block_file_pread(image->file, offset, table,
                               qcow2_cluster_size(&image->header));

    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the L2 table at 0x%" PRIx64, offset);
        return false;
    }
    return true;
}

/*
 * Share an L2 table and all that it points at. The new active L1 entry has
 * COPIED if the table needs a copy, which is made when the whole disk has been
 * looked at: a cluster that is in use but has refcount 0 must be found before
 * anything is written where it seems to be free. @table is a cluster of memory
 * to work in. Yields.
 */
static bool coroutine_fn share_l2_table(Qcow2Transaction *transaction,
                                        Qcow2SharedDisk *disk,
                                        uint64_t l1_index, uint64_t *table,
                                        GError **errp)
{
    const Qcow2Image *image = transaction->image;
    uint64_t l1_entry = disk->active_l1[l1_index];
    uint64_t offset;
    bool copied;

    if (!qcow2_l1_entry_decode(image, l1_entry, l1_index, &offset, errp)) {
        return false;
    }
    disk->snapshot_l1[l1_index] = offset;
    if (offset == 0) {
        return true;
    }
    if (!read_l2_table(image, offset, table, errp) ||
        !share_l2_entries(transaction, l1_index, table, &copied, errp)) {
        return false;
    }
    disk->active_l1[l1_index] = offset | (copied ? QCOW2_COPIED : 0);
    disk->changed |= copied || l1_entry != offset;
    if (copied) {
        return qcow2_refcounts_check_in_use(transaction->refcounts,
                                            "the L2 table", offset, 1, errp);
    }
    return qcow2_transaction_ref(transaction, offset,
                                 qcow2_cluster_size(&image->header), errp);
}

/*
 * Give the disk a copy of its L2 table without COPIED flags, if it needs one:
 * the snapshot keeps the old table, the copy belongs to the disk alone. Yields.
 */
static bool coroutine_fn copy_l2_table(Qcow2Transaction *transaction,
                                       Qcow2SharedDisk *disk, uint64_t l1_index,
                                       uint64_t *table, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    uint64_t copy;
    uint64_t i;

    if (!(disk->active_l1[l1_index] & QCOW2_COPIED)) {
        return true;
    }
    if (!read_l2_table(transaction->image, disk->snapshot_l1[l1_index], table,
                       errp) ||
        !qcow2_transaction_allocate(transaction, 1, &copy, errp)) {
        return false;
    }
    /* A compressed entry never has the flag; decoding saw to that. */
    for (i = 0; i < qcow2_l2_entries(header); i++) {
        table[i] &= htobe64(~QCOW2_COPIED);
    }
    disk->active_l1[l1_index] = copy | QCOW2_COPIED;
    return qcow2_write_buffer_put(transaction->metadata, copy, table,
                                  qcow2_cluster_size(header), errp);
}

static bool coroutine_fn share_all(Qcow2Transaction *transaction,
                                   Qcow2SharedDisk *disk, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    uint64_t *table = block_file_alloc_buffer(qcow2_cluster_size(header));
    bool shared = true;
    uint64_t i;

    if (!table) {
        snap_error_set_errno(errp, -ENOMEM, "L2 table");
        return false;
    }
    for (i = 0; i < disk->disk_entries && shared; i++) {
        shared = share_l2_table(transaction, disk, i, table, errp);
    }
    for (i = 0; i < disk->disk_entries && shared; i++) {
        shared = copy_l2_table(transaction, disk, i, table, errp);
    }
    free(table);
    return shared && qcow2_write_buffer_flush(transaction->metadata, errp);
}

bool coroutine_fn qcow2_share_disk(Qcow2Transaction *transaction,
                                   Qcow2SharedDisk *disk, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;

    *disk = (Qcow2SharedDisk){
        .disk_entries = qcow2_vm_index(header, header->size),
    };
    disk->active_l1 = qcow2_read_table(transaction->image->file,
                                       header->l1_table_offset, header->l1_size,
                                       "L1 table", errp);
    if (!disk->active_l1) {
        return false;
    }
    /* At least as many as the active L1 has: the header was checked. */
    disk->snapshot_l1 = g_new0(uint64_t, disk->disk_entries);
    if (!share_all(transaction, disk, errp)) {
        qcow2_shared_disk_clear(disk);
        return false;
    }
    return true;
}

void qcow2_shared_disk_clear(Qcow2SharedDisk *disk)
{
    free(disk->active_l1);
    g_free(disk->snapshot_l1);
    *disk = (Qcow2SharedDisk){ 0 };
}
