/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The refcounts of an image as a transaction sees them: what the file holds,
 * with the changes of the transaction on top. Changes stay in memory, whole
 * refcount blocks at a time, until all of them are written to fresh clusters
 * (transaction.c); blocks that nobody asked for are never read.
 */
#ifndef QCOW2_REFCOUNTS_H
#define QCOW2_REFCOUNTS_H

#include "internal.h"

/* Refcount @index of a block of 1 << @order bits per refcount. */
uint64_t qcow2_refcount_load(const uint8_t *block, unsigned order,
                             uint64_t index);
void qcow2_refcount_store(uint8_t *block, unsigned order, uint64_t index,
                          uint64_t value);

typedef struct Qcow2RefcountBlock {
    uint64_t index;  /* in the refcount table */
    uint64_t offset; /* where it is stored; 0: nowhere yet */
    bool changed;    /* differs from what is stored */
    uint8_t *bytes;  /* one cluster */
} Qcow2RefcountBlock;

typedef struct Qcow2Refcounts {
    /* Constant after loading. */
    const Qcow2Image *image;
    uint64_t maximum; /* of a refcount */

    /* Offsets of the stored blocks, 0 where there is none. */
    uint64_t *table;
    uint64_t table_entries;

    GHashTable *blocks; /* index -> Qcow2RefcountBlock: those in memory */
    Qcow2RefcountBlock *recent; /* the block asked for last, or NULL */
    GPtrArray *changed; /* the changed ones, in the order of first change */
} Qcow2Refcounts;

/*
 * Read and check the refcount table. Yields. Returns NULL and fills @errp (IO,
 * DAMAGED).
 */
Qcow2Refcounts *coroutine_fn qcow2_refcounts_load(const Qcow2Image *image,
                                                  GError **errp);
void qcow2_refcounts_free(Qcow2Refcounts *refcounts);

/* Clusters that one refcount block describes. */
uint64_t qcow2_refcounts_per_block(const Qcow2Refcounts *refcounts);

typedef enum Qcow2RefcountChange {
    QCOW2_REFCOUNT_TAKE,  /* 0 -> 1: a fresh cluster; must have been free */
    QCOW2_REFCOUNT_SHARE, /* + 1: one more user; must have been in use */
    QCOW2_REFCOUNT_SHARE_COMPRESSED, /* the same for compressed data */
    QCOW2_REFCOUNT_DROP, /* - 1: one user less; must have been in use */
} Qcow2RefcountChange;

/*
 * Change the refcounts of @count clusters from @cluster on. Yields. Fills
 * @errp: DAMAGED when a cluster is not what the change supposes; UNSUPPORTED
 * when sharing would reach the maximum, because loading a snapshot takes one
 * more reference for a moment. Of a cluster full of compressed pieces it takes
 * as many more as the snapshot has pieces there, at most all there are: so half
 * the maximum is the end for those. After an error some have been changed.
 */
bool coroutine_fn qcow2_refcounts_change(Qcow2Refcounts *refcounts,
                                         uint64_t cluster, uint64_t count,
                                         Qcow2RefcountChange change,
                                         GError **errp);

/* Clusters that lie next to each other; cluster numbers. */
typedef struct Qcow2ClusterRun {
    uint64_t first;
    uint64_t count;
} Qcow2ClusterRun;

/*
 * Find what is free: *@end is the cluster number behind the last one in use,
 * and *@runs (of Qcow2ClusterRun, ascending; g_array_unref() it) are the free
 * runs before it that are worth having. Reads all refcount blocks. Yields.
 */
bool coroutine_fn qcow2_refcounts_find_free(Qcow2Refcounts *refcounts,
                                            GArray **runs, uint64_t *end,
                                            GError **errp);

/*
 * Check that [@offset, @offset + @bytes) is in use. Fills @errp (DAMAGED) with
 * @what when a cluster of it has refcount 0. Yields.
 */
bool coroutine_fn qcow2_refcounts_check_in_use(Qcow2Refcounts *refcounts,
                                               const char *what,
                                               uint64_t offset, uint64_t bytes,
                                               GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2Refcounts, qcow2_refcounts_free)

#endif /* QCOW2_REFCOUNTS_H */
