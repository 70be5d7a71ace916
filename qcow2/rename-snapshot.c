/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Renaming a snapshot: a snapshot table in which one entry has another name.
 * All other bytes stay what they are, those of other entries and those of this
 * one, whose extra data may hold what only a newer writer understands.
 */
#include "qcow2-snapshots.h"
#include "write-tables.h"

static bool coroutine_fn rename_snapshot(Qcow2Transaction *transaction,
                                         const GByteArray *table, GError **errp)
{
    Qcow2HeaderUpdate update;

    qcow2_header_update_init(transaction, &update);
    return qcow2_replace_snapshot_table(transaction, table,
                                        update.snapshot_count, &update, errp) &&
           qcow2_transaction_commit(transaction, &update, errp);
}

bool coroutine_fn qcow2_snapshot_rename(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        const char *name, GError **errp)
{
    g_autoptr(GByteArray) table = NULL;
    Qcow2Transaction *transaction;
    bool renamed;

    if (!qcow2_check_writable(image, errp) ||
        !qcow2_check_new_name(image, name, NULL, errp)) {
        return false;
    }
    table = qcow2_snapshot_table_rename(image->snapshots, snapshot, name, errp);
    if (!table) {
        return false;
    }
    transaction = qcow2_transaction_begin(image, errp);
    renamed = transaction && rename_snapshot(transaction, table, errp);
    qcow2_transaction_end(transaction);
    return renamed;
}
