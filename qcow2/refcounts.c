/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Refcount table and refcount blocks. See refcounts.h for the idea.
 *
 * Invariants:
 *   1. A block is in `changed' exactly once if its `changed' flag is set.
 *   2. No stored cluster is written here: this file only reads.
 */
#include <errno.h>

#include "bytes.h"
#include "refcounts.h"
#include "snap-error.h"

#define REFCOUNT_TABLE_RESERVED 0x1ffULL

/*
 * Free space is taken again in runs of at least this length: shorter ones
 * would break a stream into small requests. And no more than this many: they
 * are kept in memory (1 MiB), and an image may be made of holes.
 */
#define LEAST_FREE_RUN_BYTES (64 * 1024)
#define MAX_FREE_RUNS        65536

uint64_t qcow2_refcount_load(const uint8_t *block, unsigned order,
                             uint64_t index)
{
    unsigned bits = 1u << order;

    switch (order) {
    case 0:
    case 1:
    case 2:
        /* Several in a byte, the first one in its lowest bits. */
        return block[index * bits / 8] >> (index * bits % 8) &
               ((1u << bits) - 1);
    case 3:
        return block[index];
    case 4:
        return load_be16(block + index * 2);
    case 5:
        return load_be32(block + index * 4);
    case 6:
        return load_be64(block + index * 8);
    default:
        g_assert_not_reached();
    }
}

void qcow2_refcount_store(uint8_t *block, unsigned order, uint64_t index,
                          uint64_t value)
{
    unsigned bits = 1u << order;
    unsigned shift = index * bits % 8;

    switch (order) {
    case 0:
    case 1:
    case 2:
        block += index * bits / 8;
        *block = (*block & ~(((1u << bits) - 1) << shift)) | value << shift;
        break;
    case 3:
        block[index] = value;
        break;
    case 4:
        store_be16(block + index * 2, value);
        break;
    case 5:
        store_be32(block + index * 4, value);
        break;
    case 6:
        store_be64(block + index * 8, value);
        break;
    default:
        g_assert_not_reached();
    }
}

uint64_t qcow2_refcounts_per_block(const Qcow2Refcounts *refcounts)
{
    const Qcow2Header *header = &refcounts->image->header;

    return qcow2_cluster_size(header) * 8 >> header->refcount_order;
}

static void block_free(gpointer opaque)
{
    Qcow2RefcountBlock *block = opaque;

    g_free(block->bytes);
    g_free(block);
}

static bool check_table(const Qcow2Refcounts *refcounts, GError **errp)
{
    const Qcow2Image *image = refcounts->image;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_int64_hash, g_int64_equal);
    uint64_t i;

    for (i = 0; i < refcounts->table_entries; i++) {
        uint64_t offset = refcounts->table[i];

        if (offset == 0) {
            continue;
        }
        /* One block named a million times would be terabytes to read. */
        if ((offset & REFCOUNT_TABLE_RESERVED) ||
            !is_aligned(offset, qcow2_cluster_size(&image->header)) ||
            offset >= image->file_size ||
            !g_hash_table_add(seen, &refcounts->table[i])) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                        "impossible refcount table entry %" PRIu64
                        ": 0x%016" PRIx64 " (offset 0x%" PRIx64 ")",
                        i, offset, image->header.refcount_table_offset + i * 8);
            return false;
        }
    }
    return true;
}

Qcow2Refcounts *coroutine_fn qcow2_refcounts_load(const Qcow2Image *image,
                                                  GError **errp)
{
    g_autoptr(Qcow2Refcounts) refcounts = g_new0(Qcow2Refcounts, 1);
    const Qcow2Header *header = &image->header;
    unsigned bits = 1u << header->refcount_order;

    refcounts->image = image;
    refcounts->maximum = bits == 64 ? UINT64_MAX : (1ULL << bits) - 1;
    refcounts->blocks =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, block_free);
    refcounts->changed = g_ptr_array_new();
    refcounts->table_entries =
        ((uint64_t)header->refcount_table_clusters << header->cluster_bits) /
        sizeof(uint64_t);
    refcounts->table =
        qcow2_read_table(image->file, header->refcount_table_offset,
                         refcounts->table_entries, "refcount table", errp);
    if (!refcounts->table || !check_table(refcounts, errp)) {
        return NULL;
    }
    return g_steal_pointer(&refcounts);
}

void qcow2_refcounts_free(Qcow2Refcounts *refcounts)
{
    if (!refcounts) {
        return;
    }
    g_clear_pointer(&refcounts->changed, g_ptr_array_unref);
    g_clear_pointer(&refcounts->blocks, g_hash_table_unref);
    free(refcounts->table);
    g_free(refcounts);
}

static uint8_t *coroutine_fn read_block(const Qcow2Refcounts *refcounts,
                                        uint64_t offset, GError **errp)
{
    size_t bytes = qcow2_cluster_size(&refcounts->image->header);
    uint8_t *data = g_try_malloc0(bytes);
    int ret = 0;

    if (!data) {
        ret = -ENOMEM;
    } else if (offset) {
        ret = block_file_pread(refcounts->image->file, offset, data, bytes);
    }
    if (ret < 0) {
        snap_error_set_errno(
            errp, ret, "cannot read the refcount block at 0x%" PRIx64, offset);
        g_free(data);
        return NULL;
    }
    return data;
}

/* The block that describes @cluster, read or made when it is new. Yields. */
static Qcow2RefcountBlock *coroutine_fn get_block(Qcow2Refcounts *refcounts,
                                                  uint64_t index, GError **errp)
{
    Qcow2RefcountBlock *block = refcounts->recent;
    uint64_t offset = index < refcounts->table_entries ? refcounts->table[index]
                                                       : 0;
    uint8_t *bytes;

    if (block && block->index == index) {
        return block;
    }
    block = g_hash_table_lookup(refcounts->blocks, &index);
    if (block) {
        refcounts->recent = block;
        return block;
    }
    bytes = read_block(refcounts, offset, errp);
    if (!bytes) {
        return NULL;
    }
    block = g_new(Qcow2RefcountBlock, 1);
    *block = (Qcow2RefcountBlock){
        .index = index,
        .offset = offset,
        .bytes = bytes,
    };
    g_hash_table_insert(refcounts->blocks, &block->index, block);
    refcounts->recent = block;
    return block;
}

static bool refuse_change(const Qcow2Refcounts *refcounts, uint64_t cluster,
                          uint64_t value, Qcow2RefcountChange change,
                          GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    uint64_t offset = cluster << header->cluster_bits;

    if (value != 0 && (change == QCOW2_REFCOUNT_SHARE ||
                       change == QCOW2_REFCOUNT_SHARE_COMPRESSED)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "refcounts of %u bits are too narrow for one more "
                    "snapshot: the cluster at 0x%" PRIx64 " already has "
                    "%" PRIu64 " references",
                    1u << header->refcount_order, offset, value);
    } else {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the cluster at 0x%" PRIx64 " is %s but its refcount is "
                    "%" PRIu64 "; `qemu-img check -r all' may repair it",
                    offset, change == QCOW2_REFCOUNT_TAKE ? "free" : "in use",
                    value);
    }
    return false;
}

static bool change_one(const Qcow2Refcounts *refcounts,
                       Qcow2RefcountBlock *block, uint64_t cluster,
                       Qcow2RefcountChange change, GError **errp)
{
    unsigned order = refcounts->image->header.refcount_order;
    uint64_t index = cluster % qcow2_refcounts_per_block(refcounts);
    uint64_t value = qcow2_refcount_load(block->bytes, order, index);
    bool allowed = false;

    switch (change) {
    case QCOW2_REFCOUNT_TAKE:
        allowed = value == 0;
        break;
    case QCOW2_REFCOUNT_SHARE:
        allowed = value != 0 && value < refcounts->maximum - 1;
        break;
    case QCOW2_REFCOUNT_SHARE_COMPRESSED:
        allowed = value != 0 && value <= refcounts->maximum / 2;
        break;
    case QCOW2_REFCOUNT_DROP:
        allowed = value != 0;
        break;
    }
    if (!allowed) {
        return refuse_change(refcounts, cluster, value, change, errp);
    }
    value += change == QCOW2_REFCOUNT_DROP ? -1 : 1;
    qcow2_refcount_store(block->bytes, order, index, value);
    return true;
}

bool coroutine_fn qcow2_refcounts_change(Qcow2Refcounts *refcounts,
                                         uint64_t cluster, uint64_t count,
                                         Qcow2RefcountChange change,
                                         GError **errp)
{
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    uint64_t end = cluster + count;

    while (cluster < end) {
        Qcow2RefcountBlock *block =
            get_block(refcounts, cluster / per_block, errp);
        uint64_t block_end = (cluster / per_block + 1) * per_block;

        if (!block) {
            return false;
        }
        if (!block->changed) {
            block->changed = true;
            g_ptr_array_add(refcounts->changed, block);
        }
        for (; cluster < MIN(end, block_end); cluster++) {
            if (!change_one(refcounts, block, cluster, change, errp)) {
                return false;
            }
        }
    }
    return true;
}

/* The scan of find_free: a free run that has begun, if `count' is not 0. */
typedef struct FreeScan {
    GArray *runs;
    Qcow2ClusterRun run;
    uint64_t least; /* shorter runs are not worth having; clusters */
} FreeScan;

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

static bool coroutine_fn scan_block(Qcow2Refcounts *refcounts, uint64_t index,
                                    FreeScan *scan, GError **errp)
{
    unsigned order = refcounts->image->header.refcount_order;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    Qcow2RefcountBlock *block;
    uint64_t i;

    if (!refcounts->table[index]) {
        scan_free(scan, index * per_block, per_block);
        return true;
    }
    block = get_block(refcounts, index, errp);
    if (!block) {
        return false;
    }
    for (i = 0; i < per_block; i++) {
        if (qcow2_refcount_load(block->bytes, order, i) == 0) {
            scan_free(scan, index * per_block + i, 1);
        } else {
            scan_used(scan);
        }
    }
    /* Of what is only looked at, one block at a time is in memory. */
    if (!block->changed) {
        refcounts->recent = NULL;
        g_hash_table_remove(refcounts->blocks, &index);
    }
    return true;
}

bool coroutine_fn qcow2_refcounts_find_free(Qcow2Refcounts *refcounts,
                                            GArray **runs, uint64_t *end,
                                            GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    g_autoptr(GArray)
        found = g_array_new(FALSE, FALSE, sizeof(Qcow2ClusterRun));
    FreeScan scan = {
        .runs = found,
        .least = MAX(LEAST_FREE_RUN_BYTES >> header->cluster_bits, 1),
    };
    uint64_t i;

    for (i = 0; i < refcounts->table_entries; i++) {
        if (!scan_block(refcounts, i, &scan, errp)) {
            return false;
        }
    }
    /* The run that nothing in use ends is the space behind the end. */
    *end = scan.run.count ? scan.run.first
                          : refcounts->table_entries *
                                qcow2_refcounts_per_block(refcounts);
    *runs = g_steal_pointer(&found);
    return true;
}

bool coroutine_fn qcow2_refcounts_check_in_use(Qcow2Refcounts *refcounts,
                                               const char *what,
                                               uint64_t offset, uint64_t bytes,
                                               GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    uint64_t at;

    for (at = round_down(offset, qcow2_cluster_size(header));
         at < offset + bytes; at += qcow2_cluster_size(header)) {
        uint64_t cluster = at >> header->cluster_bits;
        Qcow2RefcountBlock *block =
            get_block(refcounts, cluster / per_block, errp);

        if (!block) {
            return false;
        }
        if (qcow2_refcount_load(block->bytes, header->refcount_order,
                                cluster % per_block) == 0) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                        "%s at 0x%" PRIx64 " is in use but its refcount is "
                        "0; `qemu-img check -r all' may repair it",
                        what, offset);
            return false;
        }
    }
    return true;
}
