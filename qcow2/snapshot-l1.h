/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The L1 table of a snapshot, for whoever changes what it reaches.
 */
#ifndef QCOW2_SNAPSHOT_L1_H
#define QCOW2_SNAPSHOT_L1_H

#include "transaction.h"

/*
 * The offsets of the L2 tables of @snapshot, 0 where there is none: l1_size of
 * them, VM state included; freed with g_free(). That the table lies inside the
 * file was checked with all metadata when a transaction began. Yields. Returns
 * NULL and fills @errp (DAMAGED, IO).
 */
uint64_t *coroutine_fn qcow2_snapshot_l1_read(const Qcow2Image *image,
                                              const Qcow2Snapshot *snapshot,
                                              GError **errp);

/*
 * Drop all references of a snapshot whose L2 tables are at @l2_offsets (0: none
 * there, or one that is not dropped): to all that they reach, then to its L1
 * table. In between all metadata is checked again, because the tables may name
 * what the snapshot does not own. Nothing is written. Yields. Fills @errp
 * (DAMAGED, IO).
 */
bool coroutine_fn qcow2_snapshot_l1_drop(Qcow2Transaction *transaction,
                                         const Qcow2Snapshot *snapshot,
                                         const uint64_t *l2_offsets,
                                         GError **errp);

#endif /* QCOW2_SNAPSHOT_L1_H */
