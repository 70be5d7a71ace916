/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Fresh clusters for VM state, in long runs, and the L2 tables that map them.
 * The tables are not kept while data arrives but computed from the runs at the
 * end. Positions here count from the first of these clusters.
 */
#ifndef QCOW2_VMSTATE_CLUSTERS_H
#define QCOW2_VMSTATE_CLUSTERS_H

#include "transaction.h"

typedef struct Qcow2VmstateClusters {
    /* Constant after _init(). */
    Qcow2Transaction *transaction;
    uint64_t disk_entries; /* of the snapshot's L1 */
    uint64_t kept;         /* clusters of VM state that are before these */

    /* Owned by the coroutine that runs the transaction. */
    GArray *runs;   /* of VmstateRun, in the order of the VM state */
    uint64_t count; /* clusters of all runs together */
} Qcow2VmstateClusters;

/* Begin without any. @transaction outlives *@clusters. */
void qcow2_vmstate_clusters_init(Qcow2VmstateClusters *clusters,
                                 Qcow2Transaction *transaction,
                                 uint64_t disk_entries, uint64_t kept);

/* Free what _init() made. Zero-initialised is allowed. */
void qcow2_vmstate_clusters_clear(Qcow2VmstateClusters *clusters);

/*
 * Take up to @most clusters more, in one run, which is not much shorter than
 * 1 MiB unless @most is. There is disk space for them and for the metadata that
 * they will need. Yields.
 * Fills @errp: NO_SPACE, INVALID (more than this cluster size can map).
 */
bool coroutine_fn qcow2_vmstate_clusters_extend(Qcow2VmstateClusters *clusters,
                                                uint64_t most, GError **errp);

/* The same for the metadata alone, whatever it maps. */
bool coroutine_fn qcow2_vmstate_clusters_reserve_metadata(
    const Qcow2VmstateClusters *clusters, GError **errp);

/* Where @position is in the file, and how many bytes follow it there. */
uint64_t qcow2_vmstate_clusters_map(const Qcow2VmstateClusters *clusters,
                                    uint64_t position, uint64_t *bytes);

/*
 * Data ends at @end: give clusters behind it back and fill up the last one with
 * zeros. Yields. Fills @errp (IO, NO_SPACE).
 */
bool coroutine_fn qcow2_vmstate_clusters_finish(Qcow2VmstateClusters *clusters,
                                                uint64_t end, GError **errp);

/*
 * The number, from the VM state's first, of the L2 table that maps the last
 * cluster before these: the first one that must be written.
 */
uint64_t qcow2_vmstate_clusters_first_table(
    const Qcow2VmstateClusters *clusters);

/*
 * Write the L2 tables from that one on, *@tables of them one behind the other
 * from *@offset on. @kept is that table as it was, for the entries that stay;
 * NULL where there are none. Yields. Fills @errp (IO, NO_SPACE).
 */
bool coroutine_fn qcow2_vmstate_clusters_write_l2(
    const Qcow2VmstateClusters *clusters, const uint64_t *kept,
    uint64_t *offset, uint64_t *tables, GError **errp);

#endif /* QCOW2_VMSTATE_CLUSTERS_H */
