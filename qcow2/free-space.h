/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What refcounts say about free space: where there is some before a change,
 * and where there is some after it.
 */
#ifndef QCOW2_FREE_SPACE_H
#define QCOW2_FREE_SPACE_H

#include "refcounts.h"

/* Clusters that lie next to each other; cluster numbers. */
typedef struct Qcow2ClusterRun {
    uint64_t first;
    uint64_t count;
} Qcow2ClusterRun;

/*
 * Find what is free: *@end is the cluster number behind the last one in use,
 * and *@runs (of Qcow2ClusterRun, ascending; g_array_unref() it) are the free
 * runs before it that are worth having. Reads all refcount blocks. Called
 * before anything is changed. Yields. Fills @errp (IO).
 */
bool coroutine_fn qcow2_refcounts_find_free(Qcow2Refcounts *refcounts,
                                            GArray **runs, uint64_t *end,
                                            GError **errp);

/*
 * The cluster number behind the last one in use now, with all changes; it is
 * known that none is in use from @limit on. Yields. Fills @errp (IO).
 */
bool coroutine_fn qcow2_refcounts_find_end(Qcow2Refcounts *refcounts,
                                           uint64_t limit, uint64_t *end,
                                           GError **errp);

/*
 * The runs before @end, worth having (see above), of clusters that the stored
 * refcounts, which are still there, have as in use, and that are free now;
 * g_array_unref() them. What was free before is left out. Yields. Returns NULL
 * and fills @errp (IO).
 */
GArray *coroutine_fn qcow2_refcounts_find_freed(const Qcow2Refcounts *refcounts,
                                                uint64_t end, GError **errp);

#endif /* QCOW2_FREE_SPACE_H */
