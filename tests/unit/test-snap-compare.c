/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Two streams with pages of all kinds, compared, beside what their RAM is; and
 * reads that fail.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "ram-model.h"
#include "run-suite.h"
#include "snap-compare.h"

#define PAGES 300
/* Of a block that ends before. */
#define FEWER 130

typedef struct Run {
    RamModel *models[2];
    MigrationBlock blocks[2]; /* as they are told; 0 bytes: there is none */
    unsigned number;          /* of the block in the models */
    unsigned depth;
    uint8_t verdicts[PAGES];
    uint64_t told;
    BlockFile *fail; /* its reads of pages fail; NULL: none do */
    GError *error;
} Run;

static void take(uint64_t first, uint64_t count, PageVerdict verdict,
                 void *opaque)
{
    Run *run = opaque;

    ck_assert_uint_ge(first, run->told);
    ck_assert_uint_gt(count, 0);
    ck_assert_uint_le(first + count, PAGES);
    memset(run->verdicts + first, verdict, count);
    run->told = first + count;
}

static void coroutine_fn compare(void *opaque)
{
    Run *run = opaque;
    SnapOptions options = { 0 };
    AioBufferPool *pool = snap_compare_ring_new(run->depth, &run->error);
    SnapCompareSide sides[2];

    ck_assert_ptr_nonnull(pool);
    for (unsigned i = 0; i < 2; i++) {
        const RamModel *model = run->models[i];

        sides[i].index = model->index;
        sides[i].block = run->blocks[i].bytes ? &run->blocks[i] : NULL;
        sides[i].pages = snap_pages_open(model->index, &model->source,
                                         g_get_tmp_dir(), &options,
                                         &run->error);
        ck_assert_ptr_nonnull(sides[i].pages);
    }
    if (run->fail) {
        memory_file_fail(run->fail, MEMORY_FILE_READ, -1, -EIO);
    }
    snap_compare_block(pool, sides, run->models[0]->page_size, take, run,
                       &run->error);
    snap_pages_close(sides[0].pages);
    snap_pages_close(sides[1].pages);
    aio_buffer_pool_free(pool);
}

/* Of each page; what is absent, or behind the end, is zero. */
static void expect_verdicts(const Run *run)
{
    size_t page_size = run->models[0]->page_size;
    g_autofree uint8_t *zero = g_malloc0(page_size);

    for (uint64_t page = 0; page < PAGES; page++) {
        const uint8_t *content[2] = { zero, zero };

        for (unsigned i = 0; i < 2; i++) {
            if ((page + 1) * page_size <= run->blocks[i].bytes) {
                content[i] = run->models[i]->ram[run->number] +
                             page * page_size;
            }
        }
        ck_assert_int_eq(run->verdicts[page],
                         page_verdict(content[0], content[1], page_size));
    }
}

static void run_init(Run *run, RamModel *a, RamModel *b, unsigned number)
{
    *run = (Run){ .models = { a, b }, .number = number };
    for (unsigned i = 0; i < 2; i++) {
        run->blocks[i] = *ram_model_block(run->models[i], number);
    }
}

static void must_compare(Run *run)
{
    event_loop_run(compare, run);
    ck_assert_msg(!run->error, "%s", run->error ? run->error->message : "");
    expect_verdicts(run);
}

/* The same pages for the same @seed, then @more. */
static RamModel *model_of(uint32_t page_size, uint32_t pages, uint32_t seed,
                          unsigned more)
{
    RamModel *model = ram_model_new(page_size, pages, seed);

    ram_model_add_any(model, 600, true);
    g_rand_set_seed(model->random, seed + more);
    ram_model_add_any(model, more, false);
    ram_model_end(model);
    return model;
}

static const uint32_t page_sizes[] = { 4096, 1024, 16384 };

START_TEST(content_counts_and_nothing_else)
{
    uint32_t page_size = page_sizes[_i];
    g_autoptr(RamModel) a = model_of(page_size, PAGES, _i, 0);
    g_autoptr(RamModel) b = model_of(page_size, PAGES, _i, 150);

    for (unsigned block = 0; block < RAM_MODEL_BLOCKS; block++) {
        Run run;

        run_init(&run, a, b, block);
        run.depth = block + 1;
        must_compare(&run);
        run_init(&run, a, a, block);
        must_compare(&run);
        for (unsigned page = 0; page < PAGES; page++) {
            ck_assert(!page_verdict_differs(run.verdicts[page]));
        }
    }
}
END_TEST

START_TEST(the_runs_of_other_streams_differ)
{
    g_autoptr(RamModel) a = model_of(4096, PAGES, 5, 0);
    g_autoptr(RamModel) b = model_of(4096, PAGES, 6, 0);
    Run run;

    run_init(&run, a, b, 0);
    must_compare(&run);
}
END_TEST

START_TEST(what_a_side_lacks_is_zero)
{
    g_autoptr(RamModel) a = model_of(4096, FEWER, 8, 0);
    g_autoptr(RamModel) b = model_of(4096, PAGES, 9, 0);
    Run run;

    run_init(&run, a, b, 0);
    must_compare(&run);
    /* In a single buffer, where something else was before. */
    run_init(&run, b, a, 0);
    run.depth = 1;
    must_compare(&run);
    run_init(&run, a, b, 1);
    run.blocks[0].bytes = 0;
    must_compare(&run);
    for (unsigned page = 0; page < PAGES; page++) {
        ck_assert(run.verdicts[page] == PAGE_ZERO ||
                  run.verdicts[page] == PAGE_ONLY_B);
    }
}
END_TEST

/* Either side; neither hangs, and nothing is left in flight. */
START_TEST(a_read_that_fails_ends_it)
{
    g_autoptr(RamModel) a = model_of(4096, PAGES, 3, 0);
    g_autoptr(RamModel) b = model_of(4096, PAGES, 4, 0);
    Run run;

    run_init(&run, a, b, 0);
    run.fail = run.models[_i]->file;
    event_loop_run(compare, &run);
    ck_assert(g_error_matches(run.error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert(g_str_has_prefix(run.error->message, _i == 0 ? "a: " : "b: "));
    g_clear_error(&run.error);
}
END_TEST

static Suite *compare_suite(void)
{
    Suite *suite = suite_create("snap-compare");
    TCase *tcase = tcase_create("snap-compare");

    tcase_add_loop_test(tcase, content_counts_and_nothing_else, 0,
                        G_N_ELEMENTS(page_sizes));
    tcase_add_test(tcase, the_runs_of_other_streams_differ);
    tcase_add_test(tcase, what_a_side_lacks_is_zero);
    tcase_add_loop_test(tcase, a_read_that_fails_ends_it, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(compare_suite());
}
