/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See active-disk.h.
 */
#include "active-disk.h"
#include "mark-copied.h"
#include "table-scan.h"

static Qcow2TableScan *scan_l2_tables(const Qcow2ActiveDisk *disk,
                                      const uint64_t *offsets, GError **errp)
{
    const Qcow2Image *image = disk->transaction->image;

    return qcow2_table_scan_begin(image->file, "L2 table", offsets,
                                  image->header.l1_size,
                                  qcow2_cluster_size(&image->header), errp);
}

/* Make COPIED right in the new active L1, for the tables at @offsets. Yields. */
static bool coroutine_fn mark_l1(Qcow2ActiveDisk *disk, const uint64_t *offsets,
                                 GError **errp)
{
    const Qcow2Header *header = &disk->transaction->image->header;
    uint64_t i;

    for (i = 0; i < header->l1_size; i++) {
        uint64_t offset = offsets[i];
        uint64_t entry = offset;
        uint64_t value;
        uint64_t same;

        if (offset == 0) {
            continue;
        }
        if (!qcow2_refcounts_look_up(disk->transaction->refcounts,
                                     offset >> header->cluster_bits, 1, &value,
                                     &same, errp)) {
            return false;
        }
        if (value == 0) {
            return qcow2_refuse_unreferenced(errp, "an L2 table", offset);
        }
        if (value == 1) {
            entry |= QCOW2_COPIED;
        }
        disk->changed |= entry != disk->l1[i];
        disk->l1[i] = entry;
    }
    return true;
}

/*
 * Find the L2 tables in which a flag changes, and see that all data has a
 * reference left. In a table that somebody else shares no flag changes: what it
 * points at is shared as well. Yields.
 */
static bool coroutine_fn mark_tables(Qcow2ActiveDisk *disk,
                                     const uint64_t *offsets,
                                     Qcow2TableScan *tables, GError **errp)
{
    uint64_t i;

    for (i = 0; i < disk->transaction->image->header.l1_size; i++) {
        uint64_t *table;
        bool changed;

        if (offsets[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (!table ||
            !qcow2_mark_l2_table(disk->transaction, i, table, &changed, errp)) {
            return false;
        }
        if (changed && (disk->l1[i] & QCOW2_COPIED)) {
            disk->changing_l2[i] = offsets[i];
        }
    }
    return true;
}

bool coroutine_fn qcow2_active_disk_read(Qcow2ActiveDisk *disk,
                                         Qcow2Transaction *transaction,
                                         GError **errp)
{
    const Qcow2Image *image = transaction->image;
    const Qcow2Header *header = &image->header;

    disk->transaction = transaction;
    disk->l1 = qcow2_read_table(image->file, header->l1_table_offset,
                                header->l1_size, "L1 table", errp);
    return disk->l1 != NULL;
}

bool coroutine_fn qcow2_active_disk_mark(Qcow2ActiveDisk *disk, GError **errp)
{
    const Qcow2Image *image = disk->transaction->image;
    uint64_t count = image->header.l1_size;
    g_autofree uint64_t *offsets =
        qcow2_l1_decode(image, disk->l1, count, errp);
    Qcow2TableScan *tables;
    bool marked;

    if (!offsets || !mark_l1(disk, offsets, errp)) {
        return false;
    }
    disk->changing_l2 = qcow2_new_table(count, "L1 table", errp);
    if (!disk->changing_l2) {
        return false;
    }
    tables = scan_l2_tables(disk, offsets, errp);
    marked = tables && mark_tables(disk, offsets, tables, errp);
    qcow2_table_scan_end(tables);
    return marked;
}

/*
 * Of the tables that may be what changing ones are to become, those that have
 * no owner any more. 0 where there is none. Yields.
 */
static uint64_t *coroutine_fn find_former_l2(const Qcow2ActiveDisk *disk,
                                             const uint64_t *candidates,
                                             uint64_t count, GError **errp)
{
    const Qcow2Header *header = &disk->transaction->image->header;
    g_autofree uint64_t *former =
        qcow2_new_table(header->l1_size, "L1 table", errp);
    uint64_t both = MIN(header->l1_size, count);
    uint64_t i;

    for (i = 0; former && i < both; i++) {
        uint64_t offset = candidates[i];
        uint64_t value;
        uint64_t same;

        if (disk->changing_l2[i] == 0 || offset == 0) {
            continue;
        }
        if (!qcow2_refcounts_look_up(disk->transaction->refcounts,
                                     offset >> header->cluster_bits, 1, &value,
                                     &same, errp)) {
            return NULL;
        }
        former[i] = value == 0 ? offset : 0;
    }
    return g_steal_pointer(&former);
}

/* Give a table that nobody owns any more back to the active disk. Yields. */
static bool coroutine_fn take_back(const Qcow2ActiveDisk *disk, uint64_t offset,
                                   GError **errp)
{
    return qcow2_refcounts_change(
        disk->transaction->refcounts,
        offset >> disk->transaction->image->header.cluster_bits, 1,
        QCOW2_REFCOUNT_TAKE, errp);
}

static bool coroutine_fn write_l2_table(const Qcow2ActiveDisk *disk,
                                        const uint64_t *table, uint64_t *offset,
                                        GError **errp)
{
    Qcow2Transaction *transaction = disk->transaction;

    return qcow2_transaction_allocate(transaction, 1, offset, errp) &&
           qcow2_write_buffer_put(
               transaction->metadata, *offset, table,
               qcow2_cluster_size(&disk->transaction->image->header), errp);
}

/*
 * Replace an active L2 table in @table by one with the right flags: the one at
 * @former, whose content is @former_table, if it is just that, else a fresh
 * one. Yields.
 */
static bool coroutine_fn replace_l2_table(Qcow2ActiveDisk *disk,
                                          uint64_t l1_index, uint64_t *table,
                                          uint64_t former,
                                          const uint64_t *former_table,
                                          GError **errp)
{
    uint64_t cluster_size =
        qcow2_cluster_size(&disk->transaction->image->header);
    uint64_t offset = former;
    bool changed;
    bool written;

    if (!qcow2_mark_l2_table(disk->transaction, l1_index, table, &changed,
                             errp)) {
        return false;
    }
    if (former_table && !memcmp(table, former_table, cluster_size)) {
        written = take_back(disk, offset, errp);
    } else {
        written = write_l2_table(disk, table, &offset, errp);
    }
    disk->l1[l1_index] = offset | QCOW2_COPIED;
    disk->changed = true;
    return written && qcow2_transaction_unref(disk->transaction,
                                              disk->changing_l2[l1_index],
                                              cluster_size, errp);
}

static bool coroutine_fn replace_tables(Qcow2ActiveDisk *disk,
                                        const uint64_t *former,
                                        Qcow2TableScan *tables,
                                        Qcow2TableScan *former_tables,
                                        GError **errp)
{
    uint64_t i;

    for (i = 0; i < disk->transaction->image->header.l1_size; i++) {
        const uint64_t *former_table = NULL;
        uint64_t *table;

        if (disk->changing_l2[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (table && former[i]) {
            former_table = qcow2_table_scan_next(former_tables, errp);
        }
        if (!table || (former[i] && !former_table) ||
            !replace_l2_table(disk, i, table, former[i], former_table, errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn replace_all(Qcow2ActiveDisk *disk,
                                     const uint64_t *former, GError **errp)
{
    Qcow2TableScan *tables = scan_l2_tables(disk, disk->changing_l2, errp);
    Qcow2TableScan *former_tables = NULL;
    bool replaced;

    if (tables) {
        former_tables = scan_l2_tables(disk, former, errp);
    }
    replaced = former_tables &&
               replace_tables(disk, former, tables, former_tables, errp);
    qcow2_table_scan_end(tables);
    qcow2_table_scan_end(former_tables);
    return replaced;
}

bool coroutine_fn qcow2_active_disk_replace(Qcow2ActiveDisk *disk,
                                            const uint64_t *former,
                                            uint64_t former_count,
                                            GError **errp)
{
    g_autofree uint64_t *ownerless =
        find_former_l2(disk, former, former_count, errp);

    return ownerless && replace_all(disk, ownerless, errp);
}

void qcow2_active_disk_clear(Qcow2ActiveDisk *disk)
{
    g_clear_pointer(&disk->l1, free);
    g_clear_pointer(&disk->changing_l2, g_free);
}
