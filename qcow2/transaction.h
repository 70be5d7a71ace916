/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A change of an image that happens all at once or not at all.
 *
 * How: nothing that the image refers to is overwritten. Every table that has
 * to change is written anew into fresh clusters: L2 tables, L1 tables, the
 * snapshot table, refcount blocks, the refcount table. The header points at
 * the active L1, the refcount table and the snapshot table, and all three
 * pointers, like the disk's size, lie in its first 512 bytes. One write of that
 * sector replaces the old state by the new one: refcounts, COPIED flags and
 * snapshots change in the same instant, and what the old state used has
 * refcount 0 in the new.
 *
 * Order, each | a flush:
 *     everything in fresh clusters | the header sector | cutting the file,
 *     punching holes into it
 *
 * So a crash at any moment leaves the old image or the new one, both without a
 * leak. Before the header write, giving up means cutting the file; after it,
 * what the new state does not need at the end of the file is cut off, which the
 * old state needed until then.
 *
 * Invariants:
 *   1. Between _begin() and _commit() only clusters are written that had
 *      refcount 0 when the transaction began, or to which nothing refers since
 *      qcow2_transaction_switch_early().
 *   2. What is freed in a transaction is not allocated again in it; but a table
 *      that has lost its last owner may get one again, as it is.
 *   3. The refcounts written by _commit() describe the image as it is after
 *      the header write, themselves included.
 */
#ifndef QCOW2_TRANSACTION_H
#define QCOW2_TRANSACTION_H

#include "free-space.h"
#include "refcounts.h"
#include "write-buffer.h"

typedef struct Qcow2Transaction {
    /* Constant after _begin(). */
    Qcow2Image *image;
    uint64_t start;         /* cluster number behind the last one in use */
    uint64_t old_file_size; /* bytes */

    /* Owned by the coroutine that runs the transaction. */
    GArray *free;            /* of Qcow2ClusterRun: free before `start' */
    uint64_t end;            /* like `start', with what was allocated since */
    GArray *allocated;       /* of Qcow2ClusterRun: without a refcount yet */
    uint64_t space_reserved; /* bytes of the file known to have disk space */
    bool discards;           /* see qcow2_transaction_discard() */
    bool committed;          /* the header is being or has been written */
    Qcow2Refcounts *refcounts;
    Qcow2WriteBuffer *metadata;
} Qcow2Transaction;

/* What the header shall say afterwards. */
typedef struct Qcow2HeaderUpdate {
    uint64_t size; /* of the virtual disk, bytes */
    uint32_t l1_size;
    uint64_t l1_table_offset;
    uint32_t snapshot_count;
    uint64_t snapshots_offset;
} Qcow2HeaderUpdate;

/*
 * Yields. Returns NULL and fills @errp when the image's metadata is not what
 * its refcounts say.
 */
Qcow2Transaction *coroutine_fn qcow2_transaction_begin(Qcow2Image *image,
                                                       GError **errp);

/*
 * Take @clusters contiguous fresh clusters; *@offset is in bytes. They get
 * refcount 1 in the commit. Those before `start' have disk space. Yields.
 * Fills @errp (NO_SPACE on a device that is full).
 */
bool coroutine_fn qcow2_transaction_allocate(Qcow2Transaction *transaction,
                                             uint64_t clusters,
                                             uint64_t *offset, GError **errp);

/*
 * The same, but be content with @least to @most clusters; *@clusters is how
 * many there are. Disk space is not asked for. Does not yield.
 */
bool qcow2_transaction_allocate_some(Qcow2Transaction *transaction,
                                     uint64_t least, uint64_t most,
                                     uint64_t *offset, uint64_t *clusters,
                                     GError **errp);

/* Return the @clusters that were allocated last. */
void qcow2_transaction_give_back(Qcow2Transaction *transaction,
                                 uint64_t clusters);

/*
 * One reference more or less for each cluster that [@offset, @offset + @bytes)
 * touches. A cluster in use whose refcount is 0 is DAMAGED. Yields.
 */
bool coroutine_fn qcow2_transaction_ref(Qcow2Transaction *transaction,
                                        uint64_t offset, uint64_t bytes,
                                        GError **errp);
bool coroutine_fn qcow2_transaction_unref(Qcow2Transaction *transaction,
                                          uint64_t offset, uint64_t bytes,
                                          GError **errp);

/* One reference more for the compressed data of a guest cluster. Yields. */
bool coroutine_fn qcow2_transaction_ref_compressed(
    Qcow2Transaction *transaction, uint64_t offset, uint64_t bytes,
    GError **errp);

/*
 * Take disk space for [@offset, @offset + @bytes), which is allocated, and for
 * @more bytes behind all that is, so that a full disk is noticed now. Yields.
 * Fills @errp (NO_SPACE). A file system that cannot promise space is not an
 * error.
 */
bool coroutine_fn qcow2_transaction_reserve(Qcow2Transaction *transaction,
                                            uint64_t offset, uint64_t bytes,
                                            uint64_t more, GError **errp);

/*
 * Refcount 1 for everything that was allocated since the last time. Yields.
 * Part of the commit.
 */
bool coroutine_fn qcow2_transaction_count(Qcow2Transaction *transaction,
                                          GError **errp);

/*
 * Write all changed refcount blocks and a new refcount table, *@offset and
 * *@clusters, into fresh clusters. Yields. Part of the commit.
 */
bool coroutine_fn qcow2_transaction_write_refcounts(
    Qcow2Transaction *transaction, uint64_t *offset, uint64_t *clusters,
    GError **errp);

/*
 * Check that the header's tables, the refcount blocks and the snapshots' L1
 * tables are inside the file and in use, with the changes so far. _begin() has
 * done so; who drops references because of what tables say does it again
 * before anything is written: such tables may name what they do not own.
 * Yields. Fills @errp (DAMAGED, IO).
 */
bool coroutine_fn qcow2_transaction_check_metadata(
    const Qcow2Transaction *transaction, GError **errp);

/*
 * How many clusters qcow2_transaction_write_refcounts() takes at the most, as
 * long as the file does not grow, in *@clusters. Fills @errp (NO_SPACE: there
 * cannot be such a table).
 */
bool qcow2_transaction_measure_refcounts(const Qcow2Transaction *transaction,
                                         uint64_t *clusters, GError **errp);

/*
 * Let the header say @update now, stable, ahead of the commit and with the
 * refcounts as they are stored: for a state that has references less and
 * nothing else new. What only those referred to leaks until the commit. Yields.
 * Fills @errp (IO); the text says so when it is open what the header says.
 */
bool coroutine_fn qcow2_transaction_switch_early(
    Qcow2Transaction *transaction, const Qcow2HeaderUpdate *update,
    GError **errp);

/* Give the disk space of @runs (of Qcow2ClusterRun) back. Best effort. */
void coroutine_fn qcow2_transaction_punch(const Qcow2Transaction *transaction,
                                          const GArray *runs);

/*
 * Let the commit give the disk space of what becomes free back to the file
 * system, unless the image shall keep it. Best effort, and only of clusters
 * that were counted as in use before: what a damaged image uses uncounted is
 * not touched.
 */
void qcow2_transaction_discard(Qcow2Transaction *transaction);

/*
 * Write the refcounts, switch the header over and cut the file behind the last
 * cluster that is still in use. Yields. On failure the image is as it was,
 * unless the error says that the header could not be made stable.
 */
bool coroutine_fn qcow2_transaction_commit(Qcow2Transaction *transaction,
                                           const Qcow2HeaderUpdate *update,
                                           GError **errp);

/*
 * Free the transaction; without a commit also cut the file back to its old
 * length. NULL is allowed. Yields.
 */
void coroutine_fn qcow2_transaction_end(Qcow2Transaction *transaction);

#endif /* QCOW2_TRANSACTION_H */
