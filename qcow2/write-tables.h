/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * L1 tables and snapshot tables of a new state, written into fresh clusters of
 * a transaction. What they replace is freed.
 */
#ifndef QCOW2_WRITE_TABLES_H
#define QCOW2_WRITE_TABLES_H

#include "transaction.h"

/*
 * Write an L1 table of @count entries, which are in host order and stay so.
 * *@offset is where it is; a table without entries is nowhere, at 0. Yields.
 * Fills @errp (IO, NO_SPACE).
 */
bool coroutine_fn qcow2_write_l1(Qcow2Transaction *transaction,
                                 const uint64_t *entries, uint64_t count,
                                 uint64_t *offset, GError **errp);

/* What the header says now; *@update is then changed step by step. */
void qcow2_header_update_init(const Qcow2Transaction *transaction,
                              Qcow2HeaderUpdate *update);

/* Replace the active L1 by one of update->l1_size @entries. Yields. */
bool coroutine_fn qcow2_replace_active_l1(Qcow2Transaction *transaction,
                                          const uint64_t *entries,
                                          Qcow2HeaderUpdate *update,
                                          GError **errp);

/* Replace the snapshot table by @table, which holds @count entries. Yields. */
bool coroutine_fn qcow2_replace_snapshot_table(Qcow2Transaction *transaction,
                                               const GByteArray *table,
                                               uint32_t count,
                                               Qcow2HeaderUpdate *update,
                                               GError **errp);

#endif /* QCOW2_WRITE_TABLES_H */
