/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snapshot-l1.h.
 */
#include "drop-references.h"
#include "snap-error.h"
#include "snapshot-l1.h"

uint64_t *coroutine_fn qcow2_snapshot_l1_read(const Qcow2Image *image,
                                              const Qcow2Snapshot *snapshot,
                                              GError **errp)
{
    uint64_t *l2_offsets;
    uint64_t *l1;

    if (snapshot->l1_size == 0) {
        return g_new0(uint64_t, 1);
    }
    if (!is_aligned(snapshot->l1_table_offset,
                    qcow2_cluster_size(&image->header))) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L1 table of snapshot '%s': it is at 0x%" PRIx64,
                    snapshot->name, snapshot->l1_table_offset);
        return NULL;
    }
    l1 = qcow2_read_table(image->file, snapshot->l1_table_offset,
                          snapshot->l1_size, "L1 table of the snapshot", errp);
    if (!l1) {
        return NULL;
    }
    l2_offsets = qcow2_l1_decode(image, l1, snapshot->l1_size, errp);
    free(l1);
    if (!l2_offsets) {
        g_prefix_error(errp, "snapshot '%s': ", snapshot->name);
    }
    return l2_offsets;
}

bool coroutine_fn qcow2_snapshot_l1_drop(Qcow2Transaction *transaction,
                                         const Qcow2Snapshot *snapshot,
                                         const uint64_t *l2_offsets,
                                         GError **errp)
{
    return qcow2_drop_references(transaction, l2_offsets, snapshot->l1_size,
                                 errp) &&
           qcow2_transaction_check_metadata(transaction, errp) &&
           qcow2_transaction_unref(transaction, snapshot->l1_table_offset,
                                   snapshot->l1_size * sizeof(uint64_t), errp);
}
