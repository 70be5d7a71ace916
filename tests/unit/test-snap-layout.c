/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Files that are described by layouts: what is read anywhere in them, and which
 * parts are said to be zero.
 */
#include <check.h>
#include <string.h>

#include "event-loop.h"
#include "ram-model.h"
#include "run-suite.h"
#include "snap-layout.h"

#define PAGE  4096
#define PAGES 300

/* Our own bytes, a block in two parts with holes around, another, a device. */
#define LITERAL_BYTES 1000
#define FIRST_AT      (16 * PAGE)
#define FIRST_PAGES   100
#define SECOND_AT     (FIRST_AT + 150 * PAGE)
#define OTHER_AT      (SECOND_AT + (PAGES - FIRST_PAGES) * PAGE)
#define STREAM_AT     (OTHER_AT + PAGES * PAGE + 7)
#define STREAM_BYTES  777
#define FILE_BYTES    (STREAM_AT + STREAM_BYTES)

/* Zeros of this length between data are written. */
#define SMALL_HOLE (16 * 1024)

typedef struct Fixture {
    RamModel *model;
    SnapPages *pages;
    SnapLayout *layout;
    uint8_t expected[FILE_BYTES];
} Fixture;

static void add_block(Fixture *fixture, uint64_t at, unsigned block,
                      uint32_t first, uint32_t count)
{
    snap_layout_add_block(fixture->layout, at,
                          ram_model_block(fixture->model, block),
                          (uint64_t)first * PAGE, (uint64_t)count * PAGE);
    memcpy(fixture->expected + at,
           fixture->model->ram[block] + (size_t)first * PAGE,
           (size_t)count * PAGE);
}

static void coroutine_fn setup(Fixture *fixture)
{
    GByteArray *literal = g_byte_array_new();
    SnapOptions options = { 0 };
    RamModel *model = ram_model_new(PAGE, PAGES, 5);

    ram_model_add_any(model, 250, false);
    ram_model_end(model);
    fixture->model = model;
    fixture->pages =
        snap_pages_open(model->index, &model->source, "/", &options, NULL);
    ck_assert_ptr_nonnull(fixture->pages);
    fixture->layout = snap_layout_new(fixture->pages, &model->source);
    memset(fixture->expected, 0, FILE_BYTES);
    memset(fixture->expected, 'l', LITERAL_BYTES);
    g_byte_array_append(literal, fixture->expected, LITERAL_BYTES);
    snap_layout_add_bytes(fixture->layout, 0, literal);
    add_block(fixture, FIRST_AT, 0, 0, FIRST_PAGES);
    add_block(fixture, SECOND_AT, 0, FIRST_PAGES, PAGES - FIRST_PAGES);
    add_block(fixture, OTHER_AT, 1, 0, PAGES);
    snap_layout_add_stream(fixture->layout, STREAM_AT, 3, STREAM_BYTES);
    memcpy(fixture->expected + STREAM_AT, model->builder->bytes->data + 3,
           STREAM_BYTES);
    ck_assert_uint_eq(snap_layout_bytes(fixture->layout), FILE_BYTES);
}

static void teardown(Fixture *fixture)
{
    snap_layout_free(fixture->layout);
    snap_pages_close(fixture->pages);
    ram_model_free(fixture->model);
    g_free(fixture);
}

static void coroutine_fn read_anywhere(void *opaque)
{
    Fixture *fixture = g_new0(Fixture, 1);
    g_autofree uint8_t *data = g_malloc(FILE_BYTES);

    setup(fixture);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t start = g_random_int_range(0, i ? FILE_BYTES / PAGE : 1) *
                         PAGE;
        uint64_t bytes = i ? (uint64_t)g_random_int_range(0, 400) * PAGE
                           : FILE_BYTES;
        g_autoptr(GError) error = NULL;

        bytes = MIN(bytes, FILE_BYTES - start);
        memset(data, 0xee, FILE_BYTES);
        ck_assert(
            snap_layout_read(fixture->layout, start, data, bytes, &error));
        ck_assert_mem_eq(data, fixture->expected + start, bytes);
        ck_assert(bytes == FILE_BYTES || data[bytes] == 0xee);
    }
    teardown(fixture);
}

START_TEST(reads_anywhere)
{
    event_loop_run(read_anywhere, NULL);
}
END_TEST

static void assert_zero(const Fixture *fixture, uint64_t start, uint64_t end)
{
    while (start < end && fixture->expected[start] == 0) {
        start++;
    }
    ck_assert_uint_eq(start, end);
}

/* Are there zeros of that length, in whole pages, that could be left out? */
static void assert_no_large_hole(const Fixture *fixture, uint64_t start,
                                 uint64_t end)
{
    uint64_t longest = 0;
    uint64_t zeros = 0;

    for (; start < end; start++) {
        zeros = fixture->expected[start] ? 0 : zeros + 1;
        longest = MAX(longest, zeros);
    }
    ck_assert_uint_le(longest, SMALL_HOLE + 2 * PAGE);
}

static void coroutine_fn find_all(void *opaque)
{
    const uint64_t *most = opaque;
    Fixture *fixture = g_new0(Fixture, 1);
    uint64_t behind = 0;
    uint64_t start = 0;
    uint64_t end;

    setup(fixture);
    while (snap_layout_find(fixture->layout, &start, &end, FILE_BYTES, *most)) {
        ck_assert_uint_ge(start, behind);
        /* Where a range may be long, it ends at a hole that is worth it. */
        ck_assert(behind == 0 || *most < FILE_BYTES ||
                  start - behind > SMALL_HOLE);
        ck_assert_uint_gt(end, start);
        ck_assert_uint_le(end - start, *most);
        ck_assert_uint_le(end, FILE_BYTES);
        assert_zero(fixture, behind, start);
        assert_no_large_hole(fixture, start, end);
        start = behind = end;
    }
    assert_zero(fixture, behind, FILE_BYTES);
    ck_assert_uint_eq(behind, FILE_BYTES);

    /* Nothing behind a limit is found. */
    start = LITERAL_BYTES;
    ck_assert(
        !snap_layout_find(fixture->layout, &start, &end, FIRST_AT, *most));
    teardown(fixture);
}

START_TEST(finds_all)
{
    static uint64_t most[] = { PAGE, 64 * 1024, 1024 * 1024, 1ULL << 40 };

    event_loop_run(find_all, &most[_i]);
}
END_TEST

/* What a stream may say of RAM in a few bytes does not take for ever. */
static void coroutine_fn find_in_terabytes(void *opaque)
{
    const uint64_t bytes = UINT64_C(1) << 43;
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = migration_reader_new();
    PageMap *map = page_map_new();
    g_autoptr(StreamIndex) index = NULL;
    g_autoptr(SnapPages) pages = NULL;
    g_autoptr(SnapLayout) layout = NULL;
    SnapOptions options = { 0 };
    SnapSource source = { 0 };
    const MigrationBlock *block;
    uint64_t start = 0;
    uint64_t end;

    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc-i440fx-7.2");
    stream_builder_ram_start(builder, bytes);
    stream_builder_block(builder, "pc.ram", bytes);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_zero(builder, "pc.ram", bytes / 2);
    stream_builder_page(builder, NULL, bytes / 4 * 3, 1, PAGE);
    stream_builder_zero(builder, NULL, 0);
    stream_builder_ram_stop(builder);
    stream_builder_end_stream(builder);
    migration_reader_tell_pages(reader, page_map_add, map);
    ck_assert(migration_reader_feed(reader, builder->bytes->data,
                                    builder->bytes->len, NULL));
    ck_assert(migration_reader_finish(reader, NULL));
    index = stream_index_new(reader, map);
    pages = snap_pages_open(index, &source, "/", &options, NULL);
    ck_assert_ptr_nonnull(pages);
    layout = snap_layout_new(pages, &source);
    block = stream_index_info(index)->blocks->pdata[0];
    snap_layout_add_block(layout, 0, block, 0, bytes);
    ck_assert(snap_layout_find(layout, &start, &end, bytes, PAGE));
    ck_assert_uint_eq(start, bytes / 4 * 3);
    ck_assert_uint_eq(end, start + PAGE);
    start = end;
    ck_assert(!snap_layout_find(layout, &start, &end, bytes, PAGE));
}

START_TEST(finds_in_terabytes)
{
    event_loop_run(find_in_terabytes, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snap-layout");
    TCase *tests = tcase_create("snap-layout");

    tcase_add_test(tests, reads_anywhere);
    tcase_add_loop_test(tests, finds_all, 0, 4);
    tcase_add_test(tests, finds_in_terabytes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
