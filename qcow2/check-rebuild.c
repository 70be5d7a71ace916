/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Refcounts that cannot be put right where they are: all of them are written
 * anew behind everything else, with a table of their own, and one write of
 * twelve bytes in the header switches over. Before it the image is what it was,
 * after it the refcounts are right, and the clusters of the old ones are free.
 *
 * Nothing is written into holes: what looks free may be data that only the
 * damaged tables knew.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"
#include "write-buffer.h"

enum {
    HEADER_REFCOUNT_TABLE = 48,
    HEADER_REFCOUNT_TABLE_BYTES = 12,
};

/* Where the new structures go; cluster numbers. */
typedef struct Layout {
    uint64_t start; /* the table */
    uint64_t table_clusters;
    uint64_t blocks; /* refcount blocks, behind the table */
    uint64_t end;    /* behind them */
} Layout;

/* Which clusters a refcount block describes: the first one's number. */
static uint64_t block_start(const Qcow2Check *check, uint64_t cluster)
{
    return cluster - cluster % check->stored->per_block;
}

/*
 * The first cluster from @cluster on that will have a refcount, or
 * QCOW2_NO_CLUSTER. All that was counted lies before the new structures.
 */
static uint64_t next_in_use(const Qcow2Check *check, const Layout *layout,
                            uint64_t cluster)
{
    uint64_t next = qcow2_reference_map_next(check->counted, cluster);

    if (next < layout->start) {
        return next;
    }
    return cluster < layout->end ? MAX(cluster, layout->start)
                                 : QCOW2_NO_CLUSTER;
}

static uint64_t count_blocks(const Qcow2Check *check, const Layout *layout)
{
    uint64_t cluster = next_in_use(check, layout, 0);
    uint64_t blocks = 0;

    while (cluster != QCOW2_NO_CLUSTER) {
        blocks++;
        cluster =
            next_in_use(check, layout,
                        block_start(check, cluster) + check->stored->per_block);
    }
    return blocks;
}

/* They describe themselves, too: more of them may need one more. */
static void find_layout(const Qcow2Check *check, Layout *layout)
{
    uint64_t end = layout->start + 1;

    do {
        uint64_t entries = (end - 1) / check->stored->per_block + 1;

        layout->end = end;
        layout->table_clusters =
            div_round_up(entries * sizeof(uint64_t), check->cluster_size);
        layout->blocks = count_blocks(check, layout);
        end = layout->start + layout->table_clusters + layout->blocks;
    } while (end != layout->end);
}

/* Behind all that the file has, or that is in use on a device. */
static uint64_t first_fresh(const Qcow2Check *check)
{
    uint64_t end = check->result->image_end_offset >>
                   check->image->header.cluster_bits;

    return check->image->file->fixed_size ? end
                                          : MAX(end, check->file_clusters);
}

static bool check_layout(const Qcow2Check *check, const Layout *layout,
                         GError **errp)
{
    unsigned cluster_bits = check->image->header.cluster_bits;

    if (layout->table_clusters << cluster_bits >
        QCOW2_MAX_REFCOUNT_TABLE_BYTES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the refcount table would be larger than 8 MiB");
        return false;
    }
    if (check->image->file->fixed_size &&
        layout->end << cluster_bits > check->image->file_size) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the device has no room for new refcounts");
        return false;
    }
    return true;
}

/* The refcounts of the clusters from @first on. */
static void fill_block(const Qcow2Check *check, const Layout *layout,
                       uint64_t first, uint8_t *block)
{
    unsigned order = check->image->header.refcount_order;
    uint64_t end = first + check->stored->per_block;
    uint64_t cluster = next_in_use(check, layout, first);

    memset(block, 0, check->cluster_size);
    while (cluster < end) {
        uint64_t value = cluster < layout->start
                             ? qcow2_reference_map_get(check->counted, cluster)
                             : 1;

        qcow2_refcount_store(block, order, cluster - first, value);
        cluster = next_in_use(check, layout, cluster + 1);
    }
}

static bool coroutine_fn put_blocks(const Qcow2Check *check,
                                    const Layout *layout,
                                    Qcow2WriteBuffer *buffer, uint64_t *table,
                                    GError **errp)
{
    unsigned cluster_bits = check->image->header.cluster_bits;
    g_autofree uint8_t *block = g_try_malloc(check->cluster_size);
    uint64_t at = layout->start + layout->table_clusters;
    uint64_t cluster = next_in_use(check, layout, 0);

    if (!block) {
        snap_error_set_errno(errp, -ENOMEM, "refcount block");
        return false;
    }
    while (cluster != QCOW2_NO_CLUSTER) {
        uint64_t first = block_start(check, cluster);

        fill_block(check, layout, first, block);
        if (!qcow2_write_buffer_put(buffer, at << cluster_bits, block,
                                    check->cluster_size, errp)) {
            return false;
        }
        table[first / check->stored->per_block] = htobe64(at << cluster_bits);
        at++;
        cluster = next_in_use(check, layout, first + check->stored->per_block);
    }
    return true;
}

static bool coroutine_fn write_structures(const Qcow2Check *check,
                                          const Layout *layout, GError **errp)
{
    unsigned cluster_bits = check->image->header.cluster_bits;
    uint64_t table_bytes = layout->table_clusters << cluster_bits;
    g_autoptr(Qcow2WriteBuffer) buffer = NULL;
    g_autofree uint64_t *table =
        qcow2_new_table(table_bytes / sizeof(uint64_t), "refcount table", errp);
    int ret;

    if (!table) {
        return false;
    }
    buffer = qcow2_write_buffer_new(check->image->file, errp);
    if (!buffer || !put_blocks(check, layout, buffer, table, errp) ||
        !qcow2_write_buffer_put(buffer, layout->start << cluster_bits, table,
                                table_bytes, errp) ||
        !qcow2_write_buffer_flush(buffer, errp)) {
        return false;
    }
    ret = block_file_flush(check->image->file);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make the new refcounts stable");
        return false;
    }
    return true;
}

/* The one write to something that is in use. */
static bool coroutine_fn switch_over(Qcow2Check *check, const Layout *layout,
                                     GError **errp)
{
    Qcow2Header *header = &check->image->header;
    uint8_t bytes[HEADER_REFCOUNT_TABLE_BYTES];
    int ret;

    store_be64(bytes, layout->start << header->cluster_bits);
    store_be32(bytes + 8, layout->table_clusters);
    ret = block_file_pwrite(check->image->file, HEADER_REFCOUNT_TABLE, bytes,
                            sizeof(bytes));
    if (ret == 0) {
        ret = block_file_flush(check->image->file);
    }
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write the header, which decides between "
                             "old and new refcounts (offset %d)",
                             HEADER_REFCOUNT_TABLE);
        return false;
    }
    header->refcount_table_offset = layout->start << header->cluster_bits;
    header->refcount_table_clusters = layout->table_clusters;
    return true;
}

/*
 * Behind all that is in use: what the image refers to, and what has a refcount
 * that can be read.
 */
static uint64_t end_of_image(const Qcow2Check *check)
{
    unsigned cluster_bits = check->image->header.cluster_bits;
    uint64_t cluster = qcow2_reference_map_next(check->counted, 0);
    uint64_t end = 0;

    while (cluster != QCOW2_NO_CLUSTER) {
        end = cluster + 1;
        cluster = qcow2_reference_map_next(check->counted, end);
    }
    return MAX(end << cluster_bits, check->result->image_end_offset);
}

/* Count without the old refcounts, which will be nobody's then. */
static bool coroutine_fn count_without_refcounts(Qcow2Check *check,
                                                 GError **errp)
{
    uint64_t end = end_of_image(check);
    bool counted;

    check->without_refcounts = true;
    counted = qcow2_check_recount(check, errp);
    check->without_refcounts = false;
    check->result->image_end_offset = end;
    return counted;
}

static uint64_t decrease(uint64_t before, uint64_t after)
{
    return before > after ? before - after : 0;
}

bool coroutine_fn qcow2_check_rebuild(Qcow2Check *check, GError **errp)
{
    Qcow2CheckResult before = *check->result;
    Layout layout;

    qcow2_check_say(check, "Rebuilding refcount structure");
    if (!count_without_refcounts(check, errp)) {
        return false;
    }
    layout.start = first_fresh(check);
    find_layout(check, &layout);
    if (!check_layout(check, &layout, errp) ||
        !write_structures(check, &layout, errp) ||
        !switch_over(check, &layout, errp) ||
        !qcow2_check_recount(check, errp)) {
        return false;
    }
    check->result->corruptions_fixed =
        before.corruptions_fixed +
        decrease(before.corruptions, check->result->corruptions);
    check->result->leaks_fixed = decrease(before.leaks, check->result->leaks);
    return true;
}
