/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See transaction.h for the design and the invariants.
 */
#include <errno.h>

#include "bytes.h"
#include "snap-error.h"
#include "transaction.h"

/* Header fields of a transaction: the size is the first, autoclear the last. */
enum {
    HEADER_SIZE = 24,
    HEADER_L1_SIZE = 36,
    HEADER_L1_TABLE_OFFSET = 40,
    HEADER_REFCOUNT_TABLE_OFFSET = 48,
    HEADER_REFCOUNT_TABLE_CLUSTERS = 56,
    HEADER_SNAPSHOT_COUNT = 60,
    HEADER_SNAPSHOTS_OFFSET = 64,
    HEADER_V2_END = 72,
    HEADER_AUTOCLEAR = 88,
    HEADER_AUTOCLEAR_END = 96,
};

/*
 * Metadata with refcount 0 is damage, and what is free would be overwritten.
 * Data is not looked at here: a walk through all of it is what a check is for.
 */
static bool coroutine_fn check_header_tables(
    const Qcow2Transaction *transaction, GError **errp)
{
    const Qcow2Image *image = transaction->image;
    const Qcow2Header *header = &image->header;
    Qcow2Refcounts *refcounts = transaction->refcounts;
    uint64_t i;

    if (!qcow2_refcounts_check_in_use(refcounts, "the header", 0, 1, errp) ||
        !qcow2_refcounts_check_in_use(
            refcounts, "the L1 table", header->l1_table_offset,
            header->l1_size * sizeof(uint64_t), errp) ||
        !qcow2_refcounts_check_in_use(
            refcounts, "the refcount table", header->refcount_table_offset,
            refcounts->table_entries * sizeof(uint64_t), errp) ||
        !qcow2_refcounts_check_in_use(
            refcounts, "the snapshot table", header->snapshots_offset,
            qcow2_snapshot_table_bytes(image->snapshots), errp)) {
        return false;
    }
    for (i = 0; i < refcounts->table_entries; i++) {
        if (refcounts->table[i] &&
            !qcow2_refcounts_check_in_use(refcounts, "a refcount block",
                                          refcounts->table[i], 1, errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn check_snapshots(const Qcow2Transaction *transaction,
                                         GError **errp)
{
    const Qcow2Image *image = transaction->image;
    guint i;

    for (i = 0; i < image->snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(image->snapshots, i);
        uint64_t bytes = snapshot->l1_size * sizeof(uint64_t);

        /* Without entries the table is nowhere, whatever its offset says. */
        if (bytes == 0) {
            continue;
        }
        /* In the first cluster, it would change with the header. */
        if (snapshot->l1_size > QCOW2_MAX_L1_ENTRIES ||
            snapshot->l1_table_offset == 0 ||
            !is_aligned(snapshot->l1_table_offset,
                        qcow2_cluster_size(&image->header)) ||
            !range_within(snapshot->l1_table_offset, bytes, image->file_size)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                        "impossible L1 table of snapshot '%s': %u entries at "
                        "0x%" PRIx64,
                        snapshot->name, snapshot->l1_size,
                        snapshot->l1_table_offset);
            return false;
        }
        if (!qcow2_refcounts_check_in_use(
                transaction->refcounts, "the L1 table of a snapshot",
                snapshot->l1_table_offset, bytes, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_transaction_check_metadata(
    const Qcow2Transaction *transaction, GError **errp)
{
    return check_header_tables(transaction, errp) &&
           check_snapshots(transaction, errp);
}

Qcow2Transaction *coroutine_fn qcow2_transaction_begin(Qcow2Image *image,
                                                       GError **errp)
{
    Qcow2Transaction *transaction = g_new0(Qcow2Transaction, 1);

    transaction->image = image;
    transaction->old_file_size = image->file_size;
    transaction->allocated = g_array_new(FALSE, FALSE, sizeof(Qcow2ClusterRun));
    transaction->metadata = qcow2_write_buffer_new(image->file, errp);
    if (!transaction->metadata) {
        goto fail;
    }
    transaction->refcounts = qcow2_refcounts_load(image, errp);
    if (!transaction->refcounts ||
        !qcow2_refcounts_find_free(transaction->refcounts, &transaction->free,
                                   &transaction->start, errp) ||
        !qcow2_transaction_check_metadata(transaction, errp)) {
        goto fail;
    }
    transaction->end = transaction->start;
    return transaction;

fail:
    qcow2_transaction_end(transaction);
    return NULL;
}

void qcow2_transaction_discard(Qcow2Transaction *transaction)
{
    transaction->discards = true;
}

static bool coroutine_fn flush(Qcow2Transaction *transaction, const char *what,
                               GError **errp)
{
    int ret = block_file_flush(transaction->image->file);

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make %s stable", what);
        return false;
    }
    return true;
}

/* The commit point: the one write to something that is in use. */
static bool coroutine_fn write_header(Qcow2Transaction *transaction,
                                      const Qcow2HeaderUpdate *update,
                                      uint64_t refcount_table_offset,
                                      uint32_t refcount_table_clusters,
                                      GError **errp)
{
    const Qcow2Image *image = transaction->image;
    uint64_t known_autoclear = QCOW2_AUTOCLEAR_BITMAPS |
                               QCOW2_AUTOCLEAR_RAW_EXTERNAL;
    unsigned end = image->header.version == 2 ? HEADER_V2_END
                                              : HEADER_AUTOCLEAR_END;
    uint8_t bytes[QCOW2_HEADER_BYTES];
    int ret;

    memcpy(bytes, image->header_bytes, sizeof(bytes));
    store_be64(bytes + HEADER_SIZE, update->size);
    store_be32(bytes + HEADER_L1_SIZE, update->l1_size);
    store_be64(bytes + HEADER_L1_TABLE_OFFSET, update->l1_table_offset);
    store_be64(bytes + HEADER_REFCOUNT_TABLE_OFFSET, refcount_table_offset);
    store_be32(bytes + HEADER_REFCOUNT_TABLE_CLUSTERS, refcount_table_clusters);
    store_be32(bytes + HEADER_SNAPSHOT_COUNT, update->snapshot_count);
    store_be64(bytes + HEADER_SNAPSHOTS_OFFSET, update->snapshots_offset);
    /* A writer clears the autoclear bits that it does not know. */
    store_be64(bytes + HEADER_AUTOCLEAR,
               image->header.autoclear_features & known_autoclear);
    ret = block_file_pwrite(image->file, HEADER_SIZE, bytes + HEADER_SIZE,
                            end - HEADER_SIZE);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write the header, which decides whether "
                             "the change happened (offset %d)",
                             HEADER_SIZE);
        return false;
    }
    return true;
}

static bool coroutine_fn switch_header(Qcow2Transaction *transaction,
                                       const Qcow2HeaderUpdate *update,
                                       uint64_t refcount_table_offset,
                                       uint32_t refcount_table_clusters,
                                       GError **errp)
{
    return write_header(transaction, update, refcount_table_offset,
                        refcount_table_clusters, errp) &&
           flush(transaction,
                 "the header, which decides whether the change happened,",
                 errp);
}

bool coroutine_fn qcow2_transaction_switch_early(
    Qcow2Transaction *transaction, const Qcow2HeaderUpdate *update,
    GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;

    return switch_header(transaction, update, header->refcount_table_offset,
                         header->refcount_table_clusters, errp);
}

/*
 * The old state is gone for good, and with it the need for what only it used.
 * Best effort: free clusters at the end of the file harm nobody.
 */
static void coroutine_fn cut_free_tail(Qcow2Transaction *transaction)
{
    const Qcow2Image *image = transaction->image;
    uint64_t end;

    if (!image->file->fixed_size &&
        qcow2_refcounts_find_end(transaction->refcounts, transaction->end, &end,
                                 NULL) &&
        end < transaction->end) {
        transaction->end = end;
        (void)block_file_truncate(image->file,
                                  end << image->header.cluster_bits);
    }
}

/* Where to discard, or NULL; asked before the old refcounts are cut off. */
static GArray *coroutine_fn find_freed(const Qcow2Transaction *transaction)
{
    if (!transaction->discards || transaction->image->keeps_freed) {
        return NULL;
    }
    return qcow2_refcounts_find_freed(transaction->refcounts, transaction->end,
                                      NULL);
}

void coroutine_fn qcow2_transaction_punch(const Qcow2Transaction *transaction,
                                          const GArray *runs)
{
    unsigned cluster_bits = transaction->image->header.cluster_bits;
    guint i;

    for (i = 0; i < runs->len; i++) {
        Qcow2ClusterRun run = g_array_index(runs, Qcow2ClusterRun, i);
        uint64_t end = MIN(run.first + run.count, transaction->end);

        if (run.first >= end ||
            block_file_discard(transaction->image->file,
                               run.first << cluster_bits,
                               (end - run.first) << cluster_bits) < 0) {
            return;
        }
    }
}

/* Give back what the new state does not need. */
static void coroutine_fn give_back(Qcow2Transaction *transaction)
{
    g_autoptr(GArray) freed = find_freed(transaction);

    cut_free_tail(transaction);
    if (freed) {
        qcow2_transaction_punch(transaction, freed);
    }
}

bool coroutine_fn qcow2_transaction_commit(Qcow2Transaction *transaction,
                                           const Qcow2HeaderUpdate *update,
                                           GError **errp)
{
    BlockFile *file = transaction->image->file;
    uint64_t refcount_table_offset;
    uint64_t refcount_table_clusters;
    int ret;

    if (!qcow2_transaction_write_refcounts(transaction, &refcount_table_offset,
                                           &refcount_table_clusters, errp)) {
        return false;
    }
    /*
     * Cut off what was reserved in vain, or fill up the last cluster; not what
     * becomes free, because the old state needs it.
     */
    if (!file->fixed_size) {
        ret = block_file_truncate(
            file, transaction->end << transaction->image->header.cluster_bits);
        if (ret < 0) {
            snap_error_set_errno(errp, ret, "cannot set the file's length");
            return false;
        }
    }
    if (!flush(transaction, "the new metadata", errp)) {
        return false;
    }
    /* From here on the old length must not come back. */
    transaction->committed = true;
    if (!switch_header(transaction, update, refcount_table_offset,
                       refcount_table_clusters, errp)) {
        return false;
    }
    give_back(transaction);
    return true;
}

void coroutine_fn qcow2_transaction_end(Qcow2Transaction *transaction)
{
    if (!transaction) {
        return;
    }
    /*
     * Best effort: what stays behind the old end has refcount 0 and is
     * nobody's.
     */
    if (!transaction->committed && transaction->refcounts &&
        !transaction->image->file->fixed_size &&
        block_file_size(transaction->image->file) >
            (int64_t)transaction->old_file_size) {
        (void)block_file_truncate(transaction->image->file,
                                  transaction->old_file_size);
    }
    g_clear_pointer(&transaction->free, g_array_unref);
    g_clear_pointer(&transaction->allocated, g_array_unref);
    qcow2_refcounts_free(transaction->refcounts);
    qcow2_write_buffer_free(transaction->metadata);
    g_free(transaction);
}
