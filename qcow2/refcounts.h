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
    QCOW2_REFCOUNT_DROP,  /* - 1: one user less; must have been in use */
} Qcow2RefcountChange;

/*
 * Change the refcounts of @count clusters from @cluster on. Yields. Fills
 * @errp: DAMAGED when a cluster is not what the change supposes; UNSUPPORTED
 * when sharing would reach the maximum, because loading a snapshot takes one
 * more reference for a moment. After an error some have been changed.
 */
bool coroutine_fn qcow2_refcounts_change(Qcow2Refcounts *refcounts,
                                         uint64_t cluster, uint64_t count,
                                         Qcow2RefcountChange change,
                                         GError **errp);

/*
 * The first cluster number behind the last one whose refcount is not zero.
 * Reads blocks from the end and stops at the first that is in use. Yields.
 */
bool coroutine_fn qcow2_refcounts_find_end(Qcow2Refcounts *refcounts,
                                           uint64_t *cluster, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2Refcounts, qcow2_refcounts_free)

#endif /* QCOW2_REFCOUNTS_H */
