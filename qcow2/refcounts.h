/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The refcounts of an image as a transaction sees them: what the file holds,
 * with the changes of the transaction on top. Changes stay in memory, whole
 * refcount blocks at a time, until all of them are written to fresh clusters
 * (write-refcounts.c). The search for free space reads all blocks; as many of
 * them stay in memory as a disk of usual size has, because sharing or freeing
 * a whole disk changes them all.
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
    bool dropped;    /* references were taken away: some may be 0 now */
    uint8_t *bytes;  /* one cluster */
} Qcow2RefcountBlock;

typedef struct Qcow2Refcounts {
    /* Constant after loading. */
    const Qcow2Image *image;
    uint64_t maximum;    /* of a refcount */
    uint64_t keep_bytes; /* of blocks that were only looked at */

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

/*
 * The block number @index of the refcount table, read or made when it is new.
 * Owned by @refcounts. Yields. Returns NULL and fills @errp (IO).
 */
Qcow2RefcountBlock *coroutine_fn qcow2_refcounts_block(
    Qcow2Refcounts *refcounts, uint64_t index, GError **errp);

/* The same if it is in memory, else NULL. Does not yield. */
Qcow2RefcountBlock *qcow2_refcounts_block_in_memory(
    const Qcow2Refcounts *refcounts, uint64_t index);

/*
 * Block @index has been read into @bytes: keep a copy if there is room. The
 * block is not in memory yet.
 */
void qcow2_refcounts_keep(Qcow2Refcounts *refcounts, uint64_t index,
                          const void *bytes);

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

/*
 * The refcount of @cluster in *@value; *@same is how many clusters from there
 * on have it, as far as that is seen at a glance: 1 to @most. Yields. Fills
 * @errp (IO).
 */
bool coroutine_fn qcow2_refcounts_look_up(Qcow2Refcounts *refcounts,
                                          uint64_t cluster, uint64_t most,
                                          uint64_t *value, uint64_t *same,
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
