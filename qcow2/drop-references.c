/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See drop-references.h. A table that is named twice is dropped twice, as QEMU
 * counts it, which its refcount must allow.
 */
#include "drop-references.h"
#include "table-scan.h"

bool coroutine_fn qcow2_drop_l2_entries(Qcow2Transaction *transaction,
                                        uint64_t l1_index,
                                        const uint64_t *table, uint64_t first,
                                        GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;
    uint64_t entries = qcow2_l2_entries(header);
    Qcow2L2Run run;
    uint64_t i;

    for (i = first; i < entries; i += run.entries) {
        if (!qcow2_l2_run_decode(transaction->image, table, i, l1_index, &run,
                                 errp) ||
            !qcow2_transaction_unref(transaction, run.cluster.offset,
                                     qcow2_l2_run_bytes(header, &run), errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn drop_tables(Qcow2Transaction *transaction,
                                     const uint64_t *l2_offsets, uint64_t count,
                                     Qcow2TableScan *tables, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&transaction->image->header);
    uint64_t i;

    for (i = 0; i < count; i++) {
        const uint64_t *table;

        if (l2_offsets[i] == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, errp);
        if (!table || !qcow2_drop_l2_entries(transaction, i, table, 0, errp) ||
            !qcow2_transaction_unref(transaction, l2_offsets[i], cluster_size,
                                     errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_drop_references(Qcow2Transaction *transaction,
                                        const uint64_t *l2_offsets,
                                        uint64_t count, GError **errp)
{
    const Qcow2Image *image = transaction->image;
    Qcow2TableScan *tables =
        qcow2_table_scan_begin(image->file, "L2 table", l2_offsets, count,
                               qcow2_cluster_size(&image->header), errp);
    bool dropped = tables &&
                   drop_tables(transaction, l2_offsets, count, tables, errp);

    qcow2_table_scan_end(tables);
    return dropped;
}
