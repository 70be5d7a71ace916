/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One reference less for all that an L1 table reaches.
 */
#ifndef QCOW2_DROP_REFERENCES_H
#define QCOW2_DROP_REFERENCES_H

#include "transaction.h"

/*
 * Drop one reference to each of the L2 tables at @l2_offsets, of which there
 * are @count (0: none there), and to all clusters that they hold, compressed
 * ones included. Yields. Fills @errp (DAMAGED: an entry is impossible, or a
 * refcount would fall below 0; IO). After an error some have been dropped.
 */
bool coroutine_fn qcow2_drop_references(Qcow2Transaction *transaction,
                                        const uint64_t *l2_offsets,
                                        uint64_t count, GError **errp);

/*
 * The same for what the entries of one L2 table (as stored), that of L1 entry
 * @l1_index, hold from number @first on; the table itself keeps its reference.
 */
bool coroutine_fn qcow2_drop_l2_entries(Qcow2Transaction *transaction,
                                        uint64_t l1_index,
                                        const uint64_t *table, uint64_t first,
                                        GError **errp);

#endif /* QCOW2_DROP_REFERENCES_H */
