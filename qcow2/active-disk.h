/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What becomes of the active disk's tables when others have given up their
 * references to its clusters: what has exactly one reference now must have
 * COPIED there. Flags in the tables of snapshots mean nothing.
 *
 * Two steps. The first one looks at everything and writes nothing, so whatever
 * a hostile image has in its tables is found before: clusters of the active
 * disk that would have no reference left. The second one replaces the L2 tables
 * in which a flag changes. The work is bounded by l1_size times l2_entries:
 * nothing is followed twice.
 */
#ifndef QCOW2_ACTIVE_DISK_H
#define QCOW2_ACTIVE_DISK_H

#include "transaction.h"

typedef struct Qcow2ActiveDisk {
    Qcow2Transaction *transaction;
    uint64_t *l1;          /* header.l1_size entries, host order, new state */
    uint64_t *changing_l2; /* offsets of L2 tables in which a flag changes */
    bool changed;          /* `l1' differs from the stored one */
} Qcow2ActiveDisk;

/*
 * Read the active L1 into *@disk. The caller may then take entries away, whose
 * references it has dropped, and say so in `changed'. Yields. Fills @errp (IO).
 * qcow2_active_disk_clear() is due also after a failure.
 */
bool coroutine_fn qcow2_active_disk_read(Qcow2ActiveDisk *disk,
                                         Qcow2Transaction *transaction,
                                         GError **errp);

/*
 * The first step: all references have been dropped that are going to be.
 * Yields. Fills @errp (DAMAGED, IO).
 */
bool coroutine_fn qcow2_active_disk_mark(Qcow2ActiveDisk *disk, GError **errp);

/*
 * The second step. Among the L2 tables at @former, of which there are
 * @former_count, may be one at the same index that is, flags and all, what the
 * active one is to become: the disk had it before a snapshot was made. If it
 * has no owner any more it gets one again. Yields. Fills @errp (IO, NO_SPACE).
 */
bool coroutine_fn qcow2_active_disk_replace(Qcow2ActiveDisk *disk,
                                            const uint64_t *former,
                                            uint64_t former_count,
                                            GError **errp);

/* Free what _read() filled in. Zero-initialised is allowed. */
void qcow2_active_disk_clear(Qcow2ActiveDisk *disk);

#endif /* QCOW2_ACTIVE_DISK_H */
