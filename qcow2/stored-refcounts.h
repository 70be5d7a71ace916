/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The refcounts of an image as they are stored, whatever is wrong with them:
 * for a check, which wants them one after the other and then at random. Memory
 * is bounded: refcount blocks are kept as long as there is room.
 */
#ifndef QCOW2_STORED_REFCOUNTS_H
#define QCOW2_STORED_REFCOUNTS_H

#include "refcounts.h"

typedef struct Qcow2StoredRefcounts {
    const Qcow2Image *image;
    uint64_t *table;        /* as far as the file has it */
    uint64_t table_entries; /* behind them all are zero */
    uint64_t per_block;     /* clusters that one refcount block describes */

    GHashTable *blocks; /* index in the table -> bytes of one cluster */
    uint64_t recent_index;
    uint8_t *recent; /* the block asked for last, or NULL */
} Qcow2StoredRefcounts;

/* Yields. Returns NULL and fills @errp (IO). */
Qcow2StoredRefcounts *coroutine_fn qcow2_stored_refcounts_load(
    const Qcow2Image *image, GError **errp);
void qcow2_stored_refcounts_free(Qcow2StoredRefcounts *stored);

/*
 * The refcount block @index, one cluster that is valid until the next call;
 * *@block is NULL when there is none, which means zeros. Yields. Returns 0 or a
 * negative errno: -EIO also for an impossible entry of the refcount table.
 */
int coroutine_fn qcow2_stored_refcounts_block(Qcow2StoredRefcounts *stored,
                                              uint64_t index, uint8_t **block);

/* The same for the refcount of one cluster. Yields. */
int coroutine_fn qcow2_stored_refcounts_get(Qcow2StoredRefcounts *stored,
                                            uint64_t cluster, uint64_t *value);

/* Where block @index lies, 0 for nowhere; reserved bits and all. */
uint64_t qcow2_stored_refcounts_entry(const Qcow2StoredRefcounts *stored,
                                      uint64_t index);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2StoredRefcounts, qcow2_stored_refcounts_free)

#endif /* QCOW2_STORED_REFCOUNTS_H */
