/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See share-disk.h. The work is bounded by l1_size * l2_entries whatever the
 * tables say: nothing is followed twice, and a table that is named twice is
 * counted twice, as QEMU counts it.
 */
#include "bytes.h"
#include "share-disk.h"
#include "table-scan.h"

/* One more reference for what a run of L2 entries points at. Yields. */
static bool coroutine_fn share_run(Qcow2Transaction *transaction,
                                   const Qcow2L2Run *run, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    const Qcow2Cluster *cluster = &run->cluster;

    switch (cluster->type) {
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_ZERO_PLAIN:
        return true;
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        return qcow2_transaction_ref(transaction, cluster->offset,
                                     run->entries << header->cluster_bits,
                                     errp);
    case QCOW2_CLUSTER_COMPRESSED:
        return qcow2_transaction_ref_compressed(transaction, cluster->offset,
                                                cluster->bytes, errp);
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
    const Qcow2Image *image = transaction->image;
    uint64_t entries = qcow2_l2_entries(&image->header);
    Qcow2L2Run run;
    uint64_t i;

    *copied = false;
    for (i = 0; i < entries; i += run.entries) {
        if (!qcow2_l2_run_decode(image, table, i, l1_index, &run, errp) ||
            !share_run(transaction, &run, errp)) {
            return false;
        }
        *copied |= run.copied;
    }
    return true;
}

/*
 * Share an L2 table and all that it points at. The new active L1 entry has
 * COPIED if the table needs a copy, which is made when the whole disk has been
 * looked at: a cluster that is in use but has refcount 0 must be found before
 * anything is written where it seems to be free. Yields.
 */
static bool coroutine_fn share_l2_table(Qcow2Transaction *transaction,
                                        Qcow2SharedDisk *disk,
                                        uint64_t l1_index,
                                        const uint64_t *table, GError **errp)
{
    uint64_t l1_entry = disk->active_l1[l1_index];
    uint64_t offset = disk->snapshot_l1[l1_index];
    bool copied;

    if (!share_l2_entries(transaction, l1_index, table, &copied, errp)) {
        return false;
    }
    disk->active_l1[l1_index] = offset | (copied ? QCOW2_COPIED : 0);
    disk->changed |= copied || l1_entry != offset;
    if (copied) {
        return qcow2_refcounts_check_in_use(transaction->refcounts,
                                            "the L2 table", offset, 1, errp);
    }
    return qcow2_transaction_ref(
        transaction, offset, qcow2_cluster_size(&transaction->image->header),
        errp);
}

static bool coroutine_fn share_tables(Qcow2Transaction *transaction,
                                      Qcow2SharedDisk *disk,
                                      Qcow2TableScan *tables, GError **errp)
{
    uint64_t i;

    for (i = 0; i < disk->disk_entries; i++) {
        const uint64_t *table;

        if (disk->snapshot_l1[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (!table || !share_l2_table(transaction, disk, i, table, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * Give the disk a copy of its L2 table in @table without COPIED flags: the
 * snapshot keeps the old table, the copy belongs to the disk alone. Yields.
 */
static bool coroutine_fn copy_l2_table(Qcow2Transaction *transaction,
                                       Qcow2SharedDisk *disk, uint64_t l1_index,
                                       uint64_t *table, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    unsigned words = qcow2_l2_entry_words(header);
    uint64_t copy;
    uint64_t i;

    if (!qcow2_transaction_allocate(transaction, 1, &copy, errp)) {
        return false;
    }
    /* A compressed entry never has the flag; decoding saw to that. */
    for (i = 0; i < qcow2_l2_entries(header); i++) {
        table[i * words] &= htobe64(~QCOW2_COPIED);
    }
    disk->active_l1[l1_index] = copy | QCOW2_COPIED;
    return qcow2_write_buffer_put(transaction->metadata, copy, table,
                                  qcow2_cluster_size(header), errp);
}

static bool coroutine_fn copy_tables(Qcow2Transaction *transaction,
                                     Qcow2SharedDisk *disk,
                                     const uint64_t *to_copy,
                                     Qcow2TableScan *tables, GError **errp)
{
    uint64_t i;

    for (i = 0; i < disk->disk_entries; i++) {
        uint64_t *table;

        if (to_copy[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (!table || !copy_l2_table(transaction, disk, i, table, errp)) {
            return false;
        }
    }
    return true;
}

static Qcow2TableScan *scan_l2_tables(const Qcow2Transaction *transaction,
                                      const Qcow2SharedDisk *disk,
                                      const uint64_t *offsets, GError **errp)
{
    const Qcow2Image *image = transaction->image;

    return qcow2_table_scan_begin(image->file, "L2 table", offsets,
                                  disk->disk_entries,
                                  qcow2_cluster_size(&image->header), errp);
}

static bool coroutine_fn share_all(Qcow2Transaction *transaction,
                                   Qcow2SharedDisk *disk, GError **errp)
{
    Qcow2TableScan *tables =
        scan_l2_tables(transaction, disk, disk->snapshot_l1, errp);
    bool shared = tables && share_tables(transaction, disk, tables, errp);

    qcow2_table_scan_end(tables);
    return shared;
}

/* Copy the L2 tables whose new L1 entries have COPIED. Yields. */
static bool coroutine_fn copy_all(Qcow2Transaction *transaction,
                                  Qcow2SharedDisk *disk, GError **errp)
{
    g_autofree uint64_t *to_copy =
        qcow2_new_table(disk->disk_entries, "L1 table", errp);
    Qcow2TableScan *tables;
    bool copied;
    uint64_t i;

    if (!to_copy) {
        return false;
    }
    for (i = 0; i < disk->disk_entries; i++) {
        if (disk->active_l1[i] & QCOW2_COPIED) {
            to_copy[i] = disk->snapshot_l1[i];
        }
    }
    tables = scan_l2_tables(transaction, disk, to_copy, errp);
    copied = tables && copy_tables(transaction, disk, to_copy, tables, errp);
    qcow2_table_scan_end(tables);
    return copied && qcow2_write_buffer_flush(transaction->metadata, errp);
}

bool coroutine_fn qcow2_share_tables(Qcow2Transaction *transaction,
                                     Qcow2SharedDisk *disk, GError **errp)
{
    return share_all(transaction, disk, errp) &&
           copy_all(transaction, disk, errp);
}

bool coroutine_fn qcow2_share_disk(Qcow2Transaction *transaction,
                                   Qcow2SharedDisk *disk, GError **errp)
{
    const Qcow2Image *image = transaction->image;
    const Qcow2Header *header = &image->header;

    /* The active L1 has at least as many entries: the header was checked. */
    *disk = (Qcow2SharedDisk){
        .disk_entries = qcow2_vm_index(header, header->size),
    };
    disk->active_l1 = qcow2_read_table(image->file, header->l1_table_offset,
                                       header->l1_size, "L1 table", errp);
    if (!disk->active_l1) {
        return false;
    }
    disk->snapshot_l1 =
        qcow2_l1_decode(image, disk->active_l1, disk->disk_entries, errp);
    if (!disk->snapshot_l1 || !qcow2_share_tables(transaction, disk, errp)) {
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
