/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where the VM state of a snapshot lies in the file: the snapshot's L1 table
 * and the L2 tables below it, of which the next ones are fetched while the
 * present ones are used.
 */
#ifndef QCOW2_VMSTATE_MAP_H
#define QCOW2_VMSTATE_MAP_H

#include "internal.h"

/*
 * Has @snapshot VM state, and an L1 table that can map it? Fills @errp (INVALID,
 * DAMAGED).
 */
bool qcow2_check_vmstate(const Qcow2Image *image, const Qcow2Snapshot *snapshot,
                         GError **errp);

typedef struct Qcow2VmstateMap Qcow2VmstateMap;

/*
 * The map of @snapshot's VM state, as far as its size says; if @whole, up to
 * where the last cluster is. @image must outlive it. Yields. Returns NULL and
 * fills @errp: INVALID (there is none), DAMAGED, IO.
 */
Qcow2VmstateMap *coroutine_fn qcow2_vmstate_map_open(
    const Qcow2Image *image, const Qcow2Snapshot *snapshot, bool whole,
    GError **errp);

/* Where it ends. */
uint64_t qcow2_vmstate_map_bytes(const Qcow2VmstateMap *map);

/* No _find() is under way. NULL is allowed. Yields. */
void coroutine_fn qcow2_vmstate_map_close(Qcow2VmstateMap *map);

/*
 * The cluster that holds @position, inside the VM state; many may ask at once.
 * Yields when the L2 table is not there yet. Returns false and fills @errp:
 * DAMAGED, IO.
 */
bool coroutine_fn qcow2_vmstate_map_find(Qcow2VmstateMap *map,
                                         uint64_t position,
                                         Qcow2Cluster *cluster, GError **errp);

#endif /* QCOW2_VMSTATE_MAP_H */
