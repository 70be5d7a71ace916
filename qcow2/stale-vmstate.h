/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * VM state that lies behind the disk in the active L1. QEMU puts it there when
 * it loads a snapshot and never takes it away: it costs its space also when
 * the snapshot is gone, and becomes disk content when the disk grows.
 */
#ifndef QCOW2_STALE_VMSTATE_H
#define QCOW2_STALE_VMSTATE_H

#include "transaction.h"

typedef struct Qcow2StaleTables {
    uint64_t first;       /* index in the active L1 */
    uint64_t count;       /* L1 entries from there on */
    uint64_t *l2_offsets; /* `count' of them, 0 where there is no table */
    bool any;             /* there is one */
} Qcow2StaleTables;

/*
 * Read which L2 tables are left over. Yields. Fills @errp (DAMAGED, IO);
 * qcow2_stale_tables_clear() is due if it succeeds.
 */
bool coroutine_fn qcow2_stale_tables_read(const Qcow2Image *image,
                                          Qcow2StaleTables *stale,
                                          GError **errp);
void qcow2_stale_tables_clear(Qcow2StaleTables *stale);

/*
 * Drop all that the active L1 reaches behind the disk, within @transaction.
 * The caller takes the entries away. Yields. Fills @errp (DAMAGED, IO).
 */
bool coroutine_fn qcow2_stale_vmstate_drop(Qcow2Transaction *transaction,
                                           GError **errp);

/* Take the entries behind the disk out of @l1. Returns whether there were. */
bool qcow2_stale_vmstate_clear(const Qcow2Image *image, uint64_t *l1);

#endif /* QCOW2_STALE_VMSTATE_H */
