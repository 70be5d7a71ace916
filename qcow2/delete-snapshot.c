/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Deleting a snapshot, in four steps:
 *   1. Its references are dropped: all that its L1 reaches, VM state included.
 *   2. The active disk is looked at: what has exactly one reference now must
 *      have COPIED there. Flags in the tables of snapshots mean nothing.
 *   3. Active L2 tables in which a flag changes are replaced, then the L1.
 *   4. The snapshot table without the entry, and the commit.
 *
 * Nothing is written before the third step, so whatever a hostile image has in
 * its tables is found before: refcounts that would fall below 0, and clusters
 * of the active disk that would have none left. The work is bounded by
 * the entries of both L1 tables times l2_entries: nothing is followed twice.
 */
#include "drop-references.h"
#include "mark-copied.h"
#include "qcow2-snapshots.h"
#include "snap-error.h"
#include "table-scan.h"
#include "write-tables.h"

typedef struct Deletion {
    /* Constant after the beginning. */
    Qcow2Image *image;
    const Qcow2Snapshot *snapshot;
    Qcow2Transaction *transaction;

    uint64_t *snapshot_l2; /* offsets of its L2 tables, l1_size of them */
    uint64_t *active_l1;   /* host order, new state */
    bool active_l1_changed;
    uint64_t *changing_l2; /* offsets of active ones where a flag changes */
} Deletion;

static Qcow2TableScan *scan_l2_tables(const Deletion *deletion,
                                      const uint64_t *offsets, uint64_t count,
                                      GError **errp)
{
    const Qcow2Image *image = deletion->image;

    return qcow2_table_scan_begin(image->file, "L2 table", offsets, count,
                                  qcow2_cluster_size(&image->header), errp);
}

/* The offsets of the L2 tables of the snapshot. Yields. */
static bool coroutine_fn read_snapshot_l1(Deletion *deletion, GError **errp)
{
    const Qcow2Image *image = deletion->image;
    const Qcow2Snapshot *snapshot = deletion->snapshot;
    uint64_t *l1;

    if (snapshot->l1_size == 0) {
        return true;
    }
    if (!is_aligned(snapshot->l1_table_offset,
                    qcow2_cluster_size(&image->header))) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L1 table of snapshot '%s': it is at 0x%" PRIx64,
                    snapshot->name, snapshot->l1_table_offset);
        return false;
    }
    /* That it lies inside the file was checked with all metadata. */
    l1 = qcow2_read_table(image->file, snapshot->l1_table_offset,
                          snapshot->l1_size, "L1 table of the snapshot", errp);
    if (!l1) {
        return false;
    }
    deletion->snapshot_l2 = qcow2_l1_decode(image, l1, snapshot->l1_size, errp);
    free(l1);
    if (!deletion->snapshot_l2) {
        g_prefix_error(errp, "snapshot '%s': ", snapshot->name);
        return false;
    }
    return true;
}

/* All references of the snapshot, those to its L1 last. Yields. */
static bool coroutine_fn drop_references(Deletion *deletion, GError **errp)
{
    const Qcow2Snapshot *snapshot = deletion->snapshot;

    return read_snapshot_l1(deletion, errp) &&
           qcow2_drop_references(deletion->transaction, deletion->snapshot_l2,
                                 snapshot->l1_size, errp) &&
           qcow2_transaction_check_metadata(deletion->transaction, errp) &&
           qcow2_transaction_unref(deletion->transaction,
                                   snapshot->l1_table_offset,
                                   snapshot->l1_size * sizeof(uint64_t), errp);
}

/*
 * Make COPIED right in the new active L1. Of the offsets in @alone those stay
 * whose L2 tables nobody shares any more: what a shared one points at is shared
 * as well, so there is no flag in it, before and after. Yields.
 */
static bool coroutine_fn mark_l1(Deletion *deletion, uint64_t *alone,
                                 GError **errp)
{
    const Qcow2Header *header = &deletion->image->header;
    uint64_t i;

    for (i = 0; i < header->l1_size; i++) {
        uint64_t offset = alone[i];
        uint64_t entry = offset;
        uint64_t value;
        uint64_t same;

        if (offset == 0) {
            continue;
        }
        if (!qcow2_refcounts_look_up(deletion->transaction->refcounts,
                                     offset >> header->cluster_bits, 1, &value,
                                     &same, errp)) {
            return false;
        }
        if (value == 0) {
            return qcow2_refuse_unreferenced(errp, "an L2 table", offset);
        }
        if (value == 1) {
            entry |= QCOW2_COPIED;
        } else {
            alone[i] = 0;
        }
        deletion->active_l1_changed |= entry != deletion->active_l1[i];
        deletion->active_l1[i] = entry;
    }
    return true;
}

/* Find the L2 tables in which a flag changes. Yields. */
static bool coroutine_fn mark_tables(Deletion *deletion, const uint64_t *alone,
                                     Qcow2TableScan *tables, GError **errp)
{
    uint64_t i;

    for (i = 0; i < deletion->image->header.l1_size; i++) {
        uint64_t *table;
        bool changed;

        if (alone[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (!table || !qcow2_mark_l2_table(deletion->transaction, i, table,
                                           &changed, errp)) {
            return false;
        }
        deletion->changing_l2[i] = changed ? alone[i] : 0;
    }
    return true;
}

static bool coroutine_fn look_at_active_disk(Deletion *deletion, GError **errp)
{
    const Qcow2Image *image = deletion->image;
    const Qcow2Header *header = &image->header;
    g_autofree uint64_t *alone = NULL;
    Qcow2TableScan *tables;
    bool marked;

    deletion->active_l1 = qcow2_read_table(image->file, header->l1_table_offset,
                                           header->l1_size, "L1 table", errp);
    if (!deletion->active_l1) {
        return false;
    }
    alone = qcow2_l1_decode(image, deletion->active_l1, header->l1_size, errp);
    if (!alone || !mark_l1(deletion, alone, errp)) {
        return false;
    }
    deletion->changing_l2 = g_new0(uint64_t, header->l1_size + 1);
    tables = scan_l2_tables(deletion, alone, header->l1_size, errp);
    marked = tables && mark_tables(deletion, alone, tables, errp);
    qcow2_table_scan_end(tables);
    return marked;
}

/*
 * Where the snapshot's own L2 table may be what the active one is to become:
 * the disk had it, flags and all, before the snapshot was made. Such a table
 * has no owner any more. 0 where there is none. Yields.
 */
static uint64_t *coroutine_fn find_former_l2(const Deletion *deletion,
                                             GError **errp)
{
    const Qcow2Header *header = &deletion->image->header;
    uint64_t both = MIN(header->l1_size, deletion->snapshot->l1_size);
    g_autofree uint64_t *former = g_new0(uint64_t, header->l1_size + 1);
    uint64_t i;

    for (i = 0; i < both; i++) {
        uint64_t offset = deletion->snapshot_l2[i];
        uint64_t value;
        uint64_t same;

        if (deletion->changing_l2[i] == 0 || offset == 0) {
            continue;
        }
        if (!qcow2_refcounts_look_up(deletion->transaction->refcounts,
                                     offset >> header->cluster_bits, 1, &value,
                                     &same, errp)) {
            return NULL;
        }
        former[i] = value == 0 ? offset : 0;
    }
    return g_steal_pointer(&former);
}

/* Give a table that nobody owns any more back to the active disk. Yields. */
static bool coroutine_fn take_back(const Deletion *deletion, uint64_t offset,
                                   GError **errp)
{
    return qcow2_refcounts_change(deletion->transaction->refcounts,
                                  offset >>
                                      deletion->image->header.cluster_bits,
                                  1, QCOW2_REFCOUNT_TAKE, errp);
}

static bool coroutine_fn write_l2_table(const Deletion *deletion,
                                        const uint64_t *table, uint64_t *offset,
                                        GError **errp)
{
    Qcow2Transaction *transaction = deletion->transaction;

    return qcow2_transaction_allocate(transaction, 1, offset, errp) &&
           qcow2_write_buffer_put(transaction->metadata, *offset, table,
                                  qcow2_cluster_size(&deletion->image->header),
                                  errp);
}

/*
 * Replace an active L2 table in @table by one with the right flags: the one at
 * @former, whose content is @former_table, if it is just that, else a fresh
 * one. Yields.
 */
static bool coroutine_fn replace_l2_table(Deletion *deletion, uint64_t l1_index,
                                          uint64_t *table, uint64_t former,
                                          const uint64_t *former_table,
                                          GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&deletion->image->header);
    uint64_t offset = former;
    bool changed;
    bool written;

    if (!qcow2_mark_l2_table(deletion->transaction, l1_index, table, &changed,
                             errp)) {
        return false;
    }
    if (former_table && !memcmp(table, former_table, cluster_size)) {
        written = take_back(deletion, offset, errp);
    } else {
        written = write_l2_table(deletion, table, &offset, errp);
    }
    deletion->active_l1[l1_index] = offset | QCOW2_COPIED;
    deletion->active_l1_changed = true;
    return written && qcow2_transaction_unref(deletion->transaction,
                                              deletion->changing_l2[l1_index],
                                              cluster_size, errp);
}

static bool coroutine_fn replace_tables(Deletion *deletion,
                                        const uint64_t *former,
                                        Qcow2TableScan *tables,
                                        Qcow2TableScan *former_tables,
                                        GError **errp)
{
    uint64_t i;

    for (i = 0; i < deletion->image->header.l1_size; i++) {
        const uint64_t *former_table = NULL;
        uint64_t *table;

        if (deletion->changing_l2[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (table && former[i]) {
            former_table = qcow2_table_scan_next(former_tables, errp);
        }
        if (!table || (former[i] && !former_table) ||
            !replace_l2_table(deletion, i, table, former[i], former_table,
                              errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn replace_changing_l2(Deletion *deletion, GError **errp)
{
    uint64_t count = deletion->image->header.l1_size;
    g_autofree uint64_t *former = find_former_l2(deletion, errp);
    Qcow2TableScan *tables = NULL;
    Qcow2TableScan *former_tables = NULL;
    bool replaced;

    if (!former) {
        return false;
    }
    tables = scan_l2_tables(deletion, deletion->changing_l2, count, errp);
    if (tables) {
        former_tables = scan_l2_tables(deletion, former, count, errp);
    }
    replaced = former_tables &&
               replace_tables(deletion, former, tables, former_tables, errp);
    qcow2_table_scan_end(tables);
    qcow2_table_scan_end(former_tables);
    return replaced;
}

static bool coroutine_fn commit(Deletion *deletion, GError **errp)
{
    const GPtrArray *snapshots = deletion->image->snapshots;
    Qcow2Transaction *transaction = deletion->transaction;
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_remove(snapshots, deletion->snapshot);
    Qcow2HeaderUpdate update;

    qcow2_header_update_init(transaction, &update);
    return (!deletion->active_l1_changed ||
            qcow2_replace_active_l1(transaction, deletion->active_l1, &update,
                                    errp)) &&
           qcow2_replace_snapshot_table(transaction, table, snapshots->len - 1,
                                        &update, errp) &&
           qcow2_transaction_commit(transaction, &update, errp);
}

bool coroutine_fn qcow2_snapshot_delete(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp)
{
    Deletion deletion = { .image = image, .snapshot = snapshot };
    bool deleted;

    if (!qcow2_check_writable(image, errp)) {
        return false;
    }
    deletion.transaction = qcow2_transaction_begin(image, errp);
    deleted = deletion.transaction && drop_references(&deletion, errp) &&
              look_at_active_disk(&deletion, errp) &&
              replace_changing_l2(&deletion, errp) && commit(&deletion, errp);
    qcow2_transaction_end(deletion.transaction);
    g_free(deletion.snapshot_l2);
    free(deletion.active_l1);
    g_free(deletion.changing_l2);
    return deleted;
}
