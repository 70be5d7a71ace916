/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The content of pages beside a model of the RAM, which a stream of all kinds
 * of records was written from; and what is damaged.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "ram-model.h"
#include "run-suite.h"

#define PAGES   300
#define READERS 5

/* A reader of random ranges, one of several. */
typedef struct Reader {
    RamModel *model;
    SnapPages *pages;
    unsigned reads;
    GError *error;
    unsigned *running;
    Coroutine *waiter;
} Reader;

static bool coroutine_fn read_and_compare(Reader *reader, unsigned block,
                                          uint32_t first, uint32_t count)
{
    const RamModel *model = reader->model;
    size_t offset = (size_t)first * model->page_size;
    size_t bytes = (size_t)count * model->page_size;
    g_autofree uint8_t *data = g_malloc(MAX(bytes, 1));

    memset(data, 0xee, bytes);
    if (!snap_pages_read(reader->pages, ram_model_block(model, block), offset,
                         data, bytes, &reader->error)) {
        return false;
    }
    ck_assert_mem_eq(data, model->ram[block] + offset, bytes);
    return true;
}

static void coroutine_fn read_ranges(void *opaque)
{
    Reader *reader = opaque;
    const RamModel *model = reader->model;

    for (unsigned i = 0; i < reader->reads && !reader->error; i++) {
        unsigned block = g_rand_int_range(model->random, 0, 2);
        uint32_t first = g_rand_int_range(model->random, 0, model->pages);
        uint32_t count =
            g_rand_int_range(model->random, 1, model->pages - first + 1);

        read_and_compare(reader, block, first, i == 0 ? 1 : count);
    }
    if (--*reader->running == 0) {
        event_loop_wake(reader->waiter);
    }
}

static SnapContent expected_content(const RamModel *model, unsigned block,
                                    uint32_t page)
{
    if (!model->present[block][page]) {
        return SNAP_CONTENT_ABSENT;
    }
    return model->zero[block][page] ? SNAP_CONTENT_ZERO : SNAP_CONTENT_DATA;
}

static void compare_extents(const RamModel *model, const SnapPages *pages)
{
    for (unsigned block = 0; block < RAM_MODEL_BLOCKS; block++) {
        uint32_t page = 0;

        while (page < model->pages) {
            uint64_t most = (page % 7 + 1) * 40 * model->page_size;
            SnapContent content;
            uint64_t bytes = snap_pages_extent(
                pages, ram_model_block(model, block),
                (uint64_t)page * model->page_size, most, &content);
            uint32_t end = page + bytes / model->page_size;

            ck_assert_uint_gt(bytes, 0);
            ck_assert_uint_le(bytes, most);
            ck_assert_uint_eq(bytes % model->page_size, 0);
            ck_assert_uint_le(end, model->pages);
            for (; page < end; page++) {
                ck_assert_int_eq(content, expected_content(model, block, page));
            }
            if (page < model->pages && bytes < most) {
                ck_assert_int_ne(content, expected_content(model, block, page));
            }
        }
    }
}

/* What is done with a model, in a coroutine. */
typedef struct Run {
    RamModel *model;
    unsigned reads; /* of each reader, before all is read */
    GError *error;
} Run;

static void coroutine_fn run_readers(void *opaque)
{
    Run *run = opaque;
    SnapOptions options = { 0 };
    Reader readers[READERS];
    unsigned running = READERS;
    SnapPages *pages;

    pages = snap_pages_open(run->model->index, &run->model->source,
                            g_get_tmp_dir(), &options, &run->error);
    if (!pages) {
        return;
    }
    ck_assert_uint_eq(snap_pages_size(pages), run->model->page_size);
    compare_extents(run->model, pages);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (Reader){
            .model = run->model,
            .pages = pages,
            .reads = run->reads,
            .running = &running,
            .waiter = coroutine_self(),
        };
        event_loop_start(read_ranges, &readers[i]);
    }
    coroutine_yield();
    for (unsigned i = 0; i < READERS; i++) {
        if (run->error) {
            g_clear_error(&readers[i].error);
        } else if (readers[i].error) {
            run->error = readers[i].error;
        }
    }
    for (unsigned block = 0; block < RAM_MODEL_BLOCKS && !run->error; block++) {
        readers[0].error = NULL;
        read_and_compare(&readers[0], block, 0, run->model->pages);
        run->error = readers[0].error;
    }
    snap_pages_close(pages);
}

static void must_read(RamModel *model)
{
    Run run = { .model = model, .reads = 4 };

    event_loop_run(run_readers, &run);
    ck_assert_msg(!run.error, "%s", run.error ? run.error->message : "");
}

static void must_fail(RamModel *model, SnapError code, const char *text)
{
    Run run = { .model = model };

    event_loop_run(run_readers, &run);
    ck_assert_ptr_nonnull(run.error);
    ck_assert_int_eq(run.error->code, code);
    ck_assert_msg(strstr(run.error->message, text) != NULL, "%s",
                  run.error->message);
    g_error_free(run.error);
}

/* Every page size, without and with records that tell differences. */
START_TEST(any_pages)
{
    bool xbzrle = _i % 2;
    g_autoptr(RamModel) model = ram_model_new(1024 << (_i / 2), PAGES, _i);

    ram_model_add_any(model, 500, xbzrle);
    ram_model_end(model);
    memory_file_shuffle(model->file, 3);
    must_read(model);
}
END_TEST

/* A page that is stored has no head in front, and the others are zero. */
START_TEST(mapped_pages)
{
    static const uint32_t sizes[] = { 1024, 4096, 4096, 8192, 65536 };
    g_autoptr(RamModel) model = ram_model_new_mapped(sizes[_i], PAGES, _i);

    ram_model_end(model);
    must_read(model);
}
END_TEST

START_TEST(no_pages)
{
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);

    ram_model_end(model);
    must_read(model);
}
END_TEST

/* Zero pages between them do not make requests small. */
START_TEST(neighbours_are_one_request)
{
    g_autoptr(RamModel) model = ram_model_new(4096, 400, 1);

    for (unsigned page = 0; page < 400; page++) {
        ram_model_add(model,
                      page % 2 ? MIGRATION_PAGE_DATA : MIGRATION_PAGE_FILL, 0,
                      page);
    }
    ram_model_end(model);
    must_read(model);
    /* One for each read of something, and readers read `pc.ram' or `b'. */
    ck_assert_uint_le(memory_file_count(model->file, MEMORY_FILE_READ),
                      READERS * 4 + 1);
}
END_TEST

/* Where in the stream the record of the last page begins. */
static size_t last_record(const RamModel *model)
{
    return model->builder->bytes->len;
}

START_TEST(damaged_packed_page)
{
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);
    g_autofree char *text = NULL;
    size_t at;

    ram_model_add_any(model, 20, false);
    at = last_record(model) + 8 + 4;
    model->current = 1;
    ram_model_add(model, MIGRATION_PAGE_DEFLATED, 1, 77);
    memset(model->builder->bytes->data + at + 30, 0xaa, 40);
    ram_model_end(model);
    text = g_strdup_printf("RAM block 'b', page 77, at byte %zu of the stream",
                           at);
    must_fail(model, SNAP_ERROR_STREAM, text);
}
END_TEST

/* A length that leads behind the page, or more that changes than there is. */
START_TEST(damaged_difference)
{
    static const uint8_t damage[] = { 0xff, 0x00 };
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);

    ram_model_add(model, MIGRATION_PAGE_DATA, 1, 77);
    stream_builder_record(model->builder, 77 * 4096 | 0x40, NULL);
    stream_builder_u8(model->builder, 1);
    stream_builder_be16(model->builder, 3);
    stream_builder_u8(model->builder, 1);
    stream_builder_u8(model->builder, damage[_i]);
    stream_builder_u8(model->builder, 0x7f);
    ram_model_end(model);
    must_fail(model, SNAP_ERROR_STREAM, "RAM block 'b', page 77, at byte");
}
END_TEST

START_TEST(read_fails)
{
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);

    ram_model_add_any(model, 500, _i);
    ram_model_end(model);
    memory_file_fail(model->file, MEMORY_FILE_READ, -1, -EIO);
    must_fail(model, SNAP_ERROR_IO, "no fetching");
}
END_TEST

/* An index of another stream: what is there is not what it says. */
START_TEST(foreign_index)
{
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);

    for (unsigned page = 0; page < 100; page++) {
        ram_model_add(model, MIGRATION_PAGE_DATA, 1, page);
    }
    ram_model_end(model);
    if (_i == 0) {
        block_file_close(model->file);
        model->file = memory_file_new();
        must_fail(model, SNAP_ERROR_STREAM, "another page is there");
    } else {
        model->source.bytes = 200000;
        must_fail(model, SNAP_ERROR_STREAM, "cannot be there");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snap-pages");
    TCase *tests = tcase_create("snap-pages");

    tcase_add_loop_test(tests, any_pages, 0, 14);
    tcase_add_loop_test(tests, mapped_pages, 0, 5);
    tcase_add_test(tests, no_pages);
    tcase_add_test(tests, neighbours_are_one_request);
    tcase_add_test(tests, damaged_packed_page);
    tcase_add_loop_test(tests, damaged_difference, 0, 2);
    tcase_add_loop_test(tests, read_fails, 0, 2);
    tcase_add_loop_test(tests, foreign_index, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
