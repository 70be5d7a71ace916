/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Streams with mapped RAM whose pages nobody reads: what is known of them is
 * the same, and nothing but the frame is touched.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "ram-model.h"
#include "run-suite.h"
#include "snap-mapped.h"

#define PAGES 500

/* Most blocks begin at a page, so that what is between is whole units. */
#define UNIT 512

typedef struct Run {
    const RamModel *model;
    const MigrationInfo *info; /* what is where; NULL: all may be read */
    MigrationReader *reader;
    uint64_t bytes; /* that were read */
    GError *error;
} Run;

static bool is_page(const Run *run, uint64_t position)
{
    for (guint i = 0; i < run->info->blocks->len; i++) {
        const MigrationBlock *block = run->info->blocks->pdata[i];

        if (position >= block->pages_offset &&
            position - block->pages_offset < block->bytes) {
            return true;
        }
    }
    return false;
}

/* A unit that has nothing but pages is a hole. */
static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    Run *run = opaque;
    uint64_t end = position + bytes;

    ck_assert_uint_gt(bytes, 0);
    for (uint64_t at = position / UNIT * UNIT; run->info && at < end;
         at += UNIT) {
        if (is_page(run, at) && is_page(run, at + UNIT - 1)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED, "a hole");
            return false;
        }
    }
    run->bytes += bytes;
    return run->model->source.fetch(run->model->source.opaque, position, data,
                                    bytes, errp);
}

static void coroutine_fn read_frame(void *opaque)
{
    Run *run = opaque;
    SnapSource source = {
        .fetch = fetch,
        .bytes = run->model->source.bytes,
        .opaque = run,
    };

    if (snap_mapped_read_frame(&source, run->reader, &run->error)) {
        ck_assert_int_eq(migration_reader_phase(run->reader),
                         MIGRATION_PHASE_COMPLETE);
    }
}

START_TEST(same_index)
{
    static const uint32_t sizes[] = { 1024, 4096, 8192, 65536 };
    g_autoptr(RamModel) model = ram_model_new_mapped(sizes[_i], PAGES, _i);
    g_autoptr(MigrationReader) whole = migration_reader_new();
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(GByteArray) expected = g_byte_array_new();
    g_autoptr(GByteArray) found = g_byte_array_new();
    g_autoptr(StreamIndex) index = NULL;
    PageMap *pages = page_map_new();
    Run run = { .model = model, .reader = reader };
    const GByteArray *bytes = model->builder->bytes;

    ram_model_end(model);
    ck_assert(migration_reader_feed(whole, bytes->data, bytes->len, NULL));
    run.info = migration_reader_info(whole);
    migration_reader_tell_pages(reader, page_map_add, pages);
    event_loop_run(read_frame, &run);
    ck_assert_msg(!run.error, "%s", run.error ? run.error->message : "");
    index = stream_index_new(reader, pages);
    stream_index_encode(model->index, expected);
    stream_index_encode(index, found);
    ck_assert_uint_eq(found->len, expected->len);
    ck_assert_mem_eq(found->data, expected->data, found->len);
    ck_assert_uint_lt(run.bytes, 100000);
}
END_TEST

/* Also where a hole is or the stream ends amid what should be there. */
START_TEST(frame_is_not_all_there)
{
    g_autoptr(RamModel) model = ram_model_new_mapped(4096, PAGES, 1);
    g_autoptr(MigrationReader) reader = migration_reader_new();
    Run run = { .model = model, .reader = reader };

    ram_model_end(model);
    if (_i == 0) {
        memory_file_fail(model->file, MEMORY_FILE_READ, -1, -EIO);
    } else {
        model->source.bytes /= _i;
    }
    event_loop_run(read_frame, &run);
    ck_assert_ptr_nonnull(run.error);
    ck_assert_msg(strstr(run.error->message,
                         _i == 0 ? "no fetching" : "the stream ends early"),
                  "%s", run.error->message);
    g_clear_error(&run.error);
}
END_TEST

START_TEST(beginnings)
{
    g_autoptr(RamModel) mapped = ram_model_new_mapped(4096, PAGES, 1);
    g_autoptr(RamModel) classic = ram_model_new(4096, PAGES, 1);
    const uint8_t zeros[100] = { 0 };

    ck_assert(snap_mapped_begins(mapped->builder->bytes->data,
                                 SNAP_MAPPED_HEAD_BYTES));
    ck_assert(!snap_mapped_begins(classic->builder->bytes->data,
                                  classic->builder->bytes->len));
    ck_assert(!snap_mapped_begins(zeros, sizeof(zeros)));
    ck_assert(!snap_mapped_begins(zeros, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snap-mapped");
    TCase *tests = tcase_create("snap-mapped");

    tcase_add_loop_test(tests, same_index, 0, 4);
    tcase_add_loop_test(tests, frame_is_not_all_there, 0, 1);
    tcase_add_loop_test(tests, frame_is_not_all_there, 2, 5);
    tcase_add_test(tests, beginnings);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
