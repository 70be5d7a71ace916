/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the files of the check share. A check is a sequence of passes over one
 * Qcow2Check:
 *     count    all references, into `counted' (check-count.c, check-tables.c,
 *              check-bitmaps.c, check-snapshots.c)
 *     compare  `counted' with the stored refcounts (check-compare.c)
 *     copied   the COPIED flags with the stored refcounts (check-copied.c)
 * and, for a repair, of writes between them (check-repair.c,
 * check-rebuild.c). check.c tells the story.
 *
 * Work is bounded by the size of the file, whatever its tables say: an L2 table
 * is read once, however often it is named, and tables that may overlap are
 * charged to `budget'.
 */
#ifndef QCOW2_CHECK_INTERNAL_H
#define QCOW2_CHECK_INTERNAL_H

#include "internal.h"
#include "qcow2-check.h"
#include "reference-map.h"
#include "stored-refcounts.h"

typedef struct Qcow2Check {
    /* Constant after the beginning. */
    Qcow2Image *image;
    const Qcow2CheckOptions *options;
    Qcow2CheckResult *result;
    uint64_t cluster_size;
    uint64_t file_clusters; /* the last one may be partly missing */
    uint64_t refcount_maximum;
    bool data_file;   /* disk clusters lie in another file */
    bool extended_l2; /* L2 entries of 16 bytes */

    uint64_t budget; /* bytes of tables that may still be read twice */
    Qcow2StoredRefcounts *stored;

    /* The result of counting. */
    Qcow2ReferenceMap *counted;          /* references of each cluster */
    Qcow2ReferenceMap *l2_tables;        /* how often it is an L2 table */
    Qcow2ReferenceMap *active_l2_tables; /* the same, of the disk alone */
    bool rebuild; /* stored refcounts cannot be put right in place */

    /* For a repair. */
    uint64_t snapshot_corruptions; /* what reading the table found */
    bool mendable; /* an L2 entry that qcow2_check_mend() can mend was found */
    bool without_refcounts; /* leave the refcount structures uncounted */
    bool repair_copied;
} Qcow2Check;

/* Say something and count nothing. */
void qcow2_check_say(const Qcow2Check *check, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Count @times corruptions and say one of them. */
void qcow2_check_corruption(Qcow2Check *check, uint64_t times,
                            const char *format, ...) G_GNUC_PRINTF(3, 4);

/*
 * Charge the reading of @bytes that perhaps are read more than once. Fills
 * @errp (DAMAGED) when it becomes too much.
 */
bool qcow2_check_charge(Qcow2Check *check, uint64_t bytes, GError **errp);

/*
 * @times references to what [@offset, @offset + @bytes) touches. A range that
 * ends a whole cluster behind the file is a finding. Fills @errp when there is
 * no memory.
 */
bool qcow2_check_count(Qcow2Check *check, uint64_t offset, uint64_t bytes,
                       uint64_t times, GError **errp);

/*
 * Read a table of @entries 8-byte entries at @offset as far as the file has
 * it; *@present entries are there, behind them all are zero. Charged. Free with
 * free(). Yields.
 */
uint64_t *coroutine_fn qcow2_check_read_table(Qcow2Check *check,
                                              uint64_t offset, uint64_t entries,
                                              const char *what,
                                              uint64_t *present, GError **errp);

/*
 * Read an L2 table that is not cluster aligned into a new *@table; NULL when it
 * lies behind the end of the file. Charged. Free with g_free(). Yields.
 */
bool coroutine_fn qcow2_check_read_unaligned(Qcow2Check *check, uint64_t offset,
                                             uint8_t **table, GError **errp);

/* Bytes of the file in [@offset, @offset + @bytes). */
uint64_t qcow2_check_present(const Qcow2Check *check, uint64_t offset,
                             uint64_t bytes);

/*
 * Forget all counts and results, but for what the snapshot table had, then
 * count and compare once more, without words: the image was changed. Yields.
 */
bool coroutine_fn qcow2_check_recount(Qcow2Check *check, GError **errp);

/* All references of the image, in the order in which QEMU counts. Yields. */
bool coroutine_fn qcow2_check_count_all(Qcow2Check *check, GError **errp);

/* Read the snapshot table and look for entries that are too short. Yields. */
bool coroutine_fn qcow2_check_read_snapshots(Qcow2Check *check, GError **errp);

/* The bitmap directory, the bitmaps' tables and their data. Yields. */
bool coroutine_fn qcow2_check_count_bitmaps(Qcow2Check *check, GError **errp);

/*
 * An L1 table of @entries at @offset: itself and the L2 tables it names, which
 * are noted in l2_tables for later. Yields.
 */
bool coroutine_fn qcow2_check_count_l1(Qcow2Check *check, uint64_t offset,
                                       uint64_t entries, bool active,
                                       GError **errp);

/* What is in the L2 tables that were noted. Yields. */
bool coroutine_fn qcow2_check_count_l2_tables(Qcow2Check *check, GError **errp);

/*
 * Call @visit with each cluster of @map and its content, in ascending order.
 * What lies behind the end of the file is zeros. Yields.
 */
typedef bool coroutine_fn Qcow2CheckVisit(Qcow2Check *check, uint64_t cluster,
                                          uint8_t *table, GError **errp);
bool coroutine_fn qcow2_check_visit_tables(Qcow2Check *check,
                                           const Qcow2ReferenceMap *map,
                                           Qcow2CheckVisit *visit,
                                           GError **errp);

/* Is this cluster an L2 table and nothing else, so that it may be written? */
static inline bool qcow2_check_only_l2_table(const Qcow2Check *check,
                                             uint64_t cluster)
{
    return qcow2_reference_map_get(check->counted, cluster) ==
           qcow2_reference_map_get(check->l2_tables, cluster);
}

/* One L2 entry: what it points at. */
typedef struct Qcow2CheckEntry {
    uint64_t entry;
    uint64_t subclusters; /* 0 without extended L2 */
    Qcow2ClusterType type;
    uint64_t offset; /* host bytes; alignment not looked at */
    uint64_t bytes;  /* of COMPRESSED */
} Qcow2CheckEntry;

/* Decode without judging. @index is the entry's in its @table. */
Qcow2CheckEntry qcow2_check_l2_entry(const Qcow2Check *check,
                                     const uint8_t *table, uint64_t index);
/* Does an extended entry call a subcluster both allocated and zero? */
bool qcow2_check_subclusters_contradict(const Qcow2CheckEntry *entry);
/* Is the offset of a cluster that only holds zeros impossible? */
bool qcow2_check_zeros_unaligned(const Qcow2Check *check,
                                 const Qcow2CheckEntry *entry);
uint64_t qcow2_check_l2_entries(const Qcow2Check *check);
uint64_t qcow2_check_l2_entry_bytes(const Qcow2Check *check);

/* Stored refcounts against counted ones. Yields. */
bool coroutine_fn qcow2_check_compare(Qcow2Check *check, GError **errp);

/*
 * COPIED flags of the active L1 and L2 tables. They are put right if
 * repair_copied is set. Yields.
 */
bool coroutine_fn qcow2_check_copied(Qcow2Check *check, GError **errp);

/*
 * Put right what counting and comparing found, as far as it can be. Ends with
 * the COPIED flags. Yields.
 */
bool coroutine_fn qcow2_check_repair(Qcow2Check *check, GError **errp);

/*
 * Turn L2 entries that contradict themselves into what they can mean without
 * losing data, then recount if there were any. Yields.
 */
bool coroutine_fn qcow2_check_mend(Qcow2Check *check, GError **errp);

/*
 * Write the snapshot table anew with entries of full length, if nothing else
 * is wrong any more, then recount. *@completed tells whether that was so.
 * Yields.
 */
bool coroutine_fn qcow2_check_complete_snapshots(Qcow2Check *check,
                                                 bool *completed,
                                                 GError **errp);

/* New refcount structures, and new results of comparing with them. Yields. */
bool coroutine_fn qcow2_check_rebuild(Qcow2Check *check, GError **errp);

#endif /* QCOW2_CHECK_INTERNAL_H */
