/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Replacing the end of a snapshot's VM state, in four steps:
 *   1. References are dropped: to all clusters behind what stays, to their L2
 *      tables, to the table that maps the end of what stays, to the L1.
 *   2. COPIED is made right in the active disk (active-disk.h), which may have
 *      shared them: QEMU leaves VM state there.
 *   3. Data, L2 tables and L1 are written into fresh clusters. The first of the
 *      tables has the entries that stay.
 *   4. The snapshot table with other VM state in one entry, and the commit.
 *
 * What stays has the references that it had: a cluster is counted once for each
 * L1 that reaches it, by whichever table. Nothing is written before the third
 * step, so what is damaged is found before.
 */
#include "active-disk.h"
#include "bytes.h"
#include "drop-references.h"
#include "prepared-change.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"
#include "snapshot-l1.h"
#include "table-scan.h"
#include "vmstate-clusters.h"
#include "vmstate-map.h"
#include "write-tables.h"

typedef struct Tail {
    /* Constant after tail_init(). */
    Qcow2Change *change;
    const Qcow2Image *image;
    const Qcow2Snapshot *snapshot;
    uint64_t kept; /* bytes of VM state that stay */
    const uint8_t *data;
    uint64_t bytes;
    uint64_t first_l1;   /* index of the L1 entry that maps the end of `kept' */
    uint64_t first_kept; /* entries of its L2 table that stay: 1 or more */

    uint64_t *l2_offsets; /* of the old L1 */
    Qcow2TableScan *tables;
    uint64_t *table; /* the L2 table of `first_l1', as stored; the scan's */
    Qcow2VmstateClusters fresh;
} Tail;

static void tail_init(Tail *tail)
{
    const Qcow2Header *header = &tail->image->header;
    uint64_t vm_index = qcow2_snapshot_vm_index(header, tail->snapshot);
    uint64_t kept = qcow2_bytes_to_clusters(header, tail->kept);
    uint64_t first_table;

    qcow2_vmstate_clusters_init(&tail->fresh, tail->change->transaction,
                                vm_index, kept);
    first_table = qcow2_vmstate_clusters_first_table(&tail->fresh);
    tail->first_l1 = vm_index + first_table;
    tail->first_kept = kept - first_table * qcow2_l2_entries(header);
}

static bool refuse_hole(const Tail *tail, GError **errp)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                "the VM state of snapshot '%s' has a hole before position "
                "%" PRIu64,
                tail->snapshot->name, tail->kept);
    return false;
}

/* Read the old L1 and the L2 table that is going to be replaced. Yields. */
static bool coroutine_fn read_tables(Tail *tail, GError **errp)
{
    tail->l2_offsets =
        qcow2_snapshot_l1_read(tail->image, tail->snapshot, errp);
    if (!tail->l2_offsets) {
        return false;
    }
    if (tail->l2_offsets[tail->first_l1] == 0) {
        return refuse_hole(tail, errp);
    }
    tail->tables = qcow2_table_scan_begin(
        tail->image->file, "L2 table", tail->l2_offsets + tail->first_l1, 1,
        qcow2_cluster_size(&tail->image->header), errp);
    if (tail->tables) {
        tail->table = qcow2_table_scan_next(tail->tables, errp);
    }
    return tail->table != NULL;
}

/* The L2 tables behind the first one and what they hold, and the L1. Yields. */
static bool coroutine_fn drop_tables_behind(const Tail *tail, GError **errp)
{
    uint64_t count = tail->snapshot->l1_size;
    g_autofree uint64_t *behind = qcow2_new_table(count, "L1 table", errp);
    uint64_t i;

    for (i = tail->first_l1 + 1; behind && i < count; i++) {
        behind[i] = tail->l2_offsets[i];
    }
    return behind && qcow2_snapshot_l1_drop(tail->change->transaction,
                                            tail->snapshot, behind, errp);
}

static bool coroutine_fn drop_references(const Tail *tail, GError **errp)
{
    Qcow2Transaction *transaction = tail->change->transaction;

    return qcow2_drop_l2_entries(transaction, tail->first_l1, tail->table,
                                 tail->first_kept, errp) &&
           qcow2_transaction_unref(
               transaction, tail->l2_offsets[tail->first_l1],
               qcow2_cluster_size(&tail->image->header), errp) &&
           drop_tables_behind(tail, errp);
}

/* What was dropped must not have been what stays. Yields. */
static bool coroutine_fn check_kept_tables(const Tail *tail, GError **errp)
{
    uint64_t i;

    for (i = 0; i < tail->first_l1; i++) {
        if (tail->l2_offsets[i] &&
            !qcow2_refcounts_check_in_use(tail->change->transaction->refcounts,
                                          "an L2 table of the snapshot",
                                          tail->l2_offsets[i], 1, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * The same for the entries that stay and come into another table, so they must
 * be possible as well. Yields.
 */
static bool coroutine_fn check_kept_entries(const Tail *tail, GError **errp)
{
    const Qcow2Header *header = &tail->image->header;
    Qcow2L2Run run;
    uint64_t i;

    for (i = 0; i < tail->first_kept; i += run.entries) {
        if (!qcow2_l2_run_decode(tail->image, tail->table, i, tail->first_l1,
                                 &run, errp)) {
            return false;
        }
        run.entries = MIN(run.entries, tail->first_kept - i);
        if (!qcow2_refcounts_check_in_use(
                tail->change->transaction->refcounts, "VM state",
                run.cluster.offset, qcow2_l2_run_bytes(header, &run), errp)) {
            return false;
        }
    }
    return true;
}

/*
 * With extended L2, the last cluster that stays may have subclusters behind its
 * end that nobody has written. They come inside the VM state: as zeros, lest
 * the backing file shows through.
 */
static bool close_holes(Tail *tail, GError **errp)
{
    const Qcow2Header *header = &tail->image->header;
    uint64_t cluster_size = qcow2_cluster_size(header);
    uint64_t index = tail->first_kept - 1;
    uint64_t within = tail->kept - ((tail->fresh.kept - 1) * cluster_size);
    unsigned used = div_round_up(within, cluster_size / QCOW2_SUBCLUSTERS);
    Qcow2Cluster cluster;
    uint64_t holes;

    if (!qcow2_l2_entry_decode(
            tail->image, qcow2_l2_entry_load(header, tail->table, index),
            tail->first_l1 * qcow2_l2_entries(header) + index, &cluster,
            errp)) {
        return false;
    }
    if (cluster.type == QCOW2_CLUSTER_COMPRESSED) {
        return true;
    }
    holes = QCOW2_SUBCLUSTERS_ALL - (cluster.data | cluster.zeros);
    if (holes & ((1ULL << used) - 1)) {
        return refuse_hole(tail, errp);
    }
    if (holes) {
        tail->table[index * 2 + 1] |= htobe64(holes << QCOW2_SUBCLUSTERS);
    }
    return true;
}

/* In tables of snapshots the flag means nothing, and ours do not have it. */
static void clear_copied(Tail *tail)
{
    unsigned words = qcow2_l2_entry_words(&tail->image->header);
    uint64_t i;

    for (i = 0; i < tail->first_kept; i++) {
        tail->table[i * words] &= htobe64(~QCOW2_COPIED);
    }
}

/* Clusters for all of the data. Yields. */
static bool coroutine_fn take_clusters(Tail *tail, GError **errp)
{
    uint64_t wanted =
        qcow2_bytes_to_clusters(&tail->image->header, tail->bytes);

    while (tail->fresh.count < wanted) {
        if (!qcow2_vmstate_clusters_extend(&tail->fresh,
                                           wanted - tail->fresh.count, errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn write_data(Tail *tail, GError **errp)
{
    uint64_t done = 0;

    while (done < tail->bytes) {
        uint64_t contiguous;
        uint64_t offset =
            qcow2_vmstate_clusters_map(&tail->fresh, done, &contiguous);
        size_t piece = MIN(tail->bytes - done, contiguous);

        if (!qcow2_write_buffer_put(tail->change->transaction->metadata, offset,
                                    tail->data + done, piece, errp)) {
            return false;
        }
        done += piece;
    }
    return qcow2_vmstate_clusters_finish(&tail->fresh, tail->bytes, errp);
}

/* The L1 as it was up to the table that is replaced. Yields. */
static bool coroutine_fn write_l1(const Tail *tail, uint64_t l2_offset,
                                  uint64_t l2_tables, Qcow2Snapshot *changed,
                                  GError **errp)
{
    uint64_t count = tail->first_l1 + l2_tables;
    g_autofree uint64_t *entries = qcow2_new_table(count, "L1 table", errp);
    uint64_t i;

    if (!entries) {
        return false;
    }
    memcpy(entries, tail->l2_offsets, tail->first_l1 * sizeof(uint64_t));
    for (i = 0; i < l2_tables; i++) {
        entries[tail->first_l1 + i] = l2_offset +
                                      (i << tail->image->header.cluster_bits);
    }
    changed->l1_size = count;
    return qcow2_write_l1(tail->change->transaction, entries, count,
                          &changed->l1_table_offset, errp);
}

static bool coroutine_fn write_vmstate(Tail *tail, Qcow2Snapshot *changed,
                                       GError **errp)
{
    uint64_t l2_offset;
    uint64_t l2_tables;

    clear_copied(tail);
    changed->vm_state_size =
        tail->bytes ? qcow2_tail_position(tail->image, tail->kept) + tail->bytes
                    : tail->kept;
    return write_data(tail, errp) &&
           qcow2_vmstate_clusters_write_l2(&tail->fresh, tail->table,
                                           &l2_offset, &l2_tables, errp) &&
           write_l1(tail, l2_offset, l2_tables, changed, errp);
}

static bool coroutine_fn replace_roots(const Tail *tail,
                                       const Qcow2ActiveDisk *disk,
                                       const Qcow2Snapshot *changed,
                                       GError **errp)
{
    Qcow2Transaction *transaction = tail->change->transaction;
    Qcow2HeaderUpdate *update = &tail->change->update;
    g_autoptr(GByteArray) table = qcow2_snapshot_table_change_vmstate(
        tail->image->snapshots, tail->snapshot, changed, errp);

    return table &&
           (!disk->changed ||
            qcow2_replace_active_l1(transaction, disk->l1, update, errp)) &&
           qcow2_replace_snapshot_table(transaction, table,
                                        update->snapshot_count, update, errp);
}

static bool coroutine_fn replace_tail(Tail *tail, GError **errp)
{
    Qcow2ActiveDisk disk = { 0 };
    Qcow2Snapshot changed = *tail->snapshot;
    bool replaced =
        read_tables(tail, errp) && drop_references(tail, errp) &&
        check_kept_tables(tail, errp) && check_kept_entries(tail, errp) &&
        close_holes(tail, errp) &&
        qcow2_active_disk_read(&disk, tail->change->transaction, errp) &&
        qcow2_active_disk_mark(&disk, errp) && take_clusters(tail, errp) &&
        qcow2_active_disk_replace(&disk, NULL, 0, errp) &&
        write_vmstate(tail, &changed, errp) &&
        replace_roots(tail, &disk, &changed, errp) &&
        qcow2_change_commit(tail->change, errp);

    qcow2_active_disk_clear(&disk);
    return replaced;
}

uint64_t qcow2_tail_position(const Qcow2Image *image, uint64_t kept)
{
    return round_up(kept, qcow2_cluster_size(&image->header));
}

bool coroutine_fn qcow2_replace_tail(Qcow2Image *image,
                                     const Qcow2Snapshot *snapshot,
                                     uint64_t kept, const void *data,
                                     uint64_t bytes, GError **errp)
{
    Tail tail = {
        .image = image,
        .snapshot = snapshot,
        .kept = kept,
        .data = data,
        .bytes = bytes,
    };
    bool replaced;

    if (!qcow2_check_writable(image, errp) ||
        !qcow2_check_vmstate(image, snapshot, errp)) {
        return false;
    }
    g_assert(kept > 0 && kept <= snapshot->vm_state_size);
    tail.change = qcow2_change_begin(image, errp);
    if (!tail.change) {
        return false;
    }
    tail_init(&tail);
    replaced = replace_tail(&tail, errp);
    qcow2_table_scan_end(tail.tables);
    g_free(tail.l2_offsets);
    qcow2_vmstate_clusters_clear(&tail.fresh);
    qcow2_change_end(tail.change);
    return replaced;
}
