/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The stored refcounts against what was counted: more than counted is a leak,
 * less is a corruption, and nothing where something is in use means that the
 * refcounts cannot even be used to put themselves right.
 */
#include "check.h"
#include "refcounts.h"

static void compare_cluster(Qcow2Check *check, uint64_t cluster,
                            uint64_t stored, uint64_t counted)
{
    if (stored < counted) {
        check->result->corruptions++;
    } else {
        check->result->leaks++;
    }
    qcow2_check_say(
        check, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
        stored < counted ? "ERROR" : "Leaked", cluster, stored, counted);
    check->rebuild |= stored == 0;
}

static void note_end(Qcow2Check *check, uint64_t cluster)
{
    check->result->image_end_offset = (cluster + 1)
                                      << check->image->header.cluster_bits;
}

/* The clusters of a refcount block that is there. */
static void compare_block(Qcow2Check *check, const uint8_t *block,
                          uint64_t first, uint64_t end)
{
    unsigned order = check->image->header.refcount_order;
    uint64_t i;

    for (i = 0; first + i < end; i++) {
        uint64_t stored = qcow2_refcount_load(block, order, i);
        uint64_t counted = qcow2_reference_map_get(check->counted, first + i);

        if (stored || counted) {
            note_end(check, first + i);
        }
        if (stored != counted) {
            compare_cluster(check, first + i, stored, counted);
        }
    }
}

/* Those of one that is not: whatever was counted is too much. */
static void compare_absent_block(Qcow2Check *check, uint64_t first,
                                 uint64_t end)
{
    uint64_t cluster = qcow2_reference_map_next(check->counted, first);

    while (cluster < end) {
        note_end(check, cluster);
        compare_cluster(check, cluster, 0,
                        qcow2_reference_map_get(check->counted, cluster));
        cluster = qcow2_reference_map_next(check->counted, cluster + 1);
    }
}

static void count_unreadable(Qcow2Check *check, uint64_t first, uint64_t end,
                             int error)
{
    for (; first < end; first++) {
        check->result->check_errors++;
        qcow2_check_say(check, "Can't get refcount for cluster %" PRIu64 ": %s",
                        first, g_strerror(-error));
    }
}

bool coroutine_fn qcow2_check_compare(Qcow2Check *check, GError **errp)
{
    uint64_t per_block = check->stored->per_block;
    uint64_t clusters = check->file_clusters;
    uint64_t first;

    /* A reference may reach into the cluster behind the end of the file. */
    if (qcow2_reference_map_get(check->counted, clusters)) {
        clusters++;
    }
    note_end(check, 0);
    for (first = 0; first < clusters; first += per_block) {
        uint64_t end = MIN(first + per_block, clusters);
        uint8_t *block;
        int ret = qcow2_stored_refcounts_block(check->stored, first / per_block,
                                               &block);

        if (ret < 0) {
            count_unreadable(check, first, end, ret);
        } else if (block) {
            compare_block(check, block, first, end);
        } else {
            compare_absent_block(check, first, end);
        }
    }
    return true;
}
