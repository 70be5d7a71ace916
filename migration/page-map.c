/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Runs are noted in the order of the stream. When many have come, they are
 * settled: split into series that go up through the block, of which there are
 * as many as the guest was gone through, and laid upon each other two by two.
 * So the work stays near that of sorting, and the memory near what the settled
 * runs need, however often a page is written.
 */
#include <string.h>

#include "page-map.h"

/*
 * Of all blocks together: 24 MiB. A run for every sixteenth page of a guest of
 * 64 GiB; somebody has made that up.
 */
#define PAGE_MAP_MAX_RUNS (1024 * 1024)

/* Settling fewer of a block is not worth it. */
#define PAGE_MAP_MIN_NEW 4096

typedef struct BlockRuns {
    GArray *settled; /* of PageRun, by page, none with a page of another one */
    GArray *added;   /* of PageRun, in the order of the stream */
} BlockRuns;

struct PageMap {
    GPtrArray *blocks;  /* of BlockRuns, by number; NULL: nothing told yet */
    GArray *early;      /* of MigrationPages, before the page size is known */
    size_t total;       /* runs of all blocks, and those */
    uint32_t page_size; /* bytes; 0: not known yet */
    bool given_up;
};

static GArray *runs_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(PageRun));
}

static void block_runs_free(void *opaque)
{
    BlockRuns *block = opaque;

    if (block) {
        g_array_unref(block->settled);
        g_array_unref(block->added);
        g_free(block);
    }
}

PageMap *page_map_new(void)
{
    PageMap *map = g_new0(PageMap, 1);

    map->blocks = g_ptr_array_new_with_free_func(block_runs_free);
    map->early = g_array_new(FALSE, FALSE, sizeof(MigrationPages));
    return map;
}

void page_map_free(PageMap *map)
{
    if (map) {
        g_ptr_array_unref(map->blocks);
        g_array_unref(map->early);
        g_free(map);
    }
}

static void give_up(PageMap *map)
{
    map->given_up = true;
    map->total = 0;
    g_ptr_array_set_size(map->blocks, 0);
    g_array_set_size(map->early, 0);
}

static uint64_t run_end(const PageRun *run)
{
    return (uint64_t)run->first + run->count;
}

static bool run_continues(const PageRun *run, const PageRun *next)
{
    return next->first == run_end(run) && next->kind == run->kind &&
           next->fill == run->fill &&
           (run->kind == MIGRATION_PAGE_FILL ||
            (page_run_is_plain(run) &&
             next->offset == run->offset + run->count * page_run_stride(run)));
}

static void append(GArray *runs, PageRun run)
{
    PageRun *last = runs->len ? &g_array_index(runs, PageRun, runs->len - 1)
                              : NULL;

    if (last && run_continues(last, &run)) {
        last->count += run.count;
    } else {
        g_array_append_val(runs, run);
    }
}

static PageRun run_head(PageRun run, uint32_t count)
{
    run.count = count;
    return run;
}

static PageRun run_tail(PageRun run, uint32_t skipped)
{
    run.first += skipped;
    run.count -= skipped;
    run.offset += skipped * page_run_stride(&run);
    return run;
}

/* Lay @upper upon @lower; both go up, and so does the result. Takes both. */
static GArray *lay_upon(GArray *lower, GArray *upper)
{
    GArray *runs = runs_new();
    const PageRun *under = (const PageRun *)lower->data;
    /* An empty array has no data, and nothing may be added to NULL. */
    const PageRun *under_end = lower->len ? under + lower->len : under;
    const PageRun *over = (const PageRun *)upper->data;
    const PageRun *over_end = upper->len ? over + upper->len : over;
    PageRun left = under < under_end ? *under : (PageRun){ 0 };

    while (under < under_end || over < over_end) {
        if (under < under_end &&
            (over == over_end || left.first < over->first)) {
            uint64_t end = over == over_end ? G_MAXUINT64
                                            : (uint64_t)over->first;
            uint32_t count = MIN(left.count, end - left.first);

            append(runs, run_head(left, count));
            left = run_tail(left, count);
        } else {
            append(runs, *over);
            while (under < under_end && run_end(under) <= run_end(over)) {
                under++;
                left = under < under_end ? *under : (PageRun){ 0 };
            }
            if (under < under_end && left.first < run_end(over)) {
                left = run_tail(left, run_end(over) - left.first);
            }
            over++;
        }
        if (under < under_end && left.count == 0) {
            under++;
            left = under < under_end ? *under : (PageRun){ 0 };
        }
    }
    g_array_unref(lower);
    g_array_unref(upper);
    return runs;
}

/* The next part of @added, from *at on, in which each run is behind the last. */
static GArray *take_series(const GArray *added, guint *at)
{
    GArray *series = runs_new();
    uint64_t end = 0;

    while (*at < added->len) {
        PageRun run = g_array_index(added, PageRun, *at);

        if (run.first < end) {
            break;
        }
        end = run_end(&run);
        append(series, run);
        (*at)++;
    }
    return series;
}

/* Lay neighbours upon each other until one is left, which is returned. */
static GArray *lay_together(GPtrArray *series)
{
    while (series->len > 1) {
        guint i, half = series->len / 2;

        for (i = 0; i < half; i++) {
            series->pdata[i] =
                lay_upon(series->pdata[2 * i], series->pdata[2 * i + 1]);
        }
        if (series->len % 2) {
            series->pdata[half++] = series->pdata[series->len - 1];
        }
        g_ptr_array_set_size(series, half);
    }
    return series->pdata[0];
}

static void settle(PageMap *map, BlockRuns *block)
{
    g_autoptr(GPtrArray) series = g_ptr_array_new();
    guint before = block->settled->len + block->added->len;
    guint at = 0;

    g_ptr_array_add(series, block->settled);
    while (at < block->added->len) {
        g_ptr_array_add(series, take_series(block->added, &at));
    }
    g_array_set_size(block->added, 0);
    block->settled = lay_together(series);
    map->total -= before - block->settled->len;
}

static BlockRuns *block_runs(PageMap *map, const MigrationPages *pages)
{
    BlockRuns *block;

    if (pages->block->number >= map->blocks->len) {
        g_ptr_array_set_size(map->blocks, pages->block->number + 1);
    }
    block = map->blocks->pdata[pages->block->number];
    if (!block) {
        block = g_new0(BlockRuns, 1);
        block->settled = runs_new();
        block->added = runs_new();
        map->blocks->pdata[pages->block->number] = block;
    }
    return block;
}

/* The page size is known. */
static void add_run(PageMap *map, const MigrationPages *pages)
{
    BlockRuns *block;
    PageRun run = {
        .first = pages->start / map->page_size,
        .count = pages->count,
        .kind = pages->kind,
    };
    guint before;

    if (pages->block->bytes / map->page_size > G_MAXUINT32) {
        give_up(map);
        return;
    }
    if (pages->kind == MIGRATION_PAGE_FILL) {
        run.fill = pages->fill;
    } else {
        run.offset = pages->offset;
        run.bytes = pages->bytes;
    }
    block = block_runs(map, pages);
    before = block->added->len;
    append(block->added, run);
    map->total += block->added->len - before;
    if (block->added->len >= MAX(PAGE_MAP_MIN_NEW, block->settled->len) ||
        map->total > PAGE_MAP_MAX_RUNS) {
        settle(map, block);
    }
    if (map->total > PAGE_MAP_MAX_RUNS) {
        give_up(map);
    }
}

static void learn_page_size(PageMap *map, uint32_t page_size)
{
    g_autoptr(GArray) early = g_steal_pointer(&map->early);
    guint i;

    map->page_size = page_size;
    map->early = g_array_new(FALSE, FALSE, sizeof(MigrationPages));
    map->total -= early->len;
    for (i = 0; i < early->len && !map->given_up; i++) {
        add_run(map, &g_array_index(early, MigrationPages, i));
    }
}

void page_map_add(const MigrationPages *pages, void *opaque)
{
    PageMap *map = opaque;

    if (map->given_up) {
        return;
    }
    if (pages->page_size == 0) {
        g_array_append_val(map->early, *pages);
        map->total++;
        if (map->total > PAGE_MAP_MAX_RUNS) {
            give_up(map);
        }
        return;
    }
    if (map->page_size == 0) {
        learn_page_size(map, pages->page_size);
    }
    if (!map->given_up) {
        add_run(map, pages);
    }
}

bool page_map_finish(PageMap *map, uint32_t page_size)
{
    guint i;

    if (map->page_size == 0 && page_size != 0) {
        learn_page_size(map, page_size);
    }
    for (i = 0; i < map->blocks->len; i++) {
        if (map->blocks->pdata[i]) {
            settle(map, map->blocks->pdata[i]);
        }
    }
    return !map->given_up && map->early->len == 0;
}

void page_map_take_out(PageMap *map, uint64_t bytes)
{
    guint i;
    guint j;

    for (i = 0; i < map->blocks->len; i++) {
        const BlockRuns *block = map->blocks->pdata[i];

        for (j = 0; block && j < block->settled->len; j++) {
            PageRun *run = &g_array_index(block->settled, PageRun, j);

            if (run->kind != MIGRATION_PAGE_FILL) {
                g_assert(run->offset > bytes);
                run->offset -= bytes;
            }
        }
    }
}

const GArray *page_map_runs(const PageMap *map, const MigrationBlock *block)
{
    const BlockRuns *runs = block->number < map->blocks->len
                                ? map->blocks->pdata[block->number]
                                : NULL;

    return runs ? runs->settled : NULL;
}

PageCounts page_map_count(const PageMap *map, const MigrationBlock *block)
{
    const GArray *runs = page_map_runs(map, block);
    uint64_t pages = map->page_size ? block->bytes / map->page_size : 0;
    PageCounts counts = { 0 };
    uint64_t present;
    guint i;

    for (i = 0; runs && i < runs->len; i++) {
        const PageRun *run = &g_array_index(runs, PageRun, i);

        if (run->kind != MIGRATION_PAGE_FILL) {
            counts.data += run->count;
            counts.xbzrle += run->kind == MIGRATION_PAGE_XBZRLE;
            counts.deflated += run->kind == MIGRATION_PAGE_DEFLATED;
        } else if (run->fill == 0) {
            counts.zero += run->count;
        } else {
            counts.filled += run->count;
        }
    }
    present = counts.data + counts.zero + counts.filled;
    counts.absent = pages - MIN(pages, present);
    return counts;
}
