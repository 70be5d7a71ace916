/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See mark-copied.h.
 */
#include "bytes.h"
#include "mark-copied.h"
#include "snap-error.h"

bool qcow2_refuse_unreferenced(GError **errp, const char *what, uint64_t offset)
{
    g_set_error(
        errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
        "then %s at 0x%" PRIx64 " of the active disk "
        "would have refcount 0; `qemu-snap check -r all' may repair the "
        "image",
        what, offset);
    return false;
}

/*
 * Set or clear COPIED in the @count entries from @index on, whose clusters
 * follow one another from @cluster on. *@changed becomes true if one was
 * wrong. Yields.
 */
static bool coroutine_fn mark_clusters(const Qcow2Transaction *transaction,
                                       uint64_t *table, uint64_t index,
                                       uint64_t count, uint64_t cluster,
                                       bool *changed, GError **errp)
{
    unsigned words = qcow2_l2_entry_words(&transaction->image->header);
    uint64_t value;
    uint64_t same;
    uint64_t i;

    for (; count > 0; index += same, count -= same, cluster += same) {
        uint64_t copied;

        if (!qcow2_refcounts_look_up(transaction->refcounts, cluster, count,
                                     &value, &same, errp)) {
            return false;
        }
        if (value == 0) {
            return qcow2_refuse_unreferenced(
                errp, "a cluster",
                cluster << transaction->image->header.cluster_bits);
        }
        copied = value == 1 ? htobe64(QCOW2_COPIED) : 0;
        for (i = index * words; i < (index + same) * words; i += words) {
            uint64_t entry = (table[i] & ~htobe64(QCOW2_COPIED)) | copied;

            *changed |= entry != table[i];
            table[i] = entry;
        }
    }
    return true;
}

/* Compressed clusters have no flag but need their references, too. */
static bool coroutine_fn check_compressed(const Qcow2Transaction *transaction,
                                          const Qcow2Cluster *cluster,
                                          GError **errp)
{
    return qcow2_refcounts_check_in_use(transaction->refcounts,
                                        "compressed data", cluster->offset,
                                        cluster->bytes, errp);
}

bool coroutine_fn qcow2_mark_l2_table(const Qcow2Transaction *transaction,
                                      uint64_t l1_index, uint64_t *table,
                                      bool *changed, GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    uint64_t entries = qcow2_l2_entries(header);
    Qcow2L2Run run;
    uint64_t i;

    *changed = false;
    for (i = 0; i < entries; i += run.entries) {
        bool marked = true;

        if (!qcow2_l2_run_decode(transaction->image, table, i, l1_index, &run,
                                 errp)) {
            return false;
        }
        switch (run.cluster.type) {
        case QCOW2_CLUSTER_UNALLOCATED:
        case QCOW2_CLUSTER_ZERO_PLAIN:
            break;
        case QCOW2_CLUSTER_NORMAL:
        case QCOW2_CLUSTER_ZERO_ALLOCATED:
            marked = mark_clusters(transaction, table, i, run.entries,
                                   run.cluster.offset >> header->cluster_bits,
                                   changed, errp);
            break;
        case QCOW2_CLUSTER_COMPRESSED:
            marked = check_compressed(transaction, &run.cluster, errp);
            break;
        }
        if (!marked) {
            return false;
        }
    }
    return true;
}
