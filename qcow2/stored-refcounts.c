/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See stored-refcounts.h.
 */
#include <errno.h>

#include "bytes.h"
#include "snap-error.h"
#include "stored-refcounts.h"
#include "table-scan.h"

/* Of refcount blocks in memory: a terabyte of 64 KiB clusters, and more. */
#define CACHE_BYTES (64 * 1024 * 1024)

#define REFCOUNT_TABLE_OFFSET_MASK (~0x1ffULL)

static uint64_t cache_blocks(const Qcow2StoredRefcounts *stored)
{
    return MAX(CACHE_BYTES >> stored->image->header.cluster_bits, 1);
}

/*
 * Where block @index lies: 0 for nowhere, which is as good as behind the end of
 * the file, where there are zeros. -EIO when that cannot be.
 */
static int find_offset(const Qcow2StoredRefcounts *stored, uint64_t index,
                       uint64_t *offset)
{
    const Qcow2Image *image = stored->image;

    *offset = qcow2_stored_refcounts_entry(stored, index) &
              REFCOUNT_TABLE_OFFSET_MASK;
    if (!is_aligned(*offset, qcow2_cluster_size(&image->header)) ||
        *offset > INT64_MAX) {
        *offset = 0;
        return -EIO;
    }
    if (*offset >= image->file_size) {
        *offset = 0;
    }
    return 0;
}

static void keep_block(Qcow2StoredRefcounts *stored, uint64_t index,
                       uint8_t *block)
{
    if (g_hash_table_size(stored->blocks) >= cache_blocks(stored)) {
        g_hash_table_remove_all(stored->blocks);
    }
    g_hash_table_insert(stored->blocks, g_memdup2(&index, sizeof(index)),
                        block);
    stored->recent = block;
    stored->recent_index = index;
}

/*
 * Read as many blocks as can be kept, many at a time. What cannot be read now
 * is an error when somebody asks for it. Yields.
 */
static void coroutine_fn read_ahead(Qcow2StoredRefcounts *stored)
{
    uint64_t cluster_size = qcow2_cluster_size(&stored->image->header);
    uint64_t count = MIN(cache_blocks(stored), stored->table_entries);
    g_autofree uint64_t *offsets =
        qcow2_new_table(count, "refcount table", NULL);
    Qcow2TableScan *scan;
    uint64_t i;

    if (!offsets) {
        return;
    }
    for (i = 0; i < count; i++) {
        find_offset(stored, i, &offsets[i]);
    }
    scan = qcow2_table_scan_begin(stored->image->file, "refcount block",
                                  offsets, count, cluster_size, NULL);
    for (i = 0; i < count && scan; i++) {
        const uint8_t *block;
        uint8_t *copy;

        if (offsets[i] == 0) {
            continue;
        }
        block = qcow2_table_scan_next(scan, NULL);
        copy = block ? g_try_malloc(cluster_size) : NULL;
        if (!copy) {
            break;
        }
        memcpy(copy, block, cluster_size);
        keep_block(stored, i, copy);
    }
    qcow2_table_scan_end(scan);
}

Qcow2StoredRefcounts *coroutine_fn qcow2_stored_refcounts_load(
    const Qcow2Image *image, GError **errp)
{
    const Qcow2Header *header = &image->header;
    g_autoptr(Qcow2StoredRefcounts) stored = g_new0(Qcow2StoredRefcounts, 1);
    uint64_t offset = header->refcount_table_offset;
    uint64_t bytes = (uint64_t)header->refcount_table_clusters
                     << header->cluster_bits;

    stored->image = image;
    stored->per_block = qcow2_cluster_size(header) * 8 >>
                        header->refcount_order;
    stored->blocks =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    if (offset < image->file_size) {
        bytes = MIN(bytes, round_up(image->file_size - offset, 8));
    } else {
        bytes = 0;
    }
    stored->table_entries = bytes / sizeof(uint64_t);
    stored->table = qcow2_read_table(image->file, offset, stored->table_entries,
                                     "refcount table", errp);
    if (!stored->table) {
        return NULL;
    }
    read_ahead(stored);
    return g_steal_pointer(&stored);
}

void qcow2_stored_refcounts_free(Qcow2StoredRefcounts *stored)
{
    if (!stored) {
        return;
    }
    g_clear_pointer(&stored->blocks, g_hash_table_unref);
    free(stored->table);
    g_free(stored);
}

uint64_t qcow2_stored_refcounts_entry(const Qcow2StoredRefcounts *stored,
                                      uint64_t index)
{
    return index < stored->table_entries ? stored->table[index] : 0;
}

static uint8_t *find_block(Qcow2StoredRefcounts *stored, uint64_t index)
{
    if (!stored->recent || stored->recent_index != index) {
        stored->recent = g_hash_table_lookup(stored->blocks, &index);
        stored->recent_index = index;
    }
    return stored->recent;
}

/* Yields. */
static int coroutine_fn read_block(Qcow2StoredRefcounts *stored, uint64_t index,
                                   uint64_t offset)
{
    uint64_t cluster_size = qcow2_cluster_size(&stored->image->header);
    uint8_t *block = g_try_malloc(cluster_size);
    int ret;

    if (!block) {
        return -ENOMEM;
    }
    ret = block_file_pread(stored->image->file, offset, block, cluster_size);
    if (ret < 0) {
        g_free(block);
        return ret;
    }
    keep_block(stored, index, block);
    return 0;
}

int coroutine_fn qcow2_stored_refcounts_block(Qcow2StoredRefcounts *stored,
                                              uint64_t index, uint8_t **block)
{
    uint64_t offset;
    int ret = find_offset(stored, index, &offset);

    *block = NULL;
    if (ret < 0 || offset == 0) {
        return ret;
    }
    if (!find_block(stored, index)) {
        ret = read_block(stored, index, offset);
        if (ret < 0) {
            return ret;
        }
    }
    *block = stored->recent;
    return 0;
}

int coroutine_fn qcow2_stored_refcounts_get(Qcow2StoredRefcounts *stored,
                                            uint64_t cluster, uint64_t *value)
{
    uint8_t *block;
    int ret = qcow2_stored_refcounts_block(stored, cluster / stored->per_block,
                                           &block);

    if (ret < 0) {
        return ret;
    }
    *value = block ? qcow2_refcount_load(block,
                                         stored->image->header.refcount_order,
                                         cluster % stored->per_block)
                   : 0;
    return 0;
}
