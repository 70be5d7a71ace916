/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See free-space.h. A full terabyte has 16 million refcounts, nearly none of
 * which is 0: they are looked at in words of 64 bits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "free-space.h"
#include "snap-error.h"
#include "table-scan.h"

/*
 * Free space is taken again in runs of at least this length: shorter ones
 * would break a stream into small requests. And no more than this many: they
 * are kept in memory (1 MiB), and an image may be made of holes.
 */
#define LEAST_FREE_RUN_BYTES (64 * 1024)
#define MAX_FREE_RUNS        65536

/* A free run that has begun, if `count' is not 0, and those before it. */
typedef struct FreeScan {
    GArray *runs;
    Qcow2ClusterRun run;
    uint64_t least; /* shorter runs are not worth having; clusters */
} FreeScan;

static FreeScan free_scan_new(const Qcow2Refcounts *refcounts)
{
    unsigned cluster_bits = refcounts->image->header.cluster_bits;

    return (FreeScan){
        .runs = g_array_new(FALSE, FALSE, sizeof(Qcow2ClusterRun)),
        .least = MAX(LEAST_FREE_RUN_BYTES >> cluster_bits, 1),
    };
}

static void scan_free(FreeScan *scan, uint64_t cluster, uint64_t count)
{
    if (scan->run.count == 0) {
        scan->run.first = cluster;
    }
    scan->run.count += count;
}

static void scan_used(FreeScan *scan)
{
    if (scan->run.count >= scan->least && scan->runs->len < MAX_FREE_RUNS) {
        g_array_append_val(scan->runs, scan->run);
    }
    scan->run.count = 0;
}

/* A word with the lowest bit of each refcount in it set; any byte order. */
static uint64_t lowest_bits(unsigned order)
{
    return order == 6 ? 1 : UINT64_MAX / ((1ULL << (1u << order)) - 1);
}

/*
 * Is any refcount in the word 0? Taking one from each lets a borrow reach the
 * highest bit of a 0 only, or of one above a 0.
 */
static bool has_zero(uint64_t word, uint64_t lowest, unsigned order)
{
    uint64_t highest = lowest << ((1u << order) - 1);

    return ((word - lowest) & ~word & highest) != 0;
}

/* Look at a whole block; @first is the cluster that it begins with. */
static void scan_block(FreeScan *scan, const uint8_t *bytes, size_t block_bytes,
                       unsigned order, uint64_t first)
{
    uint64_t per_word = sizeof(uint64_t) * 8 >> order;
    uint64_t lowest = lowest_bits(order);
    uint64_t count = (uint64_t)block_bytes * 8 >> order;
    uint64_t i;
    uint64_t j;

    for (i = 0; i < count; i += per_word) {
        uint64_t word;

        memcpy(&word, bytes + i / per_word * sizeof(word), sizeof(word));
        if (word == 0) {
            scan_free(scan, first + i, per_word);
        } else if (!has_zero(word, lowest, order)) {
            scan_used(scan);
        } else {
            for (j = i; j < i + per_word; j++) {
                if (qcow2_refcount_load(bytes, order, j) == 0) {
                    scan_free(scan, first + j, 1);
                } else {
                    scan_used(scan);
                }
            }
        }
    }
}

static bool coroutine_fn scan_all(Qcow2Refcounts *refcounts, FreeScan *scan,
                                  Qcow2TableScan *tables, GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    uint64_t i;

    for (i = 0; i < refcounts->table_entries; i++) {
        const uint8_t *bytes;

        if (!refcounts->table[i]) {
            scan_free(scan, i * per_block, per_block);
            continue;
        }
        bytes = qcow2_table_scan_next(tables, errp);
        if (!bytes) {
            return false;
        }
        scan_block(scan, bytes, qcow2_cluster_size(header),
                   header->refcount_order, i * per_block);
        qcow2_refcounts_keep(refcounts, i, bytes);
    }
    return true;
}

bool coroutine_fn qcow2_refcounts_find_free(Qcow2Refcounts *refcounts,
                                            GArray **runs, uint64_t *end,
                                            GError **errp)
{
    FreeScan scan = free_scan_new(refcounts);
    Qcow2TableScan *tables = qcow2_table_scan_begin(
        refcounts->image->file, "refcount block", refcounts->table,
        refcounts->table_entries, qcow2_cluster_size(&refcounts->image->header),
        errp);
    bool scanned = tables && scan_all(refcounts, &scan, tables, errp);

    qcow2_table_scan_end(tables);
    if (!scanned) {
        g_array_unref(scan.runs);
        return false;
    }
    /* The run that nothing in use ends is the space behind the end. */
    *end = scan.run.count ? scan.run.first
                          : refcounts->table_entries *
                                qcow2_refcounts_per_block(refcounts);
    *runs = scan.runs;
    return true;
}

/* How many of the first @limit refcounts there are up to the last one used. */
static uint64_t used_part(const uint8_t *bytes, unsigned order, uint64_t limit)
{
    while (limit > 0 && qcow2_refcount_load(bytes, order, limit - 1) == 0) {
        limit--;
    }
    return limit;
}

bool coroutine_fn qcow2_refcounts_find_end(Qcow2Refcounts *refcounts,
                                           uint64_t limit, uint64_t *end,
                                           GError **errp)
{
    unsigned order = refcounts->image->header.refcount_order;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);

    while (limit > 0) {
        uint64_t index = (limit - 1) / per_block;
        uint64_t first = index * per_block;
        bool stored = index < refcounts->table_entries &&
                      refcounts->table[index];
        Qcow2RefcountBlock *block =
            qcow2_refcounts_block_in_memory(refcounts, index);

        if (!block && stored) {
            block = qcow2_refcounts_block(refcounts, index, errp);
            if (!block) {
                return false;
            }
        }
        if (block) {
            uint64_t used = used_part(block->bytes, order, limit - first);

            if (used > 0) {
                *end = first + used;
                return true;
            }
        }
        limit = first;
    }
    *end = 0;
    return true;
}

/*
 * Look at a block in @bytes as it has become and in @before as it is stored:
 * what was free before counts as in use.
 */
static void scan_freed(FreeScan *scan, const uint8_t *bytes,
                       const uint8_t *before, unsigned order, uint64_t first,
                       uint64_t count)
{
    uint64_t i;

    for (i = 0; i < count; i++) {
        if (qcow2_refcount_load(bytes, order, i) == 0 &&
            qcow2_refcount_load(before, order, i) != 0) {
            scan_free(scan, first + i, 1);
        } else {
            scan_used(scan);
        }
    }
}

/* The same for all blocks; @before has room for one. Yields. */
static bool coroutine_fn scan_dropped(const Qcow2Refcounts *refcounts,
                                      FreeScan *scan, uint64_t end,
                                      uint8_t *before, GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    uint64_t i;

    for (i = 0; i * per_block < end; i++) {
        const Qcow2RefcountBlock *block =
            qcow2_refcounts_block_in_memory(refcounts, i);
        int ret;

        if (!block || !block->dropped || i >= refcounts->table_entries ||
            !refcounts->table[i]) {
            scan_used(scan);
            continue;
        }
        ret = block_file_pread(refcounts->image->file, refcounts->table[i],
                               before, qcow2_cluster_size(header));
        if (ret < 0) {
            snap_error_set_errno(errp, ret,
                                 "cannot read the refcount block at 0x%" PRIx64,
                                 refcounts->table[i]);
            return false;
        }
        scan_freed(scan, block->bytes, before, header->refcount_order,
                   i * per_block, MIN(per_block, end - i * per_block));
    }
    scan_used(scan);
    return true;
}

GArray *coroutine_fn qcow2_refcounts_find_freed(const Qcow2Refcounts *refcounts,
                                                uint64_t end, GError **errp)
{
    FreeScan scan = free_scan_new(refcounts);
    uint8_t *before =
        block_file_alloc_buffer(qcow2_cluster_size(&refcounts->image->header));
    bool scanned = false;

    if (!before) {
        snap_error_set_errno(errp, -ENOMEM, "refcount block");
    } else {
        scanned = scan_dropped(refcounts, &scan, end, before, errp);
    }
    free(before);
    if (!scanned) {
        g_clear_pointer(&scan.runs, g_array_unref);
    }
    return scan.runs;
}
