/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A number for each cluster of a file, zero for nearly all: how often it is
 * referred to. Memory is taken where numbers are not zero, so that a large file
 * made of holes costs little, and one byte for each number is the rule.
 */
#ifndef QCOW2_REFERENCE_MAP_H
#define QCOW2_REFERENCE_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef struct Qcow2ReferenceMap Qcow2ReferenceMap;

/* More clusters than that no check handles. */
#define QCOW2_REFERENCE_MAP_MAX_CLUSTERS ((1ULL << 31) - 1)

#define QCOW2_NO_CLUSTER UINT64_MAX

/* For cluster numbers below @clusters, which is at most the maximum + 1. */
Qcow2ReferenceMap *qcow2_reference_map_new(uint64_t clusters);
void qcow2_reference_map_free(Qcow2ReferenceMap *map);

/* 0 also for clusters that are not in the map. */
uint64_t qcow2_reference_map_get(const Qcow2ReferenceMap *map,
                                 uint64_t cluster);

/* Returns false when there is no memory. @cluster is in the map. */
bool qcow2_reference_map_set(Qcow2ReferenceMap *map, uint64_t cluster,
                             uint64_t value);

/* The first cluster from @cluster on that is not 0, or QCOW2_NO_CLUSTER. */
uint64_t qcow2_reference_map_next(const Qcow2ReferenceMap *map,
                                  uint64_t cluster);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2ReferenceMap, qcow2_reference_map_free)

#endif /* QCOW2_REFERENCE_MAP_H */
