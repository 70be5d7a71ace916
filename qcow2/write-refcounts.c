/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The refcounts of the new state: all changed refcount blocks and a new table,
 * in fresh clusters. Their places must be known before any of them is written,
 * because they are counted in them.
 */
#include "bytes.h"
#include "snap-error.h"
#include "transaction.h"

/*
 * How many refcount blocks can there be to write at the most? All that are
 * stored, because freeing the old place of one changes another, and all that
 * are new.
 */
static uint64_t most_changed_blocks(const Qcow2Refcounts *refcounts)
{
    uint64_t blocks = refcounts->changed->len;
    uint64_t i;

    for (i = 0; i < refcounts->table_entries; i++) {
        blocks += refcounts->table[i] != 0;
    }
    return blocks;
}

/*
 * Entries that the new refcount table needs when @more clusters are going to
 * be allocated for refcount blocks and for the table itself. Describing those
 * takes further blocks, at most one for 64 clusters (512-byte clusters, 64-bit
 * refcounts): a sixteenth on top is more than the sum of that series.
 */
static uint64_t table_entries_needed(const Qcow2Transaction *transaction,
                                     uint64_t more)
{
    const Qcow2Refcounts *refcounts = transaction->refcounts;
    uint64_t end = transaction->end + more + more / 16 + 16;
    uint64_t needed = div_round_up(end, qcow2_refcounts_per_block(refcounts));

    return MAX(needed, refcounts->table_entries);
}

/* Clusters for a table that can describe all there is and itself. */
static bool measure_refcount_table(const Qcow2Transaction *transaction,
                                   uint64_t *clusters, GError **errp)
{
    uint64_t blocks = most_changed_blocks(transaction->refcounts);
    uint64_t bytes;

    *clusters = 0;
    do {
        bytes = table_entries_needed(transaction, blocks + ++*clusters) *
                sizeof(uint64_t);
        if (bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                        "the refcount table would be larger than 8 MiB");
            return false;
        }
    } while (qcow2_bytes_to_clusters(&transaction->image->header, bytes) >
             *clusters);
    return true;
}

bool qcow2_transaction_measure_refcounts(const Qcow2Transaction *transaction,
                                         uint64_t *clusters, GError **errp)
{
    if (!measure_refcount_table(transaction, clusters, errp)) {
        return false;
    }
    *clusters += most_changed_blocks(transaction->refcounts);
    return true;
}

/*
 * Give every changed block a fresh place and free its old one. Both change
 * refcounts, so blocks may join the list while it is worked on.
 */
static bool coroutine_fn place_refcount_blocks(Qcow2Transaction *transaction,
                                               uint64_t *table,
                                               uint64_t table_entries,
                                               GError **errp)
{
    Qcow2Refcounts *refcounts = transaction->refcounts;
    uint64_t cluster_size = qcow2_cluster_size(&transaction->image->header);
    guint i;

    for (i = 0; i < refcounts->changed->len; i++) {
        Qcow2RefcountBlock *block = g_ptr_array_index(refcounts->changed, i);

        g_assert(block->index < table_entries);
        if (block->offset &&
            !qcow2_transaction_unref(transaction, block->offset, cluster_size,
                                     errp)) {
            return false;
        }
        if (!qcow2_transaction_allocate(transaction, 1, &block->offset, errp) ||
            !qcow2_transaction_count(transaction, errp)) {
            return false;
        }
        table[block->index] = block->offset;
    }
    return true;
}

static bool coroutine_fn write_refcount_blocks(Qcow2Transaction *transaction,
                                               GError **errp)
{
    const GPtrArray *changed = transaction->refcounts->changed;
    size_t bytes = qcow2_cluster_size(&transaction->image->header);
    guint i;

    for (i = 0; i < changed->len; i++) {
        const Qcow2RefcountBlock *block = g_ptr_array_index(changed, i);

        if (!qcow2_write_buffer_put(transaction->metadata, block->offset,
                                    block->bytes, bytes, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_transaction_write_refcounts(
    Qcow2Transaction *transaction, uint64_t *offset, uint64_t *clusters,
    GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    Qcow2Refcounts *refcounts = transaction->refcounts;
    g_autofree uint64_t *table = NULL;
    uint64_t entries;
    uint64_t i;

    if (!qcow2_transaction_unref(transaction, header->refcount_table_offset,
                                 refcounts->table_entries * sizeof(uint64_t),
                                 errp) ||
        !qcow2_transaction_count(transaction, errp) ||
        !measure_refcount_table(transaction, clusters, errp) ||
        !qcow2_transaction_allocate(transaction, *clusters, offset, errp) ||
        !qcow2_transaction_count(transaction, errp)) {
        return false;
    }
    entries = (*clusters << header->cluster_bits) / sizeof(uint64_t);
    table = qcow2_new_table(entries, "refcount table", errp);
    if (!table) {
        return false;
    }
    memcpy(table, refcounts->table,
           refcounts->table_entries * sizeof(uint64_t));
    if (!place_refcount_blocks(transaction, table, entries, errp)) {
        return false;
    }
    for (i = 0; i < entries; i++) {
        table[i] = htobe64(table[i]);
    }
    return qcow2_write_buffer_put(transaction->metadata, *offset, table,
                                  entries * sizeof(uint64_t), errp) &&
           write_refcount_blocks(transaction, errp) &&
           qcow2_write_buffer_flush(transaction->metadata, errp);
}
