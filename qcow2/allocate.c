/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Fresh clusters for a transaction, and references to those in use.
 *
 * Free runs in the middle of the image go first, so that saving after a delete
 * does not make the file grow; behind them the file grows. A cluster is taken
 * here and counted later (qcow2_transaction_count()), because much of what is
 * taken for a stream is given back at its end.
 */
#include <errno.h>

#include "snap-error.h"
#include "transaction.h"

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

bool coroutine_fn qcow2_transaction_count(Qcow2Transaction *transaction,
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
                             qcow2_bytes_to_clusters(
                                 &transaction->image->header, more)) ||
               check_end(
                   transaction,
                   qcow2_bytes_to_clusters(&transaction->image->header, to),
                   errp);
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
