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
 * Blocks that were only looked at are kept up to this: with 64 KiB clusters and
 * 16-bit refcounts all those of a disk of 2 TB.
 */
#define KEEP_BYTES (64ULL * 1024 * 1024)

/* Refcounts are looked at in words of this: many of them are the same. */
#define WORD_BYTES sizeof(uint64_t)

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
    refcounts->keep_bytes = KEEP_BYTES;
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

Qcow2RefcountBlock *qcow2_refcounts_block_in_memory(
    const Qcow2Refcounts *refcounts, uint64_t index)
{
    return g_hash_table_lookup(refcounts->blocks, &index);
}

static uint64_t stored_at(const Qcow2Refcounts *refcounts, uint64_t index)
{
    return index < refcounts->table_entries ? refcounts->table[index] : 0;
}

/* @bytes becomes the block's. */
static Qcow2RefcountBlock *add_block(Qcow2Refcounts *refcounts, uint64_t index,
                                     uint8_t *bytes)
{
    Qcow2RefcountBlock *block = g_new(Qcow2RefcountBlock, 1);

    *block = (Qcow2RefcountBlock){
        .index = index,
        .offset = stored_at(refcounts, index),
        .bytes = bytes,
    };
    g_hash_table_insert(refcounts->blocks, &block->index, block);
    return block;
}

void qcow2_refcounts_keep(Qcow2Refcounts *refcounts, uint64_t index,
                          const void *bytes)
{
    size_t size = qcow2_cluster_size(&refcounts->image->header);
    uint64_t in_memory = g_hash_table_size(refcounts->blocks) * size;
    uint8_t *copy;

    if (in_memory + size > refcounts->keep_bytes) {
        return;
    }
    copy = g_try_malloc(size);
    if (copy) {
        memcpy(copy, bytes, size);
        add_block(refcounts, index, copy);
    }
}

Qcow2RefcountBlock *coroutine_fn qcow2_refcounts_block(
    Qcow2Refcounts *refcounts, uint64_t index, GError **errp)
{
    Qcow2RefcountBlock *block = refcounts->recent;
    uint8_t *bytes;

    if (block && block->index == index) {
        return block;
    }
    block = qcow2_refcounts_block_in_memory(refcounts, index);
    if (!block) {
        bytes = read_block(refcounts, stored_at(refcounts, index), errp);
        if (!bytes) {
            return NULL;
        }
        block = add_block(refcounts, index, bytes);
    }
    refcounts->recent = block;
    return block;
}

/* Which refcounts a change may meet, and what it adds to them. */
typedef struct ChangeRule {
    uint64_t least;
    uint64_t most;
    uint64_t add; /* 1 or, for one less, UINT64_MAX */
} ChangeRule;

static ChangeRule rule_of(const Qcow2Refcounts *refcounts,
                          Qcow2RefcountChange change)
{
    uint64_t maximum = refcounts->maximum;

    switch (change) {
    case QCOW2_REFCOUNT_TAKE:
        return (ChangeRule){ 0, 0, 1 };
    case QCOW2_REFCOUNT_SHARE:
        return (ChangeRule){ 1, maximum - MIN(maximum, 2), 1 };
    case QCOW2_REFCOUNT_SHARE_COMPRESSED:
        return (ChangeRule){ 1, maximum / 2, 1 };
    case QCOW2_REFCOUNT_DROP:
        return (ChangeRule){ 1, maximum, UINT64_MAX };
    }
    g_assert_not_reached();
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
                    "%" PRIu64 "; `qemu-snap check -r all' may repair it",
                    offset, change == QCOW2_REFCOUNT_TAKE ? "free" : "in use",
                    value);
    }
    return false;
}

/* Change [@first, @end) of a block; returns the first that is not allowed. */
static uint64_t change_each(uint8_t *bytes, unsigned order, uint64_t first,
                            uint64_t end, const ChangeRule *rule)
{
    uint64_t i;

    for (i = first; i < end; i++) {
        uint64_t value = qcow2_refcount_load(bytes, order, i);

        if (value < rule->least || value > rule->most) {
            return i;
        }
        qcow2_refcount_store(bytes, order, i, value + rule->add);
    }
    return end;
}

/*
 * The same for many: neighbours mostly have the same refcount, so a word that
 * is what the last one was becomes what that has become.
 */
static uint64_t change_run(uint8_t *bytes, unsigned order, uint64_t first,
                           uint64_t end, const ChangeRule *rule)
{
    uint64_t per_word = WORD_BYTES * 8 >> order;
    uint64_t i = MIN(round_up(first, per_word), end);
    bool known = false;
    uint64_t old = 0;
    uint64_t new = 0;
    uint64_t refused;

    refused = change_each(bytes, order, first, i, rule);
    if (refused < i) {
        return refused;
    }
    for (; end - i >= per_word; i += per_word) {
        uint8_t *at = bytes + i / per_word * WORD_BYTES;
        uint64_t word;

        memcpy(&word, at, WORD_BYTES);
        if (!known || word != old) {
            refused = change_each(bytes, order, i, i + per_word, rule);
            if (refused < i + per_word) {
                return refused;
            }
            known = true;
            old = word;
            memcpy(&new, at, WORD_BYTES);
        } else {
            memcpy(at, &new, WORD_BYTES);
        }
    }
    return change_each(bytes, order, i, end, rule);
}

bool coroutine_fn qcow2_refcounts_change(Qcow2Refcounts *refcounts,
                                         uint64_t cluster, uint64_t count,
                                         Qcow2RefcountChange change,
                                         GError **errp)
{
    unsigned order = refcounts->image->header.refcount_order;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    ChangeRule rule = rule_of(refcounts, change);
    uint64_t end = cluster + count;

    while (cluster < end) {
        Qcow2RefcountBlock *block =
            qcow2_refcounts_block(refcounts, cluster / per_block, errp);
        uint64_t start = round_down(cluster, per_block);
        uint64_t last = MIN(end - start, per_block);
        uint64_t refused;

        if (!block) {
            return false;
        }
        if (!block->changed) {
            block->changed = true;
            g_ptr_array_add(refcounts->changed, block);
        }
        block->dropped |= change == QCOW2_REFCOUNT_DROP;
        refused = change_run(block->bytes, order, cluster - start, last, &rule);
        if (refused < last) {
            return refuse_change(
                refcounts, start + refused,
                qcow2_refcount_load(block->bytes, order, refused), change,
                errp);
        }
        cluster = start + last;
    }
    return true;
}

/* How many refcounts from @first on, before @end, are all @value. */
static uint64_t count_same(const uint8_t *bytes, unsigned order, uint64_t first,
                           uint64_t end, uint64_t value)
{
    uint64_t per_word = WORD_BYTES * 8 >> order;
    bool known = false;
    uint64_t same = 0;
    uint64_t i = first;

    while (i < end) {
        uint64_t word;

        if (known && is_aligned(i, per_word) && end - i >= per_word) {
            memcpy(&word, bytes + i / per_word * WORD_BYTES, WORD_BYTES);
            if (word == same) {
                i += per_word;
                continue;
            }
        }
        if (qcow2_refcount_load(bytes, order, i) != value) {
            break;
        }
        i++;
        /* All of the word before has been looked at. */
        if (!known && is_aligned(i, per_word) && i - first >= per_word) {
            memcpy(&same, bytes + (i / per_word - 1) * WORD_BYTES, WORD_BYTES);
            known = true;
        }
    }
    return i - first;
}

bool coroutine_fn qcow2_refcounts_look_up(Qcow2Refcounts *refcounts,
                                          uint64_t cluster, uint64_t most,
                                          uint64_t *value, uint64_t *same,
                                          GError **errp)
{
    unsigned order = refcounts->image->header.refcount_order;
    uint64_t per_block = qcow2_refcounts_per_block(refcounts);
    uint64_t first = cluster % per_block;
    Qcow2RefcountBlock *block =
        qcow2_refcounts_block(refcounts, cluster / per_block, errp);

    if (!block) {
        return false;
    }
    *value = qcow2_refcount_load(block->bytes, order, first);
    *same = count_same(block->bytes, order, first, MIN(first + most, per_block),
                       *value);
    return true;
}

bool coroutine_fn qcow2_refcounts_check_in_use(Qcow2Refcounts *refcounts,
                                               const char *what,
                                               uint64_t offset, uint64_t bytes,
                                               GError **errp)
{
    const Qcow2Header *header = &refcounts->image->header;
    uint64_t cluster = offset >> header->cluster_bits;
    uint64_t end = qcow2_bytes_to_clusters(header, offset + bytes);
    uint64_t value;
    uint64_t same;

    for (; cluster < end; cluster += same) {
        if (!qcow2_refcounts_look_up(refcounts, cluster, end - cluster, &value,
                                     &same, errp)) {
            return false;
        }
        if (value == 0) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                        "%s at 0x%" PRIx64 " is in use but its refcount is "
                        "0; `qemu-snap check -r all' may repair it",
                        what, offset);
            return false;
        }
    }
    return true;
}
