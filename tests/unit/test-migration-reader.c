/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The stream reader as a whole: the frame of a stream, when it is complete,
 * and that nothing which is fed makes it crash or depends on the buffers. Most
 * checks are in stream-builder.c, which reads each stream in several ways.
 */
#include <check.h>
#include <string.h>

#include "run-suite.h"
#include "stream-builder.h"

START_TEST(ordinary_stream)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(MigrationReader) reader = stream_builder_expect_complete(builder);
    const MigrationInfo *info = migration_reader_info(reader);
    const MigrationBlock *block;

    ck_assert_str_eq(info->machine, "pc-i440fx-7.2");
    ck_assert_uint_eq(info->page_size, 4096);
    ck_assert(!info->return_path);
    ck_assert_uint_eq(info->return_bytes, 0);
    ck_assert(info->vm_clock_known);
    ck_assert_int_eq(info->vm_clock_ns, 987654321);
    ck_assert_uint_eq(info->blocks->len, 1);
    block = g_ptr_array_index(info->blocks, 0);
    ck_assert_str_eq(block->name, "pc.ram");
    ck_assert_uint_eq(block->bytes, 16 * 4096);
    ck_assert_uint_eq(info->data_pages, 2);
    ck_assert_uint_eq(info->zero_pages, 1);
    ck_assert_uint_eq(info->devices, 3);
    ck_assert_uint_eq(info->stream_bytes, builder->bytes->len);
}
END_TEST

/* The offset at which the reader, fed byte by byte, enters @phase */
static size_t offset_of_phase(const StreamBuilder *builder,
                              MigrationPhase phase)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    size_t offset = 0;

    while (offset < builder->bytes->len &&
           migration_reader_phase(reader) < phase) {
        ck_assert(migration_reader_feed(reader, builder->bytes->data + offset,
                                        1, NULL));
        offset++;
    }
    ck_assert_int_eq(migration_reader_phase(reader), phase);
    return offset;
}

START_TEST(phases_come_in_order)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(StreamBuilder) begun = stream_builder_new();
    g_autoptr(StreamBuilder) ram = stream_builder_new();

    stream_builder_begin_ram(begun);
    stream_builder_all_ram(ram);
    ck_assert_uint_eq(offset_of_phase(builder, MIGRATION_PHASE_SETUP), 0);
    ck_assert_uint_lt(offset_of_phase(builder, MIGRATION_PHASE_RAM),
                      begun->bytes->len);
    /* With the header of the first device, and without any more. */
    ck_assert_uint_eq(offset_of_phase(builder, MIGRATION_PHASE_DEVICES),
                      ram->bytes->len + 1 + 4 + strlen("timer") + 1 + 8);
    ck_assert_uint_eq(offset_of_phase(builder, MIGRATION_PHASE_COMPLETE),
                      builder->bytes->len);
}
END_TEST

START_TEST(clock_is_known_early)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(StreamBuilder) front = stream_builder_new();
    g_autoptr(MigrationReader) reader = migration_reader_new();

    stream_builder_all_ram(front);
    stream_builder_timer(front, 0, 987654321);
    /* The header of the next section is what shows that the timer's is over. */
    ck_assert(migration_reader_feed(reader, builder->bytes->data,
                                    front->bytes->len + 18, NULL));
    ck_assert(migration_reader_info(reader)->vm_clock_known);
    ck_assert_int_eq(migration_reader_info(reader)->vm_clock_ns, 987654321);
}
END_TEST

START_TEST(not_a_stream)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_text(builder, "QFI\xfb is the magic of qcow2");
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "not a QEMU migration stream");
}
END_TEST

START_TEST(nothing_at_all)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "ends early, in the header (offset 0)");
}
END_TEST

START_TEST(obsolete_version)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_text(builder, "QEVM");
    stream_builder_be32(builder, 2);
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED, "version 2");
}
END_TEST

START_TEST(no_ram)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_device(builder, 1, "cpu", 10);
    stream_builder_eof(builder);
    stream_builder_description(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "without a section 'ram'");
}
END_TEST

/* What @add writes behind the header makes the stream wrong. */
typedef struct FrameCase {
    void (*add)(StreamBuilder *builder);
    SnapError code;
    const char *part;
} FrameCase;

static void add_long_machine(StreamBuilder *builder)
{
    stream_builder_u8(builder, 0x07);
    stream_builder_be32(builder, 0x7fffffff);
}

static void add_unprintable_machine(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc\x1b[31m");
}

static void add_unknown_subsection(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_subsection(builder, "configuration/\x01new");
}

static void add_subsection_version(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_u8(builder, 0x05);
    stream_builder_name(builder, "configuration/uuid");
    stream_builder_be32(builder, 2);
}

static void add_unknown_capability(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_capability(builder, "x-teleport");
}

static void add_many_capabilities(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_subsection(builder, "configuration/capabilities");
    stream_builder_be32(builder, 0x10000000);
}

static void add_capabilities_twice(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_capability(builder, "mapped-ram");
    stream_builder_capability(builder, "mapped-ram");
}

static void add_page_bits(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "virt");
    stream_builder_subsection(builder, "configuration/target-page-bits");
    stream_builder_be32(builder, 33);
}

static void add_second_configuration(StreamBuilder *builder)
{
    stream_builder_configuration(builder, "pc");
    stream_builder_configuration(builder, "pc");
}

static void add_top_level_subsection(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_subsection(builder, "cpu/x");
}

static void add_unknown_part(StreamBuilder *builder)
{
    stream_builder_part(builder, 7);
}

static void add_foreign_footer(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_be64(builder, 0x10);
    stream_builder_footer(builder, 9);
}

static void add_missing_footer(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_be64(builder, 0x10);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
}

static void add_taken_id(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_start(builder, STREAM_BUILDER_RAM_ID, "block", 1);
}

static void add_old_ram(StreamBuilder *builder)
{
    stream_builder_start(builder, STREAM_BUILDER_RAM_ID, "ram", 3);
}

static void add_nameless_device(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_bogus_full(builder, 3, "");
}

static const FrameCase wrong_frames[] = {
    { add_long_machine, SNAP_ERROR_STREAM, "a name of 2147483647 bytes" },
    { add_unprintable_machine, SNAP_ERROR_STREAM, "'pc\\x1b[31m'" },
    { add_unknown_subsection, SNAP_ERROR_UNSUPPORTED,
      "'configuration/\\x01new'" },
    { add_subsection_version, SNAP_ERROR_UNSUPPORTED, "'configuration/uuid'" },
    { add_unknown_capability, SNAP_ERROR_UNSUPPORTED, "'x-teleport'" },
    { add_many_capabilities, SNAP_ERROR_STREAM, "268435456 capabilities" },
    { add_capabilities_twice, SNAP_ERROR_STREAM, "capabilities twice" },
    { add_page_bits, SNAP_ERROR_UNSUPPORTED, "2^33" },
    { add_second_configuration, SNAP_ERROR_STREAM, "a byte 0x07" },
    { add_top_level_subsection, SNAP_ERROR_STREAM, "a byte 0x05" },
    { add_unknown_part, SNAP_ERROR_STREAM, "section 7 goes on" },
    { add_foreign_footer, SNAP_ERROR_STREAM, "is that of section 9" },
    { add_missing_footer, SNAP_ERROR_STREAM,
      "no footer after section 'ram' (id 2), but a byte 0x02" },
    { add_taken_id, SNAP_ERROR_STREAM, "id 2 of section 'block' is taken" },
    { add_old_ram, SNAP_ERROR_UNSUPPORTED, "'ram' of version 3" },
    { add_nameless_device, SNAP_ERROR_STREAM, "impossible name" },
};

START_TEST(wrong_frame)
{
    const FrameCase *wrong = &wrong_frames[_i];
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    wrong->add(builder);
    stream_builder_expect_error(builder, wrong->code, wrong->part);
}
END_TEST

static void finish_stream(StreamBuilder *builder)
{
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 3, "cpu", 10);
    stream_builder_eof(builder);
    stream_builder_description(builder);
}

START_TEST(configuration_with_subsections)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    const MigrationInfo *info;

    stream_builder_header(builder);
    stream_builder_configuration(builder, "virt-7.2");
    stream_builder_subsection(builder, "configuration/target-page-bits");
    stream_builder_be32(builder, 14);
    stream_builder_capability(builder, "x-ignore-shared");
    stream_builder_subsection(builder, "configuration/uuid");
    stream_builder_fill(builder, 0x05, 16);
    finish_stream(builder);
    reader = stream_builder_expect_complete(builder);
    info = migration_reader_info(reader);
    ck_assert_uint_eq(info->page_size, 16384);
    ck_assert_uint_eq(info->capabilities->len, 1);
    ck_assert_str_eq(info->capabilities->pdata[0], "x-ignore-shared");
    ck_assert(info->uuid_known);
    for (int i = 0; i < MIGRATION_UUID_BYTES; i++) {
        ck_assert_uint_eq(info->uuid[i], 0x05);
    }
}
END_TEST

START_TEST(configuration_is_optional)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_header(builder);
    finish_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_ptr_null(migration_reader_info(reader)->machine);
    ck_assert(!migration_reader_info(reader)->uuid_known);
    ck_assert_uint_eq(migration_reader_info(reader)->capabilities->len, 0);
}
END_TEST

START_TEST(stored_commands)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_header(builder);
    stream_builder_command(builder, 1, 0);
    stream_builder_command(builder, 2, 4);
    stream_builder_command(builder, 3, 0);
    stream_builder_command(builder, 11, 0);
    finish_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert(migration_reader_info(reader)->return_path);
    /* Behind the header, and not what is of use to others. */
    ck_assert_uint_eq(migration_reader_info(reader)->return_offset, 8);
    ck_assert_uint_eq(migration_reader_info(reader)->return_bytes, 5 + 5 + 4);
}
END_TEST

static void add_advise(StreamBuilder *builder, uint64_t page_size)
{
    stream_builder_u8(builder, 0x08);
    stream_builder_be16(builder, 3);
    stream_builder_be16(builder, 16);
    stream_builder_be64(builder, 0x201000);
    stream_builder_be64(builder, page_size);
}

START_TEST(advise_states_the_page_size)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(StreamBuilder) wrong = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_header(builder);
    add_advise(builder, 8192);
    finish_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->page_size, 8192);

    stream_builder_header(wrong);
    add_advise(wrong, 3000);
    stream_builder_expect_error(wrong, SNAP_ERROR_STREAM, "3000 bytes");
}
END_TEST

START_TEST(page_sizes_contradict)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_configuration(builder, "virt");
    stream_builder_subsection(builder, "configuration/target-page-bits");
    stream_builder_be32(builder, 12);
    add_advise(builder, 8192);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "8192 bytes, the configuration 4096 bytes");
}
END_TEST

typedef struct CommandCase {
    uint16_t command;
    uint16_t bytes;
    SnapError code;
    const char *part;
} CommandCase;

static const CommandCase refused_commands[] = {
    { 0, 0, SNAP_ERROR_UNSUPPORTED, "unknown command 0" },
    { 4, 0, SNAP_ERROR_UNSUPPORTED, "POSTCOPY_LISTEN" },
    { 5, 0, SNAP_ERROR_UNSUPPORTED, "POSTCOPY_RUN" },
    { 6, 20, SNAP_ERROR_UNSUPPORTED, "POSTCOPY_RAM_DISCARD" },
    { 7, 4, SNAP_ERROR_UNSUPPORTED, "PACKAGED" },
    { 8, 0, SNAP_ERROR_UNSUPPORTED, "ENABLE_COLO" },
    { 9, 0, SNAP_ERROR_UNSUPPORTED, "POSTCOPY_RESUME" },
    { 10, 7, SNAP_ERROR_UNSUPPORTED, "RECV_BITMAP" },
    { 12, 0, SNAP_ERROR_UNSUPPORTED, "unknown command 12" },
    { 0xffff, 0xffff, SNAP_ERROR_UNSUPPORTED, "unknown command 65535" },
    { 1, 1, SNAP_ERROR_STREAM, "OPEN_RETURN_PATH with 1 bytes" },
    { 2, 0, SNAP_ERROR_STREAM, "PING with 0 bytes" },
    { 3, 8, SNAP_ERROR_STREAM, "POSTCOPY_ADVISE with 8 bytes" },
};

START_TEST(refused_command)
{
    const CommandCase *refused = &refused_commands[_i];
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_command(builder, refused->command, refused->bytes);
    stream_builder_expect_error(builder, refused->code, refused->part);
}
END_TEST

/* Where the end marker of an ordinary stream is */
static size_t offset_of_eof(const StreamBuilder *builder)
{
    const uint8_t *brace =
        memchr(builder->bytes->data, '{', builder->bytes->len);

    ck_assert_ptr_nonnull(brace);
    return brace - builder->bytes->data - 6;
}

START_TEST(cut_anywhere_is_not_complete)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    size_t eof = offset_of_eof(builder);

    for (size_t bytes = 0; bytes < builder->bytes->len; bytes++) {
        g_autoptr(MigrationReader) reader = migration_reader_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *place = g_strdup_printf("(offset %zu)", bytes);

        ck_assert(
            migration_reader_feed(reader, builder->bytes->data, bytes, NULL));
        ck_assert_int_ne(migration_reader_phase(reader),
                         MIGRATION_PHASE_COMPLETE);
        /* QEMU takes a stream without description, and so do we. */
        if (bytes == eof + 1) {
            ck_assert(migration_reader_finish(reader, NULL));
            continue;
        }
        ck_assert(!migration_reader_finish(reader, &error));
        ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_STREAM));
        ck_assert_ptr_nonnull(strstr(error->message, "ends early, "));
        ck_assert_ptr_nonnull(strstr(error->message, place));
    }
}
END_TEST

static void expect_cut(const StreamBuilder *builder, size_t bytes,
                       const char *part)
{
    g_autoptr(StreamBuilder) cut = stream_builder_new();

    g_byte_array_append(cut->bytes, builder->bytes->data, bytes);
    stream_builder_expect_error(cut, SNAP_ERROR_STREAM, part);
}

START_TEST(messages_say_where_it_was_cut)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(StreamBuilder) begun = stream_builder_new();
    g_autoptr(StreamBuilder) ram = stream_builder_new();
    size_t devices, eof = offset_of_eof(builder);

    stream_builder_begin_ram(begun);
    stream_builder_all_ram(ram);
    devices = ram->bytes->len;
    expect_cut(builder, 5, "in the header");
    expect_cut(builder, 8, "behind the header");
    expect_cut(builder, 20, "in the configuration");
    expect_cut(builder, 60, "in the list of RAM blocks");
    expect_cut(builder, begun->bytes->len, "between two sections");
    expect_cut(builder, begun->bytes->len + 500, "in section 'ram' (id 2)");
    expect_cut(builder, devices - 500, "in a page of RAM block pc.ram");
    expect_cut(builder, devices - 7, "in section 'ram' (id 2)");
    expect_cut(builder, devices - 3, "in a section footer");
    expect_cut(builder, devices + 5, "in a section header");
    expect_cut(builder, devices + 30, "in section 'timer' (id 0)");
    expect_cut(builder, devices + 60, "behind section 'timer' (id 0)");
    expect_cut(builder, eof - 10, "in section '0000:00:02.0/vga' (id 6)");
    expect_cut(builder, eof + 3, "in the device description");
    expect_cut(builder, builder->bytes->len - 1, "in the device description");
}
END_TEST

START_TEST(no_description)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(MigrationReader) reader = NULL;
    size_t eof = offset_of_eof(builder);

    g_byte_array_set_size(builder->bytes, eof + 1);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->stream_bytes, eof + 1);
    ck_assert_uint_eq(migration_reader_info(reader)->devices, 3);
}
END_TEST

START_TEST(zeros_behind_the_end)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(MigrationReader) described = NULL;
    g_autoptr(MigrationReader) bare = NULL;
    size_t eof = offset_of_eof(builder), all = builder->bytes->len;

    stream_builder_fill(builder, 0, 70000);
    described = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(described)->stream_bytes, all);

    g_byte_array_set_size(builder->bytes, eof + 1);
    stream_builder_fill(builder, 0, 70000);
    bare = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(bare)->stream_bytes, eof + 1);
}
END_TEST

START_TEST(rubbish_behind_the_end)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(MigrationReader) described = NULL;
    size_t eof = offset_of_eof(builder), all = builder->bytes->len;

    stream_builder_fill(builder, 0x77, 70000);
    described = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(described)->stream_bytes, all);

    /* Without a description it cannot be told from more device state. */
    g_byte_array_set_size(builder->bytes, eof + 1);
    stream_builder_fill(builder, 0x77, 70000);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section '0000:00:02.0/vga' (id 6)");
}
END_TEST

START_TEST(failure_stays)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(GError) first = NULL;
    g_autoptr(GError) second = NULL;
    g_autoptr(GError) third = NULL;

    ck_assert(!migration_reader_feed(reader, "wrong", 5, &first));
    ck_assert(!migration_reader_feed(reader, "QEVM", 4, &second));
    ck_assert(!migration_reader_finish(reader, &third));
    ck_assert_str_eq(first->message, second->message);
    ck_assert_str_eq(first->message, third->message);
    /* Without anybody to tell it to, it is a failure all the same. */
    ck_assert(!migration_reader_finish(reader, NULL));
}
END_TEST

START_TEST(end_of_input_is_final)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(MigrationReader) reader = migration_reader_new();

    ck_assert(migration_reader_feed(reader, builder->bytes->data, 100, NULL));
    ck_assert(!migration_reader_finish(reader, NULL));
    ck_assert(!migration_reader_feed(reader, builder->bytes->data + 100,
                                     builder->bytes->len - 100, NULL));
    ck_assert(!migration_reader_finish(reader, NULL));
}
END_TEST

/* Change some bytes of @bytes, add some, or drop some. */
static void mutate(GRand *random, GByteArray *bytes)
{
    int changes = g_rand_int_range(random, 1, 4);

    for (int i = 0; i < changes && bytes->len > 0; i++) {
        guint at = g_rand_int_range(random, 0, bytes->len);
        uint8_t value = g_rand_int(random);
        guint run = g_rand_int_range(random, 1, 9);

        switch (g_rand_int_range(random, 0, 4)) {
        case 0:
            bytes->data[at] = value;
            break;
        case 1:
            bytes->data[at] ^= 1 << (value & 7);
            break;
        case 2:
            g_byte_array_remove_range(bytes, at, MIN(run, bytes->len - at));
            break;
        default:
            memset(bytes->data + at, value & 1 ? 0xff : 0,
                   MIN(run, bytes->len - at));
            break;
        }
    }
}

START_TEST(mutations_do_no_harm)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(GRand) random = g_rand_new_with_seed(_i);
    guint complete = 0;

    for (int i = 0; i < 2000; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_autofree char *whole = NULL;
        g_autofree char *cut = NULL;

        g_byte_array_append(bytes, builder->bytes->data, builder->bytes->len);
        mutate(random, bytes);
        whole = stream_builder_outcome(bytes->data, bytes->len, 0);
        cut = stream_builder_outcome(bytes->data, bytes->len,
                                     g_rand_int_range(random, 1, 300));
        ck_assert_str_eq(whole, cut);
        complete += strstr(whole, "error -1") != NULL;
    }
    /* Some changes hit only contents of pages; others must be noticed. */
    ck_assert_uint_gt(complete, 200);
    ck_assert_uint_lt(complete, 1950);
}
END_TEST

static Suite *migration_reader_suite(void)
{
    Suite *suite = suite_create("migration-reader");
    TCase *tcase = tcase_create("frame");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, ordinary_stream);
    tcase_add_test(tcase, phases_come_in_order);
    tcase_add_test(tcase, clock_is_known_early);
    tcase_add_test(tcase, not_a_stream);
    tcase_add_test(tcase, nothing_at_all);
    tcase_add_test(tcase, obsolete_version);
    tcase_add_test(tcase, no_ram);
    tcase_add_loop_test(tcase, wrong_frame, 0, G_N_ELEMENTS(wrong_frames));
    tcase_add_test(tcase, configuration_with_subsections);
    tcase_add_test(tcase, configuration_is_optional);
    tcase_add_test(tcase, stored_commands);
    tcase_add_test(tcase, advise_states_the_page_size);
    tcase_add_test(tcase, page_sizes_contradict);
    tcase_add_loop_test(tcase, refused_command, 0,
                        G_N_ELEMENTS(refused_commands));
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("completeness");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, cut_anywhere_is_not_complete);
    tcase_add_test(tcase, messages_say_where_it_was_cut);
    tcase_add_test(tcase, no_description);
    tcase_add_test(tcase, zeros_behind_the_end);
    tcase_add_test(tcase, rubbish_behind_the_end);
    tcase_add_test(tcase, failure_stays);
    tcase_add_test(tcase, end_of_input_is_final);
    tcase_add_loop_test(tcase, mutations_do_no_harm, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(migration_reader_suite());
}
