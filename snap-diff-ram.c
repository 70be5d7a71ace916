/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which pages of RAM differ: blocks are found by name and compared one by one;
 * what is told of their pages is counted, listed and drawn.
 */
#include <inttypes.h>
#include <stdio.h>

#include "printable.h"
#include "progress.h"
#include "size.h"
#include "snap-compare.h"
#include "snap-diff.h"
#include "snap-error.h"

static const char *const words[SNAP_MAP_MARKS] = {
    [SNAP_MAP_SOLID] = "changed: one page of the cell, up to all of them",
    [SNAP_MAP_SHADED] = "differs: zeros on one side",
    [SNAP_MAP_DOTTED] = "the same",
    [SNAP_MAP_BLANK] = "zeros or absent, on both sides",
};

/* What is done with the pages of one block, as they are told. */
typedef struct BlockWork {
    SnapDiffBlock *block;
    const SnapDiff *diff;
    Progress *progress;
    uint64_t done; /* pages told of */

    /* --ranges: pages that differ, which may go on; their name. */
    char *name; /* NULL: not wanted */
    uint64_t range_first;
    uint64_t range_count; /* 0: none */

    GArray *cells; /* --map; NULL: not wanted */
} BlockWork;

static const MigrationInfo *info_of(const SnapDiff *diff, unsigned number)
{
    return stream_index_info(diff->sides[number].state.index);
}

/* A stream without a single page has none to compare. */
static bool choose_page_size(SnapDiff *diff, GError **errp)
{
    uint32_t a = info_of(diff, 0)->page_size;
    uint32_t b = info_of(diff, 1)->page_size;

    diff->page_size = a ? a : b;
    if (a && b && a != b) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "pages of %" PRIu32 " and of %" PRIu32
                    " bytes cannot be compared: these are not the same kind "
                    "of machine",
                    a, b);
        return false;
    }
    return true;
}

static void add_block(SnapDiff *diff, const MigrationBlock *a,
                      const MigrationBlock *b)
{
    SnapDiffBlock block = { .sides = { a, b } };

    g_array_append_val(diff->blocks, block);
    if (!a || !b || a->bytes != b->bytes) {
        diff->different_blocks++;
    }
}

/* In the order of side a, then those that only side b has. */
static void pair_blocks(SnapDiff *diff)
{
    const GPtrArray *blocks_a = info_of(diff, 0)->blocks;
    const GPtrArray *blocks_b = info_of(diff, 1)->blocks;
    g_autoptr(GHashTable) left = g_hash_table_new(g_str_hash, g_str_equal);
    guint i;

    for (i = 0; i < blocks_b->len; i++) {
        MigrationBlock *block = g_ptr_array_index(blocks_b, i);

        g_hash_table_insert(left, block->name, block);
    }
    for (i = 0; i < blocks_a->len; i++) {
        MigrationBlock *block = g_ptr_array_index(blocks_a, i);

        add_block(diff, block, g_hash_table_lookup(left, block->name));
        g_hash_table_remove(left, block->name);
    }
    for (i = 0; i < blocks_b->len; i++) {
        MigrationBlock *block = g_ptr_array_index(blocks_b, i);

        if (g_hash_table_lookup(left, block->name) == block) {
            add_block(diff, NULL, block);
        }
    }
}

/* Of the longer one. */
static uint64_t block_pages(const SnapDiff *diff, const SnapDiffBlock *block)
{
    uint64_t bytes = 0;
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        if (block->sides[i]) {
            bytes = MAX(bytes, block->sides[i]->bytes);
        }
    }
    return diff->page_size ? bytes / diff->page_size : 0;
}

const char *snap_diff_block_name(const SnapDiffBlock *block)
{
    return block->sides[0] ? block->sides[0]->name : block->sides[1]->name;
}

static void print_range(BlockWork *work)
{
    if (work->range_count > 0) {
        printf("%s\t%" PRIu64 "\t%" PRIu64 "\n", work->name,
               work->range_first * work->diff->page_size,
               work->range_count * work->diff->page_size);
        work->range_count = 0;
    }
}

static void extend_range(BlockWork *work, uint64_t first, uint64_t count)
{
    if (work->range_first + work->range_count != first) {
        print_range(work);
    }
    if (work->range_count == 0) {
        work->range_first = first;
    }
    work->range_count += count;
}

static SnapMapMark mark_for(PageVerdict verdict)
{
    static const SnapMapMark marks[PAGE_VERDICTS] = {
        [PAGE_ZERO] = SNAP_MAP_BLANK,    [PAGE_SAME] = SNAP_MAP_DOTTED,
        [PAGE_CHANGED] = SNAP_MAP_SOLID, [PAGE_ONLY_A] = SNAP_MAP_SHADED,
        [PAGE_ONLY_B] = SNAP_MAP_SHADED,
    };

    return marks[verdict];
}

/* A SnapCompareFunc. */
static void take_pages(uint64_t first, uint64_t count, PageVerdict verdict,
                       void *opaque)
{
    BlockWork *work = opaque;

    work->block->pages[verdict] += count;
    if (work->name && page_verdict_differs(verdict)) {
        extend_range(work, first, count);
    }
    if (work->cells) {
        snap_map_mark(&work->diff->scale, work->cells, first, count,
                      mark_for(verdict));
    }
    progress_advance(work->progress,
                     (first + count - work->done) * work->diff->page_size);
    work->done = first + count;
}

static void draw_block(const BlockWork *work, uint64_t pages)
{
    g_autofree char *name = printable(snap_diff_block_name(work->block));
    g_autofree char *size = size_format(pages * work->diff->page_size);
    g_autofree char *title = g_strdup_printf("%s, %s", name, size);

    snap_map_draw(work->diff->map, &work->diff->scale, work->cells, title,
                  &work->diff->terminal);
}

static bool coroutine_fn compare_block(SnapDiff *diff, SnapDiffBlock *block,
                                       AioBufferPool *pool, Progress *progress,
                                       GError **errp)
{
    uint64_t pages = block_pages(diff, block);
    g_autoptr(GArray) cells = diff->map ? snap_map_cells(&diff->scale, pages)
                                        : NULL;
    g_autofree char *name =
        diff->ranges ? printable(snap_diff_block_name(block)) : NULL;
    BlockWork work = {
        .block = block,
        .diff = diff,
        .progress = progress,
        .name = name,
        .cells = cells,
    };
    SnapCompareSide sides[SNAP_DIFF_SIDES];
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        sides[i] = (SnapCompareSide){
            .index = diff->sides[i].state.index,
            .pages = diff->sides[i].pages,
            .block = block->sides[i],
        };
    }
    if (!snap_compare_block(pool, sides, diff->page_size, take_pages, &work,
                            errp)) {
        return false;
    }
    print_range(&work);
    progress_advance(progress, (pages - work.done) * diff->page_size);
    if (cells) {
        draw_block(&work, pages);
    }
    /* What was not told of, too. */
    block->pages[PAGE_ZERO] =
        pages - block->pages[PAGE_SAME] - block->pages[PAGE_CHANGED] -
        block->pages[PAGE_ONLY_A] - block->pages[PAGE_ONLY_B];
    for (i = 0; i < PAGE_VERDICTS; i++) {
        diff->pages[i] += block->pages[i];
    }
    return true;
}

/* Returns the bytes of all blocks. */
static uint64_t begin_map(SnapDiff *diff)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t total = 0;
    guint i;

    for (i = 0; i < diff->blocks->len; i++) {
        uint64_t pages =
            block_pages(diff, &g_array_index(diff->blocks, SnapDiffBlock, i));

        g_array_append_val(list, pages);
        total += pages * diff->page_size;
    }
    diff->scale = snap_map_scale(list, diff->page_size, diff->terminal.columns);
    return total;
}

bool coroutine_fn snap_diff_ram(const SnapOptions *options, SnapDiff *diff,
                                GError **errp)
{
    g_autoptr(Progress) progress = NULL;
    g_autoptr(AioBufferPool) pool = NULL;
    guint i;

    if (!choose_page_size(diff, errp)) {
        return false;
    }
    pair_blocks(diff);
    progress = progress_new(options->progress, begin_map(diff));
    pool = snap_compare_ring_new(options->depth, errp);
    if (!pool) {
        return false;
    }
    for (i = 0; i < diff->blocks->len && diff->page_size; i++) {
        if (!compare_block(diff, &g_array_index(diff->blocks, SnapDiffBlock, i),
                           pool, progress, errp)) {
            return false;
        }
    }
    trace_event(options->trace, "snap_diff", "buffers=%u",
                aio_buffer_pool_depth(pool));
    return true;
}

void snap_diff_print_map(const SnapDiff *diff)
{
    g_autofree char *what = snap_map_describe(&diff->scale);
    g_autoptr(GString) legend = g_string_new("\n");

    snap_map_legend(legend, words, &diff->terminal);
    printf("\nRAM, %s:\n%s%s", what, diff->map->str, legend->str);
}
