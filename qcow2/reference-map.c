/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Three levels: an array of pointers for the whole file (256 KiB at most),
 * groups of pointers, leaves of numbers. A leaf is small, because a hostile
 * image can make us allocate one with each of its 8-byte entries.
 */
#include "checked.h"
#include "reference-map.h"

#define LEAF_BITS     8
#define LEAF_CLUSTERS (1u << LEAF_BITS)
#define GROUP_BITS    8
#define GROUP_LEAVES  (1u << GROUP_BITS)

typedef struct Leaf {
    uint64_t *wide; /* NULL while all numbers fit into one byte */
    uint8_t narrow[LEAF_CLUSTERS];
} Leaf;

typedef struct Group {
    Leaf *leaves[GROUP_LEAVES];
} Group;

struct Qcow2ReferenceMap {
    uint64_t clusters;
    uint64_t group_count;
    Group **groups;
};

Qcow2ReferenceMap *qcow2_reference_map_new(uint64_t clusters)
{
    Qcow2ReferenceMap *map = g_new0(Qcow2ReferenceMap, 1);

    g_assert(clusters <= QCOW2_REFERENCE_MAP_MAX_CLUSTERS + 1);
    map->clusters = clusters;
    map->group_count = div_round_up(clusters, LEAF_CLUSTERS * GROUP_LEAVES);
    map->groups = g_new0(Group *, map->group_count);
    return map;
}

static void group_free(Group *group)
{
    unsigned i;

    for (i = 0; i < GROUP_LEAVES; i++) {
        if (group->leaves[i]) {
            g_free(group->leaves[i]->wide);
            g_free(group->leaves[i]);
        }
    }
    g_free(group);
}

void qcow2_reference_map_free(Qcow2ReferenceMap *map)
{
    uint64_t i;

    if (!map) {
        return;
    }
    for (i = 0; i < map->group_count; i++) {
        if (map->groups[i]) {
            group_free(map->groups[i]);
        }
    }
    g_free(map->groups);
    g_free(map);
}

static inline const Leaf *find_leaf(const Qcow2ReferenceMap *map,
                                    uint64_t cluster)
{
    const Group *group = map->groups[cluster >> (LEAF_BITS + GROUP_BITS)];

    return group ? group->leaves[cluster >> LEAF_BITS & (GROUP_LEAVES - 1)]
                 : NULL;
}

static inline uint64_t leaf_get(const Leaf *leaf, unsigned index)
{
    return leaf->wide ? leaf->wide[index] : leaf->narrow[index];
}

uint64_t qcow2_reference_map_get(const Qcow2ReferenceMap *map, uint64_t cluster)
{
    const Leaf *leaf;

    if (cluster >= map->clusters) {
        return 0;
    }
    leaf = find_leaf(map, cluster);
    return leaf ? leaf_get(leaf, cluster & (LEAF_CLUSTERS - 1)) : 0;
}

static Leaf *make_leaf(Qcow2ReferenceMap *map, uint64_t cluster)
{
    Group **group = &map->groups[cluster >> (LEAF_BITS + GROUP_BITS)];
    Leaf **leaf;

    if (!*group) {
        *group = g_try_new0(Group, 1);
    }
    if (!*group) {
        return NULL;
    }
    leaf = &(*group)->leaves[cluster >> LEAF_BITS & (GROUP_LEAVES - 1)];
    if (!*leaf) {
        *leaf = g_try_new0(Leaf, 1);
    }
    return *leaf;
}

static bool widen(Leaf *leaf)
{
    unsigned i;

    leaf->wide = g_try_new(uint64_t, LEAF_CLUSTERS);
    if (!leaf->wide) {
        return false;
    }
    for (i = 0; i < LEAF_CLUSTERS; i++) {
        leaf->wide[i] = leaf->narrow[i];
    }
    return true;
}

bool qcow2_reference_map_set(Qcow2ReferenceMap *map, uint64_t cluster,
                             uint64_t value)
{
    unsigned index = cluster & (LEAF_CLUSTERS - 1);
    Leaf *leaf;

    g_assert(cluster < map->clusters);
    leaf = make_leaf(map, cluster);
    if (!leaf || (value > UINT8_MAX && !leaf->wide && !widen(leaf))) {
        return false;
    }
    if (leaf->wide) {
        leaf->wide[index] = value;
    } else {
        leaf->narrow[index] = value;
    }
    return true;
}

/* How far it is from @cluster to where the next leaf can begin. */
static uint64_t absent_clusters(const Qcow2ReferenceMap *map, uint64_t cluster)
{
    unsigned bits = map->groups[cluster >> (LEAF_BITS + GROUP_BITS)]
                        ? LEAF_BITS
                        : LEAF_BITS + GROUP_BITS;

    return (1ULL << bits) - (cluster & ((1ULL << bits) - 1));
}

uint64_t qcow2_reference_map_next(const Qcow2ReferenceMap *map,
                                  uint64_t cluster)
{
    while (cluster < map->clusters) {
        const Leaf *leaf = find_leaf(map, cluster);

        if (!leaf) {
            cluster += absent_clusters(map, cluster);
        } else if (leaf_get(leaf, cluster & (LEAF_CLUSTERS - 1))) {
            return cluster;
        } else {
            cluster++;
        }
    }
    return QCOW2_NO_CLUSTER;
}
