/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Section `ram' in the stream reader: the list of blocks in all its variants,
 * every kind of record, and page sizes that nobody states.
 */
#include <check.h>
#include <string.h>

#include "run-suite.h"
#include "stream-builder.h"

#define RAM_ID STREAM_BUILDER_RAM_ID

/* Close section `ram' and end the stream, with a device and a description. */
static void end_stream(StreamBuilder *builder)
{
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 3, "cpu", 10);
    stream_builder_eof(builder);
    stream_builder_description(builder);
}

static StreamBuilder *begin_part(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_begin_ram(builder);
    stream_builder_part(builder, RAM_ID);
    return builder;
}

static void expect_pages(const StreamBuilder *builder, uint64_t data,
                         uint64_t zero, uint32_t page_size)
{
    g_autoptr(MigrationReader) reader = stream_builder_expect_complete(builder);
    const MigrationInfo *info = migration_reader_info(reader);

    ck_assert_uint_eq(info->data_pages, data);
    ck_assert_uint_eq(info->zero_pages, zero);
    ck_assert_uint_eq(info->page_size, page_size);
}

START_TEST(every_kind_of_page)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    stream_builder_zero(builder, NULL, 0x1000);
    stream_builder_record(builder, 0x2000 | 0x40, NULL);
    stream_builder_u8(builder, 1);
    stream_builder_be16(builder, 700);
    stream_builder_fill(builder, 0x10, 700);
    stream_builder_record(builder, 0x3000 | 0x100, "pc.ram");
    stream_builder_be32(builder, 90);
    stream_builder_fill(builder, 0x08, 90);
    end_stream(builder);
    expect_pages(builder, 3, 1, 4096);
}
END_TEST

/* The current block is that of the last page, in whichever section. */
START_TEST(block_continues_across_sections)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, RAM_ID);
    stream_builder_ram_stop(builder);
    stream_builder_start(builder, 9, "dirty-bitmap", 1);
    stream_builder_u8(builder, 0x01);
    stream_builder_footer(builder, 9);
    stream_builder_end(builder, RAM_ID);
    stream_builder_page(builder, NULL, 0x1000, 0x22, 4096);
    end_stream(builder);
    expect_pages(builder, 2, 0, 4096);
}
END_TEST

START_TEST(many_pages_and_blocks)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    const unsigned pages = 700;

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 2 * pages * 4096);
    stream_builder_block(builder, "one", pages * 4096);
    stream_builder_block(builder, "/rom@etc/two", pages * 4096);
    for (unsigned i = 0; i < pages; i++) {
        stream_builder_page(builder, i % 50 == 0 ? "one" : NULL, i * 4096, i,
                            4096);
    }
    for (unsigned i = 0; i < pages; i++) {
        stream_builder_zero(builder, i == 0 ? "/rom@etc/two" : NULL, i * 4096);
    }
    end_stream(builder);
    expect_pages(builder, pages, pages, 4096);
}
END_TEST

typedef struct RecordCase {
    uint64_t word;
    const char *block;
    SnapError code;
    const char *part;
} RecordCase;

static const RecordCase refused_records[] = {
    { 0x001, "pc.ram", SNAP_ERROR_UNSUPPORTED, "kind FULL" },
    { 0x080, "pc.ram", SNAP_ERROR_UNSUPPORTED, "kind HOOK" },
    { 0x200, "pc.ram", SNAP_ERROR_UNSUPPORTED, "kind MULTIFD_FLUSH" },
    { 0x000, "pc.ram", SNAP_ERROR_STREAM, "begin with 0x0000000000000000" },
    { 0x00a, "pc.ram", SNAP_ERROR_STREAM, "begin with 0x000000000000000a" },
    { 0x010, NULL, SNAP_ERROR_STREAM, "begin with 0x0000000000000030" },
    { 0x1010, "x", SNAP_ERROR_STREAM, "begin with 0x0000000000001010" },
    { 0x004, NULL, SNAP_ERROR_STREAM, "begin with 0x0000000000000024" },
    { 0x004, "", SNAP_ERROR_STREAM, "a second list" },
    { 0x008, "pc.rom", SNAP_ERROR_STREAM, "unknown RAM block 'pc.rom'" },
    { 0x002, "p\x7f", SNAP_ERROR_STREAM, "unknown RAM block 'p\\x7f'" },
    { 0x002, NULL, SNAP_ERROR_STREAM, "continues no block" },
    { 0x10002, "pc.ram", SNAP_ERROR_STREAM,
      "at 0x10000 of RAM block 'pc.ram', which has 0x10000 bytes" },
    { 0xfffffffffffff002, "pc.ram", SNAP_ERROR_STREAM, "which has 0x10000" },
    { 0x040, "pc.ram", SNAP_ERROR_STREAM, "unknown encoding" },
    { 0x100, "pc.ram", SNAP_ERROR_STREAM, "a packed RAM page of 0 bytes" },
};

START_TEST(refused_record)
{
    const RecordCase *refused = &refused_records[_i];
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_record(builder, refused->word, refused->block);
    stream_builder_fill(builder, 0, 5000);
    stream_builder_expect_error(builder, refused->code, refused->part);
}
END_TEST

START_TEST(no_page_size_for_what_follows)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    stream_builder_zero(builder, NULL, 0x1000);
    stream_builder_record(builder, 0x2000 | 0x40, NULL);
    stream_builder_u8(builder, 1);
    stream_builder_be16(builder, 4097);
    stream_builder_fill(builder, 0, 70000);
    /* Eight records show the page size; the third fits none. */
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, "make no sense");
}
END_TEST

START_TEST(packed_page_too_large)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    for (int i = 1; i < 10; i++) {
        stream_builder_zero(builder, NULL, i * 0x1000);
    }
    stream_builder_record(builder, 0x2000 | 0x100, NULL);
    stream_builder_be32(builder, 4096 + 1025);
    stream_builder_fill(builder, 0, 6000);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "a packed RAM page of 5121 bytes");
}
END_TEST

START_TEST(page_amid_a_page)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    for (int i = 1; i < 10; i++) {
        stream_builder_zero(builder, NULL, i * 0x1000);
    }
    stream_builder_zero(builder, NULL, 0x2400);
    stream_builder_fill(builder, 0, 100);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "at 0x2400 of its block, amid a page of 4096");
}
END_TEST

/* Once the page size is known, pages are passed over in another way. */
START_TEST(page_behind_its_block)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x11, 4096);
    for (int i = 1; i < 10; i++) {
        stream_builder_zero(builder, NULL, i * 0x1000);
    }
    if (_i == 0) {
        stream_builder_zero(builder, NULL, 0x10000);
    } else {
        stream_builder_page(builder, NULL, 0x10000, 0, 4096);
    }
    stream_builder_fill(builder, 0, 100);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "at 0x10000 of RAM block 'pc.ram', which has");
}
END_TEST

/* Page sizes of 2^10 to 2^16 bytes, in a stream that does not state them */
START_TEST(page_size_is_inferred)
{
    const uint32_t page_size = UINT32_C(1) << _i;
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_configuration(builder, "versatilepb");
    stream_builder_ram_start(builder, 32 * page_size);
    stream_builder_block(builder, "ram", 32 * page_size);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, RAM_ID);
    stream_builder_zero(builder, "ram", 0);
    for (uint32_t i = 1; i < 20; i++) {
        stream_builder_page(builder, NULL, i * page_size, i, page_size);
    }
    end_stream(builder);
    expect_pages(builder, 19, 1, page_size);
}
END_TEST

/* One page only: the section's end is what shows its size. */
START_TEST(page_size_of_a_single_page)
{
    const uint32_t page_size = UINT32_C(1) << _i;
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 4 * 65536);
    stream_builder_block(builder, "ram", 4 * 65536);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, RAM_ID);
    stream_builder_page(builder, "ram", 65536, 0, page_size);
    end_stream(builder);
    expect_pages(builder, 1, 0, page_size);
}
END_TEST

/* A guest fills its first page with what looks like records of small pages. */
START_TEST(page_contents_do_not_deceive)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_record(builder, 0x8, "pc.ram");
    stream_builder_fill(builder, 0, 1024);
    for (int i = 0; i < 341; i++) {
        stream_builder_zero(builder, NULL, 0x400);
    }
    stream_builder_fill(builder, 0, 3);
    stream_builder_page(builder, NULL, 0x1000, 0, 4096);
    stream_builder_page(builder, NULL, 0x3000, 0, 4096);
    end_stream(builder);
    expect_pages(builder, 3, 0, 4096);
}
END_TEST

/*
 * In a small page stands what would be the end of the section behind a large
 * one; but this stream has footers, and there is none.
 */
START_TEST(page_contents_like_a_section_end)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    for (int i = 0; i < 20; i++) {
        stream_builder_record(builder, i * 1024 | 0x8,
                              i == 0 ? "pc.ram" : NULL);
        stream_builder_fill(builder, 0, 1000);
        stream_builder_be64(builder, 0x10);
        stream_builder_fill(builder, 0x02, 16);
    }
    end_stream(builder);
    expect_pages(builder, 20, 0, 1024);
}
END_TEST

START_TEST(no_page_size_fits)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_page(builder, "pc.ram", 0, 0x77, 9000);
    stream_builder_page(builder, NULL, 0x1000, 0x77, 70000);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, "any page size");
}
END_TEST

/* Without a single PAGE, the description is the one to ask. */
START_TEST(page_size_from_the_description)
{
    g_autoptr(StreamBuilder) builder = begin_part();

    stream_builder_zero(builder, "pc.ram", 0);
    end_stream(builder);
    expect_pages(builder, 0, 1, 4096);
}
END_TEST

typedef struct ListCase {
    uint64_t total;
    const char *names[3];
    uint64_t bytes[3];
    const char *part;
} ListCase;

static const ListCase wrong_lists[] = {
    { 0x2000, { "a", "a" }, { 0x1000, 0x1000 }, "'a' is listed twice" },
    { 0x2000, { "a", "b" }, { 0x1000, 0x2000 }, "4096 are left" },
    { 0x2000, { "" }, { 0x1000 }, "no printable name" },
    { 0x2000, { "\xff" }, { 0x1000 }, "'\\xff' has no printable name" },
    { 0x2000, { "a" }, { 0x1010 }, "at least 1024" },
    { 0x2000, { "a" }, { UINT64_MAX }, "8192 are left" },
};

START_TEST(wrong_list)
{
    const ListCase *wrong = &wrong_lists[_i];
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_ram_start(builder, wrong->total);
    for (int i = 0; i < 3 && wrong->names[i] != NULL; i++) {
        stream_builder_block(builder, wrong->names[i], wrong->bytes[i]);
    }
    stream_builder_fill(builder, 0, 100);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, wrong->part);
}
END_TEST

START_TEST(blocks_without_end)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 0x100000);
    for (int i = 0; i < 10000; i++) {
        g_autofree char *name = g_strdup_printf("empty%d", i);

        stream_builder_block(builder, name, 0);
    }
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "after 8192 others");
}
END_TEST

static void begin_with(StreamBuilder *builder, const char *capability,
                       bool advise)
{
    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc");
    if (capability != NULL) {
        stream_builder_capability(builder, capability);
    }
    if (advise) {
        stream_builder_u8(builder, 0x08);
        stream_builder_be16(builder, 3);
        stream_builder_be16(builder, 16);
        stream_builder_be64(builder, 0x201000);
        stream_builder_be64(builder, 4096);
    }
}

/*
 * Bit 0 of _i: there are addresses; bits 1 and 2: the first or the last block
 * states its page size, as blocks on huge pages do when postcopy is possible.
 */
START_TEST(optional_fields_of_blocks)
{
    const bool address = _i & 1, first = _i & 2, last = _i & 4;
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    const MigrationBlock *block;

    begin_with(builder, address ? "x-ignore-shared" : NULL, true);
    stream_builder_ram_start(builder, 0x600000);
    stream_builder_block(builder, "first", 0x400000);
    if (first) {
        stream_builder_be64(builder, 0x200000);
    }
    if (address) {
        /* An address can look like a page size. */
        stream_builder_be64(builder, 0x100000);
    }
    stream_builder_block(builder, "last", 0x200000);
    if (last) {
        stream_builder_be64(builder, 0x200000);
    }
    if (address) {
        stream_builder_be64(builder, 0x100000);
    }
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, RAM_ID);
    stream_builder_page(builder, "last", 0x1ff000, 1, 4096);
    end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    block = g_ptr_array_index(migration_reader_info(reader)->blocks, 1);
    ck_assert_str_eq(block->name, "last");
    ck_assert_uint_eq(block->bytes, 0x200000);
}
END_TEST

/* Header, bitmap, gap and pages of a mapped block of 100 pages, 3 of them set */
static void mapped_block(StreamBuilder *builder, uint64_t shift)
{
    uint64_t start;

    stream_builder_block(builder, "pc.ram", 100 * 4096);
    start = builder->bytes->len;
    stream_builder_be32(builder, 1);
    stream_builder_be64(builder, 4096);
    stream_builder_be64(builder, start + 28 + shift);
    stream_builder_be64(builder, 8192 + shift);
    stream_builder_fill(builder, 0x00, 12);
    stream_builder_u8(builder, 0x07);
    stream_builder_fill(builder, 0x00, 3);
    stream_builder_fill(builder, 0x10, 8192 - builder->bytes->len);
    stream_builder_fill(builder, 0x7e, 100 * 4096);
}

START_TEST(mapped_ram)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 100 * 4096);
    mapped_block(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, RAM_ID);
    end_stream(builder);
    expect_pages(builder, 3, 97, 4096);
}
END_TEST

START_TEST(mapped_ram_at_another_offset)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 100 * 4096);
    mapped_block(builder, 5000);
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED,
                                "was written for offset");
}
END_TEST

START_TEST(mapped_ram_has_no_page_records)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 100 * 4096);
    mapped_block(builder, 0);
    stream_builder_page(builder, "pc.ram", 0, 0, 4096);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "begin with 0x0000000000000008");
}
END_TEST

START_TEST(mapped_ram_with_wrong_header)
{
    static const uint64_t pages_offsets[] = { 0, 100, UINT64_MAX - 4095 };
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 4096);
    stream_builder_block(builder, "pc.ram", 4096);
    stream_builder_be32(builder, 1);
    stream_builder_be64(builder, 4096);
    stream_builder_be64(builder, builder->bytes->len + 16);
    stream_builder_be64(builder, pages_offsets[_i]);
    stream_builder_fill(builder, 0, 8);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "pages of mapped RAM at offset");
}
END_TEST

/* Nobody has pages there, unless the bytes of words are the other way round. */
START_TEST(mapped_ram_behind_its_end)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    size_t bitmap;

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 100 * 4096);
    bitmap = builder->bytes->len + 1 + strlen("pc.ram") + 8 + 28;
    mapped_block(builder, 0);
    builder->bytes->data[bitmap + 12] = _i == 0 ? 0x10 : 0x00;
    builder->bytes->data[bitmap + 15] = _i == 0 ? 0x00 : 0x01;
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "'pc.ram' has pages behind its end");
}
END_TEST

/* A block without pages has neither bitmap nor gap. */
START_TEST(mapped_ram_of_nothing)
{
    const uint8_t stored[] = { 1 };
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 4096);
    stream_builder_mapped_block(builder, "none", 4096, 0, stored, NULL, 1);
    stream_builder_mapped_block(builder, "one", 4096, 1, stored, NULL, 1);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, RAM_ID);
    end_stream(builder);
    expect_pages(builder, 1, 0, 4096);
}
END_TEST

START_TEST(mapped_ram_of_other_kind)
{
    static const struct {
        uint32_t version;
        uint64_t page_size;
    } kinds[] = { { 2, 4096 }, { 1, 3000 }, { 1, 0 }, { 1, 65536 } };
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    begin_with(builder, "mapped-ram", false);
    stream_builder_ram_start(builder, 8192);
    stream_builder_block(builder, "pc.ram", 8192);
    stream_builder_be32(builder, kinds[_i].version);
    stream_builder_be64(builder, kinds[_i].page_size);
    stream_builder_be64(builder, builder->bytes->len + 16);
    stream_builder_be64(builder, 8192);
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED,
                                "mapped RAM of version");
}
END_TEST

static Suite *migration_ram_suite(void)
{
    Suite *suite = suite_create("migration-ram");
    TCase *tcase = tcase_create("records");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_kind_of_page);
    tcase_add_test(tcase, block_continues_across_sections);
    tcase_add_test(tcase, many_pages_and_blocks);
    tcase_add_loop_test(tcase, refused_record, 0,
                        G_N_ELEMENTS(refused_records));
    tcase_add_test(tcase, packed_page_too_large);
    tcase_add_test(tcase, page_amid_a_page);
    tcase_add_loop_test(tcase, page_behind_its_block, 0, 2);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("page-size");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, page_size_is_inferred, 10, 17);
    tcase_add_loop_test(tcase, page_size_of_a_single_page, 10, 17);
    tcase_add_test(tcase, page_contents_do_not_deceive);
    tcase_add_test(tcase, page_contents_like_a_section_end);
    tcase_add_test(tcase, no_page_size_fits);
    tcase_add_test(tcase, no_page_size_for_what_follows);
    tcase_add_test(tcase, page_size_from_the_description);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("block-list");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, wrong_list, 0, G_N_ELEMENTS(wrong_lists));
    tcase_add_test(tcase, blocks_without_end);
    tcase_add_loop_test(tcase, optional_fields_of_blocks, 0, 8);
    tcase_add_test(tcase, mapped_ram);
    tcase_add_test(tcase, mapped_ram_at_another_offset);
    tcase_add_test(tcase, mapped_ram_has_no_page_records);
    tcase_add_loop_test(tcase, mapped_ram_with_wrong_header, 0, 3);
    tcase_add_loop_test(tcase, mapped_ram_behind_its_end, 0, 2);
    tcase_add_test(tcase, mapped_ram_of_nothing);
    tcase_add_loop_test(tcase, mapped_ram_of_other_kind, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(migration_ram_suite());
}
