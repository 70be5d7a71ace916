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

/* Header fields of a transaction: l1_size is the first, autoclear the last. */
enum {
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

static uint64_t bytes_to_clusters(const Qcow2Transaction *transaction,
                                  uint64_t bytes)
{
    return div_round_up(bytes, qcow2_cluster_size(&transaction->image->header));
}

/*
 * Metadata with refcount 0 is damage, and what is free would be overwritten.
 * Data is not looked at here: a walk through all of it is what a check is for.
 */
static bool coroutine_fn check_metadata(const Qcow2Transaction *transaction,
                                        GError **errp)
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
        if (snapshot->l1_size > QCOW2_MAX_L1_ENTRIES ||
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
        !check_metadata(transaction, errp) ||
        !check_snapshots(transaction, errp)) {
        goto fail;
    }
    transaction->end = transaction->start;
    return transaction;

fail:
    qcow2_transaction_end(transaction);
    return NULL;
}

/* Can the file hold clusters up to @end? */
static bool check_end(const Qcow2Transaction *transaction, uint64_t end,
                      GError **errp)
{
    const Qcow2Image *image = transaction->image;
    unsigned cluster_bits = image->header.cluster_bits;

    if (end > QCOW2_MAX_HOST_OFFSET >> cluster_bits) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the image would grow beyond 2^56 bytes");
        return false;
    }
    if (image->file->fixed_size &&
        end << cluster_bits > transaction->old_file_size) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the device of %" PRIu64 " bytes is full",
                    transaction->old_file_size);
        return false;
    }
    return true;
}

/*
 * Note a run as allocated. It joins the last one where it continues it, but
 * not across `start', so that each comes from one place alone.
 */
static void note_allocated(Qcow2Transaction *transaction, uint64_t first,
                           uint64_t count)
{
    GArray *allocated = transaction->allocated;
    Qcow2ClusterRun run = { .first = first, .count = count };

    if (allocated->len) {
        Qcow2ClusterRun *last =
            &g_array_index(allocated, Qcow2ClusterRun, allocated->len - 1);

        if (last->first + last->count == first && first != transaction->start) {
            last->count += count;
            return;
        }
    }
    g_array_append_val(allocated, run);
}

/* The first free run of at least @least clusters, or NULL. */
static Qcow2ClusterRun *find_free_run(const Qcow2Transaction *transaction,
                                      uint64_t least)
{
    guint i;

    for (i = 0; i < transaction->free->len; i++) {
        Qcow2ClusterRun *run =
            &g_array_index(transaction->free, Qcow2ClusterRun, i);

        if (run->count >= least) {
            return run;
        }
    }
    return NULL;
}

static bool allocate_at_end(Qcow2Transaction *transaction, uint64_t clusters,
                            uint64_t *offset, GError **errp)
{
    uint64_t first = transaction->end;
    uint64_t end;

    if (!checked_add(first, clusters, &end)) {
        end = UINT64_MAX;
    }
    if (!check_end(transaction, end, errp)) {
        return false;
    }
    transaction->end = end;
    note_allocated(transaction, first, clusters);
    *offset = first << transaction->image->header.cluster_bits;
    return true;
}

bool qcow2_transaction_allocate_some(Qcow2Transaction *transaction,
                                     uint64_t least, uint64_t most,
                                     uint64_t *offset, uint64_t *clusters,
                                     GError **errp)
{
    Qcow2ClusterRun *run = find_free_run(transaction, MAX(least, 1));

    if (!run) {
        *clusters = most;
        return allocate_at_end(transaction, most, offset, errp);
    }
    *offset = run->first << transaction->image->header.cluster_bits;
    *clusters = MIN(most, run->count);
    note_allocated(transaction, run->first, *clusters);
    run->first += *clusters;
    run->count -= *clusters;
    return true;
}

/* Clusters were taken from the beginning of a free run: put them back there. */
static void return_to_free_run(const Qcow2Transaction *transaction,
                               uint64_t first, uint64_t count)
{
    guint i;

    for (i = 0; i < transaction->free->len; i++) {
        Qcow2ClusterRun *run =
            &g_array_index(transaction->free, Qcow2ClusterRun, i);

        if (run->first == first + count) {
            run->first = first;
            run->count += count;
            return;
        }
    }
}

void qcow2_transaction_give_back(Qcow2Transaction *transaction,
                                 uint64_t clusters)
{
    GArray *allocated = transaction->allocated;

    while (clusters > 0) {
        Qcow2ClusterRun *last;
        uint64_t piece;

        g_assert(allocated->len > 0);
        last = &g_array_index(allocated, Qcow2ClusterRun, allocated->len - 1);
        piece = MIN(clusters, last->count);
        last->count -= piece;
        if (last->first + last->count >= transaction->start) {
            transaction->end = last->first + last->count;
        } else {
            return_to_free_run(transaction, last->first + last->count, piece);
        }
        clusters -= piece;
        if (last->count == 0) {
            g_array_set_size(allocated, allocated->len - 1);
        }
    }
}

static bool coroutine_fn take_space(const Qcow2Transaction *transaction,
                                    uint64_t from, uint64_t to, GError **errp)
{
    int ret;

    if (to <= from) {
        return true;
    }
    ret = block_file_allocate(transaction->image->file, from, to - from);
    if (ret < 0 && ret != -ENOTSUP) {
        snap_error_set_errno(errp, ret,
                             "cannot take %" PRIu64 " bytes of disk space at "
                             "0x%" PRIx64,
                             to - from, from);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_transaction_allocate(Qcow2Transaction *transaction,
                                             uint64_t clusters,
                                             uint64_t *offset, GError **errp)
{
    unsigned cluster_bits = transaction->image->header.cluster_bits;
    uint64_t start = transaction->start << cluster_bits;
    uint64_t bytes = clusters << cluster_bits;

    if (!qcow2_transaction_allocate_some(transaction, clusters, clusters,
                                         offset, &clusters, errp)) {
        return false;
    }
    /*
     * Free clusters in the middle may be holes of the file, for which a full
     * disk has no room. Behind the end there is what was reserved.
     */
    if (*offset >= start || transaction->image->file->fixed_size ||
        take_space(transaction, *offset, *offset + bytes, NULL)) {
        return true;
    }
    qcow2_transaction_give_back(transaction, clusters);
    return allocate_at_end(transaction, clusters, offset, errp);
}

/* Refcount 1 for everything allocated since the last time. Yields. */
static bool coroutine_fn count_allocated(Qcow2Transaction *transaction,
                                         GError **errp)
{
    guint i;

    for (i = 0; i < transaction->allocated->len; i++) {
        Qcow2ClusterRun run =
            g_array_index(transaction->allocated, Qcow2ClusterRun, i);

        if (!qcow2_refcounts_change(transaction->refcounts, run.first,
                                    run.count, QCOW2_REFCOUNT_TAKE, errp)) {
            return false;
        }
    }
    g_array_set_size(transaction->allocated, 0);
    return true;
}

static bool coroutine_fn change_range(Qcow2Transaction *transaction,
                                      uint64_t offset, uint64_t bytes,
                                      Qcow2RefcountChange change, GError **errp)
{
    unsigned cluster_bits = transaction->image->header.cluster_bits;
    uint64_t first = offset >> cluster_bits;

    if (bytes == 0) {
        return true;
    }
    return qcow2_refcounts_change(
        transaction->refcounts, first,
        ((offset + bytes - 1) >> cluster_bits) - first + 1, change, errp);
}

bool coroutine_fn qcow2_transaction_ref(Qcow2Transaction *transaction,
                                        uint64_t offset, uint64_t bytes,
                                        GError **errp)
{
    return change_range(transaction, offset, bytes, QCOW2_REFCOUNT_SHARE, errp);
}

bool coroutine_fn qcow2_transaction_unref(Qcow2Transaction *transaction,
                                          uint64_t offset, uint64_t bytes,
                                          GError **errp)
{
    return change_range(transaction, offset, bytes, QCOW2_REFCOUNT_DROP, errp);
}

bool coroutine_fn qcow2_transaction_ref_compressed(
    Qcow2Transaction *transaction, uint64_t offset, uint64_t bytes,
    GError **errp)
{
    return change_range(transaction, offset, bytes,
                        QCOW2_REFCOUNT_SHARE_COMPRESSED, errp);
}

bool coroutine_fn qcow2_transaction_reserve(Qcow2Transaction *transaction,
                                            uint64_t offset, uint64_t bytes,
                                            uint64_t more, GError **errp)
{
    unsigned cluster_bits = transaction->image->header.cluster_bits;
    uint64_t start = transaction->start << cluster_bits;
    uint64_t to = (transaction->end << cluster_bits) + more;

    if (transaction->image->file->fixed_size) {
        /* It has its space; full to its end, it may have room before that. */
        return find_free_run(transaction,
                             bytes_to_clusters(transaction, more)) ||
               check_end(transaction, bytes_to_clusters(transaction, to), errp);
    }
    /* Free clusters in the middle may be holes of the file. */
    if (offset < start &&
        !take_space(transaction, offset, MIN(offset + bytes, start), errp)) {
        return false;
    }
    if (!take_space(transaction, MAX(transaction->space_reserved, start), to,
                    errp)) {
        return false;
    }
    transaction->space_reserved = MAX(transaction->space_reserved, to);
    return true;
}

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

/* Take clusters for a table that can describe all there is and itself. */
static bool coroutine_fn allocate_refcount_table(Qcow2Transaction *transaction,
                                                 uint64_t *offset,
                                                 uint64_t *clusters,
                                                 GError **errp)
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
    } while (bytes_to_clusters(transaction, bytes) > *clusters);
    return qcow2_transaction_allocate(transaction, *clusters, offset, errp);
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
            !count_allocated(transaction, errp)) {
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

/*
 * Write all changed refcount blocks and a new table. Their places must be
 * known before any is written, because they are counted in them.
 */
static bool coroutine_fn write_refcounts(Qcow2Transaction *transaction,
                                         uint64_t *offset, uint64_t *clusters,
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
        !count_allocated(transaction, errp) ||
        !allocate_refcount_table(transaction, offset, clusters, errp) ||
        !count_allocated(transaction, errp)) {
        return false;
    }
    entries = (*clusters << header->cluster_bits) / sizeof(uint64_t);
    table = g_new0(uint64_t, entries);
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
    store_be32(bytes + HEADER_L1_SIZE, update->l1_size);
    store_be64(bytes + HEADER_L1_TABLE_OFFSET, update->l1_table_offset);
    store_be64(bytes + HEADER_REFCOUNT_TABLE_OFFSET, refcount_table_offset);
    store_be32(bytes + HEADER_REFCOUNT_TABLE_CLUSTERS, refcount_table_clusters);
    store_be32(bytes + HEADER_SNAPSHOT_COUNT, update->snapshot_count);
    store_be64(bytes + HEADER_SNAPSHOTS_OFFSET, update->snapshots_offset);
    /* A writer clears the autoclear bits that it does not know. */
    store_be64(bytes + HEADER_AUTOCLEAR,
               image->header.autoclear_features & known_autoclear);
    ret = block_file_pwrite(image->file, HEADER_L1_SIZE, bytes + HEADER_L1_SIZE,
                            end - HEADER_L1_SIZE);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write the header, which decides whether "
                             "the change happened (offset %u)",
                             HEADER_L1_SIZE);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_transaction_commit(Qcow2Transaction *transaction,
                                           const Qcow2HeaderUpdate *update,
                                           GError **errp)
{
    BlockFile *file = transaction->image->file;
    uint64_t refcount_table_offset;
    uint64_t refcount_table_clusters;
    int ret;

    if (!write_refcounts(transaction, &refcount_table_offset,
                         &refcount_table_clusters, errp)) {
        return false;
    }
    /* Cut off what was reserved in vain, or fill up the last cluster. */
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
    return write_header(transaction, update, refcount_table_offset,
                        refcount_table_clusters, errp) &&
           flush(transaction,
                 "the header, which decides whether the change "
                 "happened,",
                 errp);
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
