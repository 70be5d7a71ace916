/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Streams with mapped RAM, read as classic ones: all that was in them is there,
 * whatever the pieces in which they are read.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "ram-model.h"
#include "run-suite.h"
#include "snap-classic.h"

#define PAGES   500
#define READERS 6

typedef struct Run {
    const RamModel *model;
    SnapClassic *classic;
    GByteArray *bytes; /* that were read */
    size_t longest;    /* reads */
    uint64_t next;     /* to be read by whoever comes */
    unsigned running;
    Coroutine *waiter;
    GError *error;
} Run;

/* Ranges of any length, some of them empty, by several at once. */
static void coroutine_fn read_pieces(void *opaque)
{
    Run *run = opaque;

    while (run->next < run->bytes->len && !run->error) {
        uint64_t position = run->next;
        size_t bytes =
            g_rand_int_range(run->model->random, 0, run->longest + 1);
        GError *error = NULL;

        bytes = MIN(bytes, run->bytes->len - position);
        run->next += bytes;
        if (!snap_classic_read(run->classic, position,
                               run->bytes->data + position, bytes, &error)) {
            g_clear_error(&run->error);
            run->error = error;
        }
    }
    if (--run->running == 0) {
        event_loop_wake(run->waiter);
    }
}

static void coroutine_fn read_all(void *opaque)
{
    Run *run = opaque;
    unsigned i;

    run->classic = snap_classic_open(&run->model->source, &run->error);
    if (!run->classic) {
        return;
    }
    g_byte_array_set_size(run->bytes, snap_classic_bytes(run->classic));
    memset(run->bytes->data, 0xee, run->bytes->len);
    run->waiter = coroutine_self();
    run->running = READERS;
    for (i = 0; i < READERS; i++) {
        event_loop_start(read_pieces, run);
    }
    coroutine_yield();
    snap_classic_close(run->classic);
}

static GByteArray *convert(const RamModel *model, size_t longest,
                           GError **error)
{
    Run run = {
        .model = model,
        .bytes = g_byte_array_new(),
        .longest = longest,
    };

    event_loop_run(read_all, &run);
    if (run.error) {
        g_propagate_error(error, run.error);
    }
    return run.bytes;
}

/* Every page once, with what it holds. */
static void compare_pages(const RamModel *model, const GByteArray *bytes,
                          const MigrationInfo *info, const PageMap *pages)
{
    for (unsigned number = 0; number < RAM_MODEL_BLOCKS; number++) {
        const MigrationBlock *block = info->blocks->pdata[number];
        const GArray *runs = page_map_runs(pages, block);
        uint32_t page = 0;

        ck_assert_str_eq(block->name, ram_model_block(model, number)->name);
        ck_assert_uint_eq(block->bytes, ram_model_block(model, number)->bytes);
        for (guint i = 0; i < runs->len; i++) {
            const PageRun *run = &g_array_index(runs, PageRun, i);

            ck_assert_uint_eq(run->first, page);
            for (; page < run->first + run->count; page++) {
                const uint8_t *content = bytes->data + run->offset +
                                         (page - run->first) *
                                             page_run_stride(run);

                ck_assert_int_eq(run->kind == MIGRATION_PAGE_FILL,
                                 model->zero[number][page]);
                ck_assert_uint_eq(run->fill, 0);
                if (run->kind == MIGRATION_PAGE_DATA) {
                    ck_assert_mem_eq(content,
                                     model->ram[number] +
                                         (size_t)page * model->page_size,
                                     model->page_size);
                }
            }
        }
        ck_assert_uint_eq(page, model->pages);
    }
}

static void must_convert(const RamModel *model, size_t longest)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) pages = page_map_new();
    const MigrationInfo *info = migration_reader_info(reader);
    const MigrationInfo *before = stream_index_info(model->index);
    GError *error = NULL;
    g_autoptr(GByteArray) bytes = convert(model, longest, &error);

    ck_assert_msg(!error, "%s", error ? error->message : "");
    migration_reader_tell_pages(reader, page_map_add, pages);
    ck_assert_msg(
        migration_reader_feed(reader, bytes->data, bytes->len, &error) &&
            migration_reader_finish(reader, &error),
        "%s", error ? error->message : "");
    ck_assert_uint_eq(info->stream_bytes, bytes->len);
    ck_assert(!info->mapped_ram);
    ck_assert_uint_eq(info->capabilities->len, 0);
    ck_assert_str_eq(info->machine, before->machine);
    ck_assert_uint_eq(info->page_size, before->page_size);
    ck_assert_uint_eq(info->data_pages, before->data_pages);
    ck_assert_uint_eq(info->zero_pages, before->zero_pages);
    ck_assert_uint_eq(info->devices, before->devices);
    ck_assert_uint_eq(info->description_bytes, before->description_bytes);
    ck_assert(page_map_finish(pages, info->page_size));
    compare_pages(model, bytes, info, pages);
}

START_TEST(any_stream)
{
    static const uint32_t sizes[] = { 1024, 2048, 4096, 8192, 16384, 65536 };
    g_autoptr(RamModel) model =
        ram_model_new_mapped(sizes[_i % 6], PAGES / (1 + _i % 6) + _i, _i);
    size_t longest = _i % 3 == 0 ? 6000 : _i % 3 == 1 ? 70000 : 3000000;

    model->holes = _i % 2;
    if (_i % 4 == 0) {
        stream_builder_ram_stop(model->builder);
        stream_builder_device(model->builder, 7, "cpu", 300);
        stream_builder_part(model->builder, STREAM_BUILDER_RAM_ID);
    }
    ram_model_end(model);
    must_convert(model, longest);
}
END_TEST

/* Records and all else are cut anywhere. */
START_TEST(few_bytes_at_once)
{
    g_autoptr(RamModel) model = ram_model_new_mapped(1024, 20, _i);

    ram_model_end(model);
    must_convert(model, 5);
}
END_TEST

/* More pages than those whose bits are read at once. */
START_TEST(many_pages)
{
    static const uint32_t pages[] = { 32768, 32769 };
    g_autoptr(RamModel) model = ram_model_new_mapped(1024, pages[_i], _i);

    ram_model_end(model);
    must_convert(model, 2000000);
}
END_TEST

/* Pages that are neighbours are read together. */
START_TEST(few_requests)
{
    g_autoptr(RamModel) model = ram_model_new_mapped(4096, PAGES, 3);
    g_autoptr(GByteArray) bytes = NULL;

    ram_model_end(model);
    memory_file_reset_records(model->file);
    bytes = convert(model, 8000000, NULL);
    ck_assert_uint_lt(memory_file_count(model->file, MEMORY_FILE_READ), 60);
}
END_TEST

START_TEST(read_fails)
{
    g_autoptr(RamModel) model = ram_model_new_mapped(4096, PAGES, 3);
    g_autoptr(GByteArray) bytes = NULL;
    g_autoptr(GError) error = NULL;

    ram_model_end(model);
    memory_file_fail(model->file, MEMORY_FILE_READ, -1, -EIO);
    bytes = convert(model, 100000, &error);
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO));
}
END_TEST

/* Every page is lost that the bits promise. */
START_TEST(hole_where_a_page_should_be)
{
    g_autoptr(RamModel) model = ram_model_new_mapped(4096, PAGES, 3);
    g_autoptr(GByteArray) bytes = NULL;
    g_autoptr(GError) error = NULL;

    ram_model_end(model);
    model->holes = true;
    memset(model->zero[1], 1, PAGES);
    bytes = convert(model, 100000, &error);
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_DAMAGED));
}
END_TEST

START_TEST(not_mapped)
{
    g_autoptr(RamModel) model = ram_model_new(4096, PAGES, 1);
    g_autoptr(GByteArray) bytes = NULL;
    g_autoptr(GError) error = NULL;

    ram_model_end(model);
    bytes = convert(model, 100000, &error);
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED));
}
END_TEST

/* A machine that writes no footers, and no description either. */
static StreamBuilder *old_machine(bool shared)
{
    uint8_t stored[100];
    StreamBuilder *builder = stream_builder_new();

    memset(stored, 1, sizeof(stored));
    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc");
    stream_builder_subsection(builder, "configuration/capabilities");
    stream_builder_be32(builder, shared ? 2 : 1);
    stream_builder_name(builder, "mapped-ram");
    if (shared) {
        stream_builder_name(builder, "x-ignore-shared");
    }
    stream_builder_ram_start(builder, shared ? 0 : 100 * 4096);
    if (!shared) {
        stream_builder_mapped_block(builder, "pc.ram", 4096, 100, stored, NULL,
                                    4096);
    }
    stream_builder_be64(builder, 0x10);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_be64(builder, 0x10);
    stream_builder_eof(builder);
    return builder;
}

typedef struct Plain {
    const StreamBuilder *builder;
    GByteArray *bytes;
    GError *error;
} Plain;

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    const Plain *plain = opaque;

    ck_assert_uint_le(position + bytes, plain->builder->bytes->len);
    memcpy(data, plain->builder->bytes->data + position, bytes);
    return true;
}

static void coroutine_fn convert_plain(void *opaque)
{
    Plain *plain = opaque;
    SnapSource source = {
        .fetch = fetch,
        .bytes = plain->builder->bytes->len,
        .opaque = plain,
    };
    g_autoptr(SnapClassic) classic = snap_classic_open(&source, &plain->error);

    if (classic) {
        g_byte_array_set_size(plain->bytes, snap_classic_bytes(classic));
        ck_assert(snap_classic_read(classic, 0, plain->bytes->data,
                                    plain->bytes->len, NULL));
    }
}

START_TEST(without_footers)
{
    g_autoptr(StreamBuilder) builder = old_machine(false);
    g_autoptr(StreamBuilder) classic = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    Plain plain = { .builder = builder, .bytes = classic->bytes };

    event_loop_run(convert_plain, &plain);
    ck_assert_msg(!plain.error, "%s", plain.error ? plain.error->message : "");
    reader = stream_builder_expect_complete(classic);
    ck_assert_uint_eq(migration_reader_info(reader)->data_pages, 100);
    ck_assert_uint_eq(classic->bytes->len, 8 + 7 + 17 + 8 + 7 + 8 + 8 + 5 +
                                               100 * 4104 + 7 + 8 + 13 + 1);
}
END_TEST

START_TEST(shared_ram)
{
    g_autoptr(StreamBuilder) builder = old_machine(true);
    Plain plain = { .builder = builder };

    event_loop_run(convert_plain, &plain);
    ck_assert(g_error_matches(plain.error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED));
    g_clear_error(&plain.error);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snap-classic");
    TCase *tests = tcase_create("snap-classic");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, any_stream, 0, 18);
    tcase_add_loop_test(tests, few_bytes_at_once, 0, 4);
    tcase_add_loop_test(tests, many_pages, 0, 2);
    tcase_add_test(tests, few_requests);
    tcase_add_test(tests, read_fails);
    tcase_add_test(tests, hole_where_a_page_should_be);
    tcase_add_test(tests, not_mapped);
    tcase_add_test(tests, without_footers);
    tcase_add_test(tests, shared_ram);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
