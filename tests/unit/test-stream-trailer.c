/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The trailer behind a stream: what is read back is what was written, and
 * nothing else is taken for it, whatever bit has changed and whoever wrote it.
 */
#include <check.h>
#include <string.h>

#include "checked.h"
#include "run-suite.h"
#include "stream-builder.h"
#include "stream-trailer.h"

#define PAGE STREAM_BUILDER_PAGE

typedef struct Made {
    StreamBuilder *builder;
    MigrationReader *reader;
    StreamIndex *index;
    StreamChecksums *checksums;
    uint64_t offset;
    GByteArray *trailer;
} Made;

static StreamIndex *index_of(const StreamBuilder *builder,
                             MigrationReader **reader)
{
    PageMap *pages = page_map_new();
    GError *error = NULL;

    *reader = migration_reader_new();
    migration_reader_tell_pages(*reader, page_map_add, pages);
    migration_reader_feed(*reader, builder->bytes->data, builder->bytes->len,
                          &error);
    ck_assert_msg(!error && migration_reader_finish(*reader, &error), "%s",
                  error ? error->message : "");
    return stream_index_new(*reader, pages);
}

/* Everything that an index can have. Takes @builder. */
static void made_init(Made *made, StreamBuilder *builder)
{
    made->builder = builder;
    made->index = index_of(builder, &made->reader);
    made->checksums = stream_checksums_new();
    stream_checksums_add(made->checksums, builder->bytes->data,
                         builder->bytes->len);
    stream_checksums_finish(made->checksums);
    made->offset = stream_trailer_offset(builder->bytes->len);
    made->trailer =
        stream_trailer_encode(made->index, made->checksums, made->offset);
}

static void made_clear(Made *made)
{
    stream_builder_free(made->builder);
    migration_reader_free(made->reader);
    stream_index_free(made->index);
    stream_checksums_free(made->checksums);
    g_byte_array_unref(made->trailer);
}

/* All kinds of pages, in runs and alone, some of them twice. */
static StreamBuilder *many_kinds(void)
{
    StreamBuilder *builder = stream_builder_new();
    unsigned i;

    stream_builder_begin_ram(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    for (i = 0; i < 4; i++) {
        stream_builder_page(builder, i ? NULL : "pc.ram", i * PAGE, i, PAGE);
    }
    stream_builder_zero(builder, NULL, 2 * PAGE);
    stream_builder_record(builder, 6 * PAGE | 0x02 | 0x20, NULL);
    stream_builder_u8(builder, 0xcc);
    stream_builder_record(builder, 8 * PAGE | 0x40 | 0x20, NULL);
    stream_builder_u8(builder, 1);
    stream_builder_be16(builder, 4);
    stream_builder_fill(builder, 1, 4);
    stream_builder_record(builder, 9 * PAGE | 0x100 | 0x20, NULL);
    stream_builder_be32(builder, 12);
    stream_builder_fill(builder, 2, 12);
    stream_builder_page(builder, NULL, 1 * PAGE, 9, PAGE);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_ram_stop(builder);
    stream_builder_timer(builder, 0, -5);
    stream_builder_device(builder, 9, "cpu", 40);
    stream_builder_end_stream(builder);
    return builder;
}

static StreamBuilder *mapped_ram(void)
{
    const uint8_t stored[] = { 1, 1, 0, 0, 1, 0, 1, 1, 1 };
    const unsigned pages = sizeof(stored);
    StreamBuilder *builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc-i440fx-7.2");
    stream_builder_capability(builder, "mapped-ram");
    stream_builder_ram_start(builder, 2 * pages * PAGE);
    stream_builder_mapped_block(builder, "a", PAGE, pages, stored, NULL, PAGE);
    stream_builder_mapped_block(builder, "b", PAGE, pages, stored, NULL, PAGE);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 9, "cpu", 40);
    stream_builder_end_stream(builder);
    return builder;
}

static StreamBuilder *without_pages(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_begin_ram(builder);
    stream_builder_device(builder, 9, "cpu", 40);
    stream_builder_end_stream(builder);
    return builder;
}

static StreamBuilder *(*const makers[])(void) = {
    stream_builder_ordinary,
    many_kinds,
    mapped_ram,
    without_pages,
};

#define MAKERS ((int)G_N_ELEMENTS(makers))

static void assert_same_info(const MigrationInfo *a, const MigrationInfo *b)
{
    guint i;

    ck_assert_pstr_eq(a->machine, b->machine);
    ck_assert_uint_eq(a->page_size, b->page_size);
    ck_assert_int_eq(a->vm_clock_known, b->vm_clock_known);
    ck_assert_int_eq(a->vm_clock_ns, b->vm_clock_ns);
    ck_assert_int_eq(a->uuid_known, b->uuid_known);
    ck_assert_uint_eq(a->data_pages, b->data_pages);
    ck_assert_uint_eq(a->zero_pages, b->zero_pages);
    ck_assert_uint_eq(a->devices, b->devices);
    ck_assert_uint_eq(a->stream_bytes, b->stream_bytes);
    ck_assert_uint_eq(a->framing_bytes, b->framing_bytes);
    ck_assert_uint_eq(a->description_offset, b->description_offset);
    ck_assert_uint_eq(a->description_bytes, b->description_bytes);
    ck_assert_uint_eq(a->blocks->len, b->blocks->len);
    ck_assert_uint_eq(a->sections->len, b->sections->len);
    for (i = 0; i < a->sections->len; i++) {
        const MigrationSection *one = a->sections->pdata[i];
        const MigrationSection *other = b->sections->pdata[i];

        ck_assert_str_eq(one->name, other->name);
        ck_assert_uint_eq(one->instance, other->instance);
        ck_assert_uint_eq(one->version, other->version);
        ck_assert_int_eq(one->device, other->device);
        ck_assert_int_eq(one->delimited, other->delimited);
        ck_assert_uint_eq(one->offset, other->offset);
        ck_assert_uint_eq(one->bytes, other->bytes);
        ck_assert_uint_eq(one->payload_offset, other->payload_offset);
        ck_assert_uint_eq(one->payload_bytes, other->payload_bytes);
    }
}

static void assert_same_runs(const PageMap *a, const PageMap *b,
                             const MigrationBlock *block)
{
    const GArray *one = page_map_runs(a, block);
    const GArray *other = page_map_runs(b, block);
    guint i;

    ck_assert_uint_eq(one ? one->len : 0, other ? other->len : 0);
    for (i = 0; one && i < one->len; i++) {
        const PageRun *x = &g_array_index(one, PageRun, i);
        const PageRun *y = &g_array_index(other, PageRun, i);

        ck_assert_uint_eq(x->first, y->first);
        ck_assert_uint_eq(x->count, y->count);
        ck_assert_uint_eq(x->kind, y->kind);
        ck_assert_uint_eq(x->fill, y->fill);
        ck_assert_uint_eq(x->offset, y->offset);
        ck_assert_uint_eq(x->bytes, y->bytes);
    }
}

/* Also while nobody has asked for the map of one that was read. */
static void assert_same_counts(const StreamIndex *a, const StreamIndex *b)
{
    const GPtrArray *blocks = stream_index_info(a)->blocks;
    guint i;

    ck_assert_int_eq(stream_index_knows_pages(a), stream_index_knows_pages(b));
    for (i = 0; stream_index_knows_pages(a) && i < blocks->len; i++) {
        PageCounts one = stream_index_count(a, blocks->pdata[i]);
        PageCounts other = stream_index_count(b, blocks->pdata[i]);

        ck_assert_mem_eq(&one, &other, sizeof(one));
    }
}

static void assert_same_index(const StreamIndex *a, const StreamIndex *b)
{
    const MigrationInfo *info = stream_index_info(a);
    const PageMap *pages;
    guint i;

    assert_same_info(info, stream_index_info(b));
    assert_same_counts(a, b);
    pages = stream_index_pages(a);
    ck_assert_int_eq(pages != NULL, stream_index_pages(b) != NULL);
    for (i = 0; pages && i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        const MigrationBlock *other = stream_index_info(b)->blocks->pdata[i];

        ck_assert_str_eq(block->name, other->name);
        ck_assert_uint_eq(block->bytes, other->bytes);
        ck_assert_uint_eq(block->number, other->number);
        assert_same_runs(pages, stream_index_pages(b), block);
    }
    assert_same_counts(a, b);
}

static StreamTrailerState footer_of(const Made *made, StreamFooter *footer)
{
    return stream_footer_decode(made->trailer->data + made->trailer->len -
                                    STREAM_FOOTER_BYTES,
                                made->offset + made->trailer->len, footer);
}

START_TEST(read_back)
{
    Made made;
    StreamFooter footer;
    g_autoptr(StreamIndex) index = NULL;
    g_autoptr(StreamChecksums) checksums = NULL;

    made_init(&made, makers[_i]());
    ck_assert_uint_eq(made.trailer->len % STREAM_TRAILER_UNIT, 0);
    ck_assert_uint_gt(made.offset, made.builder->bytes->len);
    ck_assert_int_eq(footer_of(&made, &footer), STREAM_TRAILER_VALID);
    ck_assert_uint_eq(footer.stream_bytes, made.builder->bytes->len);
    ck_assert_uint_eq(footer.trailer_offset, made.offset);
    ck_assert(
        stream_trailer_decode(&footer, made.trailer->data, &index, &checksums));
    assert_same_index(made.index, index);
    ck_assert_uint_eq(stream_checksums_whole(checksums),
                      stream_checksums_whole(made.checksums));
    ck_assert(stream_checksums_match(checksums, 0, made.builder->bytes->data));
    made_clear(&made);
}
END_TEST

START_TEST(any_bit)
{
    Made made;
    StreamFooter footer;
    StreamIndex *index;
    StreamChecksums *checksums;
    guint bit;

    made_init(&made, many_kinds());
    for (bit = 0; bit < made.trailer->len * 8; bit++) {
        made.trailer->data[bit / 8] ^= 1 << bit % 8;
        if (footer_of(&made, &footer) == STREAM_TRAILER_VALID) {
            ck_assert_uint_lt(bit / 8, made.trailer->len - STREAM_FOOTER_BYTES);
            ck_assert(!stream_trailer_decode(&footer, made.trailer->data,
                                             &index, &checksums));
            ck_assert_ptr_null(index);
            ck_assert_ptr_null(checksums);
        }
        made.trailer->data[bit / 8] ^= 1 << bit % 8;
    }
    made_clear(&made);
}
END_TEST

/* Another VM state than the one it was written for, as after a resize. */
START_TEST(other_place)
{
    Made made;
    StreamFooter footer;

    made_init(&made, many_kinds());
    made.offset += 512;
    ck_assert_int_eq(footer_of(&made, &footer), STREAM_TRAILER_DAMAGED);
    made_clear(&made);
}
END_TEST

static void assert_inside(const StreamIndex *index, uint64_t stream_bytes)
{
    const MigrationInfo *info = stream_index_info(index);
    const PageMap *pages = stream_index_pages(index);
    uint64_t payload = 0;
    guint i;
    guint j;

    for (i = 0; pages && i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        const GArray *runs = page_map_runs(pages, block);

        for (j = 0; runs && j < runs->len; j++) {
            const PageRun *run = &g_array_index(runs, PageRun, j);

            ck_assert(range_within(run->first, run->count,
                                   block->bytes / info->page_size));
            ck_assert(run->kind == MIGRATION_PAGE_FILL ||
                      range_within(run->offset, run->bytes, stream_bytes));
        }
    }
    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        ck_assert(range_within(section->offset, section->bytes, stream_bytes));
        ck_assert(range_within(section->payload_offset, section->payload_bytes,
                               stream_bytes));
        payload += section->payload_bytes;
    }
    /* Nobody is made to read a byte of devices twice. */
    ck_assert_uint_lt(payload, stream_bytes);
}

/* An index of anybody: refused, or nothing in it lies outside the stream. */
START_TEST(hostile_index)
{
    const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    g_autoptr(StreamBuilder) builder = makers[_i]();
    g_autoptr(MigrationReader) reader = NULL;
    g_autoptr(StreamIndex) index = index_of(builder, &reader);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t stream_bytes = builder->bytes->len;
    unsigned accepted = 0;
    guint at;
    guint i;

    stream_index_encode(index, bytes);
    for (at = 0; at < bytes->len; at++) {
        uint8_t old = bytes->data[at];

        for (i = 0; i < G_N_ELEMENTS(values); i++) {
            g_autoptr(StreamIndex) other = NULL;

            bytes->data[at] = values[i];
            other = stream_index_decode(bytes->data, bytes->len, stream_bytes);
            if (other) {
                assert_inside(other, stream_bytes);
                accepted++;
            }
        }
        bytes->data[at] = old;
        ck_assert_ptr_null(stream_index_decode(bytes->data, at, stream_bytes));
    }
    ck_assert_uint_gt(accepted, 0);
    /* One that is longer than the stream was. */
    ck_assert_ptr_null(
        stream_index_decode(bytes->data, bytes->len, stream_bytes / 2));
}
END_TEST

/* Is an index accepted in which sections 1 and 2, devices, are these? */
static bool accepts_sections(const StreamIndex *index)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(StreamIndex) other = NULL;

    stream_index_encode(index, bytes);
    other = stream_index_decode(bytes->data, bytes->len,
                                stream_index_info(index)->stream_bytes);
    return other != NULL;
}

/* One that made us read the same bytes again and again would have no end. */
START_TEST(sections_that_do_not_add_up)
{
    g_autoptr(StreamBuilder) builder = many_kinds();
    g_autoptr(MigrationReader) reader = NULL;
    g_autoptr(StreamIndex) index = index_of(builder, &reader);
    MigrationSection *timer = stream_index_info(index)->sections->pdata[1];
    MigrationSection *cpu = stream_index_info(index)->sections->pdata[2];
    const MigrationSection sound = *cpu;

    ck_assert(accepts_sections(index));
    cpu->bytes--;
    ck_assert(!accepts_sections(index));
    *cpu = sound;
    cpu->bytes = 0;
    ck_assert(!accepts_sections(index));
    *cpu = sound;
    cpu->offset = timer->offset;
    ck_assert(!accepts_sections(index));
    *cpu = sound;
    cpu->payload_offset = cpu->offset - 1;
    ck_assert(!accepts_sections(index));
    *cpu = sound;
    cpu->payload_bytes = cpu->bytes;
    ck_assert(!accepts_sections(index));
    *cpu = sound;
    ck_assert(accepts_sections(index));
}
END_TEST

START_TEST(return_path_is_taken_out)
{
    g_autoptr(StreamBuilder) plain = stream_builder_new();
    g_autoptr(StreamBuilder) with = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    g_autoptr(MigrationReader) other = NULL;
    g_autoptr(StreamIndex) expected = NULL;
    g_autoptr(StreamIndex) index = NULL;
    StreamBuilder *both[] = { plain, with };
    unsigned i;

    for (i = 0; i < 2; i++) {
        stream_builder_header(both[i]);
        stream_builder_configuration(both[i], "pc-i440fx-7.2");
        if (i) {
            stream_builder_command(both[i], 1, 0);
            stream_builder_command(both[i], 2, 4);
        }
        stream_builder_ram_start(both[i], 16 * PAGE);
        stream_builder_block(both[i], "pc.ram", 16 * PAGE);
        stream_builder_ram_stop(both[i]);
        stream_builder_part(both[i], STREAM_BUILDER_RAM_ID);
        stream_builder_page(both[i], "pc.ram", 3 * PAGE, 5, PAGE);
        stream_builder_ram_stop(both[i]);
        stream_builder_device(both[i], 9, "cpu", 40);
        stream_builder_end_stream(both[i]);
    }
    expected = index_of(plain, &reader);
    index = index_of(with, &other);
    ck_assert_uint_eq(stream_index_info(index)->return_bytes, 14);
    stream_index_take_out_return_path(index);
    assert_same_index(expected, index);
}
END_TEST

/* Three pieces, the last one short, added in parts of this many bytes. */
START_TEST(checksums_of_pieces)
{
    const size_t steps[] = { 1000, STREAM_CHECKSUM_BYTES, 5000000 };
    size_t bytes = 2 * STREAM_CHECKSUM_BYTES + 777;
    g_autofree uint8_t *data = g_malloc(bytes);
    g_autoptr(StreamChecksums) checksums = stream_checksums_new();
    g_autoptr(StreamChecksums) decoded = NULL;
    g_autoptr(GByteArray) encoded = g_byte_array_new();
    size_t at;
    unsigned i;

    for (at = 0; at < bytes; at++) {
        data[at] = at * at >> 7;
    }
    for (at = 0; at < bytes; at += steps[_i]) {
        stream_checksums_add(checksums, data + at, MIN(steps[_i], bytes - at));
    }
    stream_checksums_finish(checksums);
    ck_assert_uint_eq(stream_checksums_covered(checksums), bytes);
    stream_checksums_encode(checksums, encoded);
    decoded = stream_checksums_decode(encoded->data, encoded->len, bytes);
    ck_assert_ptr_nonnull(decoded);
    ck_assert_uint_eq(stream_checksums_count(decoded), 3);
    for (i = 0; i < 3; i++) {
        uint8_t *piece = data + i * STREAM_CHECKSUM_BYTES;

        ck_assert(stream_checksums_match(decoded, i, piece));
        piece[776] ^= 0x10;
        ck_assert(!stream_checksums_match(decoded, i, piece));
    }
    ck_assert_ptr_null(
        stream_checksums_decode(encoded->data, encoded->len, bytes + 1));
    ck_assert_ptr_null(
        stream_checksums_decode(encoded->data, encoded->len - 8, bytes));
    encoded->data[24] ^= 1;
    ck_assert_ptr_null(
        stream_checksums_decode(encoded->data, encoded->len, bytes));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream-trailer");
    TCase *tcase = tcase_create("stream-trailer");

    tcase_add_loop_test(tcase, read_back, 0, MAKERS);
    tcase_add_test(tcase, any_bit);
    tcase_add_test(tcase, other_place);
    tcase_add_loop_test(tcase, hostile_index, 1, 3);
    tcase_add_test(tcase, sections_that_do_not_add_up);
    tcase_add_test(tcase, return_path_is_taken_out);
    tcase_add_loop_test(tcase, checksums_of_pieces, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
