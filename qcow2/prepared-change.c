/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See prepared-change.h, and qcow2-snapshots.h for what it promises.
 */
#include "prepared-change.h"
#include "write-tables.h"

Qcow2Change *coroutine_fn qcow2_change_begin(Qcow2Image *image, GError **errp)
{
    Qcow2Transaction *transaction = qcow2_transaction_begin(image, errp);
    Qcow2Change *change;

    if (!transaction) {
        return NULL;
    }
    change = g_new0(Qcow2Change, 1);
    change->transaction = transaction;
    qcow2_header_update_init(transaction, &change->update);
    return change;
}

bool coroutine_fn qcow2_change_reserve(Qcow2Change *change, GError **errp)
{
    const Qcow2Refcounts *refcounts = change->transaction->refcounts;
    uint64_t blocks = refcounts->changed->len;
    uint64_t cluster_size =
        qcow2_cluster_size(&change->transaction->image->header);
    /* The blocks, an eighth for their own refcounts, the table, and spare. */
    uint64_t bytes = (blocks + blocks / 8 + 12) * cluster_size +
                     sizeof(uint64_t) * refcounts->table_entries;

    return qcow2_transaction_reserve(change->transaction, 0, 0, bytes, errp);
}

bool coroutine_fn qcow2_change_commit(Qcow2Change *change, GError **errp)
{
    qcow2_transaction_discard(change->transaction);
    return qcow2_transaction_commit(change->transaction, &change->update, errp);
}

bool qcow2_change_may_be_committed(const Qcow2Change *change)
{
    return change->transaction->committed;
}

void coroutine_fn qcow2_change_end(Qcow2Change *change)
{
    if (change) {
        qcow2_transaction_end(change->transaction);
        g_free(change);
    }
}
