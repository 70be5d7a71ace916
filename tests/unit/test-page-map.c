/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The page map beside an array with an element per page, told the same; and
 * what it hears from a reader of real framing.
 */
#include <check.h>
#include <string.h>

#include "page-map.h"
#include "run-suite.h"
#include "stream-builder.h"

#define PAGE  4096
#define PAGES 5000

/* What the stream holds of a page; all 0: nothing. */
typedef struct ModelPage {
    bool present;
    uint8_t kind;
    uint8_t fill;
    uint64_t offset;
} ModelPage;

static MigrationBlock block = {
    .name = (char *)"pc.ram",
    .bytes = (uint64_t)PAGES * PAGE,
    .number = 3,
};

typedef struct Model {
    ModelPage pages[PAGES];
    uint64_t offset; /* the stream has come so far */
    PageMap *map;
    uint32_t page_size;
} Model;

static bool is_whole(MigrationPageKind kind)
{
    return kind == MIGRATION_PAGE_DATA || kind == MIGRATION_PAGE_MAPPED;
}

/* The stream goes on with @count pages from @first on. */
static void tell(Model *model, MigrationPageKind kind, uint8_t fill,
                 uint64_t first, uint64_t count)
{
    MigrationPages pages = {
        .block = &block,
        .page_size = model->page_size,
        .kind = kind,
        .fill = fill,
        .start = first * PAGE,
        .count = count,
        .offset = model->offset + 8,
        .bytes = kind == MIGRATION_PAGE_FILL ? 1
                 : is_whole(kind)            ? PAGE
                                             : 77,
    };

    pages.stride = pages.bytes + (kind == MIGRATION_PAGE_MAPPED ? 0 : 8);
    for (uint64_t i = 0; i < count; i++) {
        model->pages[first + i] = (ModelPage){
            .present = true,
            .kind = kind,
            .fill = fill,
            .offset = kind == MIGRATION_PAGE_FILL
                          ? 0
                          : pages.offset + i * pages.stride,
        };
    }
    model->offset += count * pages.stride;
    page_map_add(&pages, model->map);
}

static void compare_runs(const Model *model, const GArray *runs)
{
    uint64_t page = 0;

    for (guint i = 0; i < runs->len; i++) {
        const PageRun *run = &g_array_index(runs, PageRun, i);

        assert_often(run->first >= page);
        assert_often(run->count > 0);
        for (; page < run->first; page++) {
            assert_often(!model->pages[page].present);
        }
        for (; page < run->first + run->count; page++) {
            const ModelPage *expected = &model->pages[page];
            uint64_t stride = run->kind == MIGRATION_PAGE_DATA ? run->bytes + 8
                              : run->kind == MIGRATION_PAGE_MAPPED ? run->bytes
                                                                   : 0;

            assert_often(expected->present);
            assert_often(run->kind == expected->kind);
            assert_often(run->fill == expected->fill);
            assert_often(run->offset + (page - run->first) * stride ==
                         expected->offset);
        }
    }
    for (; page < PAGES; page++) {
        assert_often(!model->pages[page].present);
    }
}

static void compare_counts(const Model *model)
{
    PageCounts counts = page_map_count(model->map, &block);
    PageCounts expected = { 0 };

    for (unsigned i = 0; i < PAGES; i++) {
        const ModelPage *page = &model->pages[i];

        if (!page->present) {
            expected.absent++;
        } else if (page->kind != MIGRATION_PAGE_FILL) {
            expected.data++;
            expected.xbzrle += page->kind == MIGRATION_PAGE_XBZRLE;
            expected.deflated += page->kind == MIGRATION_PAGE_DEFLATED;
        } else if (page->fill == 0) {
            expected.zero++;
        } else {
            expected.filled++;
        }
    }
    ck_assert_mem_eq(&counts, &expected, sizeof(counts));
}

static void compare(const Model *model)
{
    ck_assert(page_map_finish(model->map, PAGE));
    compare_runs(model, page_map_runs(model->map, &block));
    compare_counts(model);
}

static Model *model_new(void)
{
    Model *model = g_new0(Model, 1);

    model->map = page_map_new();
    model->page_size = PAGE;
    return model;
}

static void model_free(Model *model)
{
    page_map_free(model->map);
    g_free(model);
}

/* All lengths, kinds and orders; some of them settle several times. */
START_TEST(random_pages)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(_i);
    unsigned longest = 1 << g_rand_int_range(rand, 0, 9);
    unsigned calls = g_rand_int_range(rand, 1, 20000);
    Model *model = model_new();

    for (unsigned i = 0; i < calls; i++) {
        MigrationPageKind kind = g_rand_int_range(rand, 0, 5);
        uint64_t first = g_rand_int_range(rand, 0, PAGES);
        bool run = is_whole(kind) || kind == MIGRATION_PAGE_FILL;
        uint64_t count = run ? g_rand_int_range(rand, 1, longest + 1) : 1;

        tell(model, kind,
             kind == MIGRATION_PAGE_FILL ? g_rand_int_range(rand, 0, 2) : 0,
             first, MIN(count, PAGES - first));
    }
    compare(model);
    model_free(model);
}
END_TEST

/* The worst order there is: each run is a series of its own. */
START_TEST(backwards)
{
    Model *model = model_new();

    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = PAGES; i > 0; i--) {
            tell(model, MIGRATION_PAGE_DATA, 0, i - 1, 1);
        }
    }
    compare(model);
    ck_assert_uint_eq(page_map_runs(model->map, &block)->len, PAGES);
    model_free(model);
}
END_TEST

/* A machine that stood still: a run for all, however it was told. */
START_TEST(neighbours_are_one_run)
{
    Model *model = model_new();

    for (unsigned i = 0; i < PAGES; i += 5) {
        tell(model, i < 2000 ? MIGRATION_PAGE_DATA : MIGRATION_PAGE_FILL, 0, i,
             5);
    }
    compare(model);
    ck_assert_uint_eq(page_map_runs(model->map, &block)->len, 2);
    model_free(model);
}
END_TEST

START_TEST(early_pages_get_their_place)
{
    Model *model = model_new();

    model->page_size = 0;
    tell(model, MIGRATION_PAGE_FILL, 0, 7, 1);
    tell(model, MIGRATION_PAGE_FILL, 1, 6, 1);
    tell(model, MIGRATION_PAGE_FILL, 2, 7, 1);
    if (_i) {
        model->page_size = PAGE;
        tell(model, MIGRATION_PAGE_DATA, 0, 6, 1);
    }
    compare(model);
    model_free(model);
}
END_TEST

START_TEST(unknown_page_size_is_told)
{
    Model *model = model_new();

    ck_assert(page_map_finish(model->map, 0));
    model->page_size = 0;
    tell(model, MIGRATION_PAGE_FILL, 0, 7, 1);
    ck_assert(!page_map_finish(model->map, 0));
    model_free(model);
}
END_TEST

/* Nobody has a guest like that: memory stays bounded. */
START_TEST(too_many_runs_are_forgotten)
{
    MigrationBlock large = {
        .name = block.name,
        .bytes = (uint64_t)PAGE << 23,
    };
    MigrationPages pages = {
        .block = &large,
        .page_size = PAGE,
        .kind = MIGRATION_PAGE_FILL,
        .count = 1,
    };
    g_autoptr(PageMap) map = page_map_new();

    for (unsigned i = 0; i < 3000000; i++) {
        pages.start = (uint64_t)2 * i * PAGE;
        page_map_add(&pages, map);
    }
    ck_assert(!page_map_finish(map, PAGE));
}
END_TEST

/* What a reader tells, in pieces of any size. */
static char *hear(const StreamBuilder *builder, size_t piece)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) map = page_map_new();
    const GByteArray *bytes = builder->bytes;
    const MigrationInfo *info = migration_reader_info(reader);
    GString *text = g_string_new(NULL);

    migration_reader_tell_pages(reader, page_map_add, map);
    for (size_t at = 0; at < bytes->len; at += piece) {
        ck_assert(migration_reader_feed(reader, bytes->data + at,
                                        MIN(piece, bytes->len - at), NULL));
    }
    ck_assert(migration_reader_finish(reader, NULL));
    ck_assert(page_map_finish(map, info->page_size));
    for (guint i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *found = g_ptr_array_index(info->blocks, i);
        const GArray *runs = page_map_runs(map, found);

        g_string_append_printf(text, "%s:", found->name);
        for (guint j = 0; runs && j < runs->len; j++) {
            const PageRun *run = &g_array_index(runs, PageRun, j);

            g_string_append_printf(text, " %u+%u kind %u", run->first,
                                   run->count, run->kind);
            if (run->kind == MIGRATION_PAGE_FILL) {
                g_string_append_printf(text, " of %02x", run->fill);
            } else {
                g_string_append_printf(text, " byte %02x",
                                       bytes->data[run->offset]);
            }
        }
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

START_TEST(reader_tells_all)
{
    static const size_t pieces[] = { 1, 7, 100, 4096, 4104, 1 << 20 };
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autofree char *text = NULL;

    stream_builder_begin_ram(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_page(builder, "pc.ram", 0, 0x11, PAGE);
    stream_builder_page(builder, NULL, 0x1000, 0x11, PAGE);
    stream_builder_page(builder, NULL, 0x2000, 0x12, PAGE);
    for (unsigned i = 4; i < 9; i++) {
        stream_builder_zero(builder, NULL, i * PAGE);
    }
    /* Not zero: the byte that stream_builder_zero() wrote last. */
    stream_builder_zero(builder, NULL, 9 * PAGE);
    builder->bytes->data[builder->bytes->len - 1] = 0xe5;
    stream_builder_zero(builder, NULL, 0xc000);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_page(builder, "pc.ram", 0x1000, 0x21, PAGE);
    stream_builder_page(builder, NULL, 0x5000, 0x25, PAGE);
    stream_builder_record(builder, 0x7000 | 0x100, "pc.ram");
    stream_builder_be32(builder, 90);
    stream_builder_fill(builder, 0x78, 90);
    stream_builder_record(builder, 0xc000 | 0x40, NULL);
    stream_builder_u8(builder, 1);
    stream_builder_be16(builder, 9);
    stream_builder_fill(builder, 0x33, 9);
    stream_builder_ram_stop(builder);
    stream_builder_end_stream(builder);

    text = hear(builder, pieces[_i]);
    ck_assert_str_eq(text, "pc.ram: 0+1 kind 0 byte 11 1+1 kind 0 byte 21 "
                           "2+1 kind 0 byte 12 4+1 kind 1 of 00 "
                           "5+1 kind 0 byte 25 6+1 kind 1 of 00 "
                           "7+1 kind 3 byte 78 8+1 kind 1 of 00 "
                           "9+1 kind 1 of e5 12+1 kind 2 byte 33\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("page-map");
    TCase *tests = tcase_create("page-map");

    tcase_add_loop_test(tests, random_pages, 0, 40);
    tcase_add_test(tests, backwards);
    tcase_add_test(tests, neighbours_are_one_run);
    tcase_add_loop_test(tests, early_pages_get_their_place, 0, 2);
    tcase_add_test(tests, unknown_page_size_is_told);
    tcase_add_test(tests, too_many_runs_are_forgotten);
    tcase_add_loop_test(tests, reader_tells_all, 0, 6);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
