/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * COPIED in the active tables as the refcounts of a transaction want it: set
 * where there is exactly one reference, and nowhere else.
 */
#ifndef QCOW2_MARK_COPIED_H
#define QCOW2_MARK_COPIED_H

#include "transaction.h"

/*
 * Make the flags of an active L2 table right in @table (as stored), that of
 * L1 entry @l1_index. *@changed tells whether one was wrong. Yields. Fills
 * @errp (DAMAGED: an entry is impossible, or what it holds has refcount 0;
 * IO).
 */
bool coroutine_fn qcow2_mark_l2_table(const Qcow2Transaction *transaction,
                                      uint64_t l1_index, uint64_t *table,
                                      bool *changed, GError **errp);

/*
 * Fill @errp (DAMAGED): @what at @offset, which the active disk uses, has no
 * reference left. Returns false.
 */
bool qcow2_refuse_unreferenced(GError **errp, const char *what,
                               uint64_t offset);

#endif /* QCOW2_MARK_COPIED_H */
