/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Sections other than `ram' in the stream reader: those that show their own
 * end, and those without any length, whose ends have to be found.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "run-suite.h"
#include "stream-builder.h"

#define RAM_ID   STREAM_BUILDER_RAM_ID
#define OTHER_ID 21
#define VFIO_TAG UINT64_C(0xffffffffef100000)

/* More than the reader keeps of device state. */
#define TOO_LARGE_TO_KEEP (17 * 1024 * 1024)

/* Begin a stream whose RAM is surrounded by sections of @name. */
static StreamBuilder *begin_iterable(const char *name, uint32_t version)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_begin_ram(builder);
    stream_builder_start(builder, OTHER_ID, name, version);
    return builder;
}

static void end_iterable(StreamBuilder *builder)
{
    stream_builder_footer(builder, OTHER_ID);
    stream_builder_part(builder, RAM_ID);
    stream_builder_page(builder, "pc.ram", 0, 0xaa, 4096);
    stream_builder_ram_stop(builder);
}

/* One page between each two of them shows that none swallows the RAM. */
static void expect_iterable(StreamBuilder *builder, unsigned pages)
{
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_device(builder, 3, "cpu", 100);
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->data_pages, pages);
    ck_assert_uint_eq(migration_reader_info(reader)->devices, 1);
}

START_TEST(dirty_bitmap)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("dirty-bitmap", 1);

    stream_builder_u8(builder, 0x1c);
    stream_builder_name(builder, "drive0");
    stream_builder_name(builder, "bitmap0");
    stream_builder_be32(builder, 65536);
    stream_builder_u8(builder, 1);
    stream_builder_u8(builder, 0x01);
    end_iterable(builder);
    stream_builder_part(builder, OTHER_ID);
    stream_builder_u8(builder, 0x40);
    stream_builder_be64(builder, 0);
    stream_builder_be32(builder, 100);
    stream_builder_be64(builder, 300);
    stream_builder_fill(builder, 0x01, 300);
    stream_builder_u8(builder, 0x43);
    stream_builder_be64(builder, 100);
    stream_builder_be32(builder, 100);
    end_iterable(builder);
    stream_builder_end(builder, OTHER_ID);
    stream_builder_u8(builder, 0x24);
    stream_builder_name(builder, "bitmap0");
    stream_builder_u8(builder, 0x01);
    end_iterable(builder);
    expect_iterable(builder, 3);
}
END_TEST

START_TEST(block_device)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("block", 1);

    stream_builder_be64(builder, 2048 << 9 | 0x01);
    stream_builder_name(builder, "drive0");
    stream_builder_fill(builder, 0x02, 1024 * 1024);
    stream_builder_be64(builder, 4096 << 9 | 0x09);
    stream_builder_name(builder, "drive0");
    stream_builder_be64(builder, 50 << 9 | 0x04);
    stream_builder_be64(builder, 0x02);
    end_iterable(builder);
    expect_iterable(builder, 1);
}
END_TEST

START_TEST(hash_page_table)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("spapr/htab", 1);

    stream_builder_be32(builder, 24);
    end_iterable(builder);
    stream_builder_part(builder, OTHER_ID);
    stream_builder_be32(builder, 0);
    stream_builder_be32(builder, 77);
    stream_builder_be16(builder, 2);
    stream_builder_be16(builder, 5);
    stream_builder_fill(builder, 0, 2 * 16);
    stream_builder_be64(builder, 0);
    end_iterable(builder);
    stream_builder_end(builder, OTHER_ID);
    stream_builder_be32(builder, UINT32_MAX);
    end_iterable(builder);
    expect_iterable(builder, 3);
}
END_TEST

START_TEST(storage_attributes)
{
    g_autoptr(StreamBuilder)
        builder = begin_iterable("s390-storage_attributes", 0);

    stream_builder_be64(builder, 0x1000 | 0x2);
    stream_builder_be64(builder, 400);
    stream_builder_fill(builder, 0x01, 400);
    stream_builder_be64(builder, 0x8);
    stream_builder_be64(builder, 0x1);
    end_iterable(builder);
    expect_iterable(builder, 1);
}
END_TEST

START_TEST(pbs_state)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("pbs-state", 1);

    stream_builder_be64(builder, 33);
    stream_builder_fill(builder, 0x7e, 33);
    end_iterable(builder);
    expect_iterable(builder, 1);
}
END_TEST

/* Gigabytes of device data do not count as opaque; the configuration does. */
START_TEST(vfio)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("0000:00:05.0/vfio", 1);

    stream_builder_be64(builder, VFIO_TAG + 3);
    stream_builder_be64(builder, VFIO_TAG + 1);
    end_iterable(builder);
    stream_builder_part(builder, OTHER_ID);
    stream_builder_be64(builder, VFIO_TAG + 4);
    stream_builder_be64(builder, TOO_LARGE_TO_KEEP);
    stream_builder_fill(builder, 0x7e, TOO_LARGE_TO_KEEP);
    stream_builder_be64(builder, VFIO_TAG + 5);
    stream_builder_be64(builder, VFIO_TAG + 1);
    end_iterable(builder);
    stream_builder_end(builder, OTHER_ID);
    stream_builder_be64(builder, VFIO_TAG + 2);
    stream_builder_fill(builder, 0x33, 500);
    stream_builder_be64(builder, VFIO_TAG + 1);
    end_iterable(builder);
    expect_iterable(builder, 3);
}
END_TEST

typedef struct IterableCase {
    const char *name;
    uint32_t version;
    uint64_t word;
    const char *part;
} IterableCase;

static const IterableCase wrong_iterables[] = {
    { "block", 1, 0x3, "'block' (id 21) cannot hold a record that begins" },
    { "s390-storage_attributes", 0, 0x4, "begins with 0x4" },
    { "s390-storage_attributes", 0, 0x2, "is beyond any stream" },
    { "dirty-bitmap", 1, UINT64_C(0x80) << 56, "begins with 0x80" },
    { "dirty-bitmap", 1, UINT64_C(0x30) << 56, "begins with 0x30" },
    { "pbs-state", 1, UINT64_MAX, "is beyond any stream" },
};

START_TEST(wrong_iterable)
{
    const IterableCase *wrong = &wrong_iterables[_i];
    g_autoptr(StreamBuilder)
        builder = begin_iterable(wrong->name, wrong->version);

    stream_builder_be64(builder, wrong->word);
    stream_builder_be64(builder, UINT64_MAX);
    stream_builder_fill(builder, 0, 100);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, wrong->part);
}
END_TEST

START_TEST(unknown_iterable)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("newfangled", 7);

    stream_builder_fill(builder, 0x7e, 1000);
    end_iterable(builder);
    stream_builder_part(builder, OTHER_ID);
    stream_builder_fill(builder, 0x01, 70000);
    end_iterable(builder);
    stream_builder_end(builder, OTHER_ID);
    end_iterable(builder);
    expect_iterable(builder, 3);
}
END_TEST

/* Known by name, but its version says that the format is another one. */
START_TEST(iterable_of_other_version)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("dirty-bitmap", 2);

    stream_builder_fill(builder, 0xf0, 1000);
    end_iterable(builder);
    expect_iterable(builder, 1);
}
END_TEST

START_TEST(unknown_iterable_too_large_to_keep)
{
    g_autoptr(StreamBuilder) builder = begin_iterable("newfangled", 7);

    stream_builder_fill(builder, 0x33, TOO_LARGE_TO_KEEP);
    end_iterable(builder);
    expect_iterable(builder, 1);
}
END_TEST

/* As virtio-mem has it: a device in front of the RAM */
static StreamBuilder *begin_early(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc-q35-9.0");
    stream_builder_full(builder, 40, "0000:00:03.0/virtio-mem-device-early", 0);
    stream_builder_fill(builder, 0x11, 100);
    return builder;
}

static void end_early_without_description(StreamBuilder *builder)
{
    stream_builder_footer(builder, 40);
    stream_builder_ram_start(builder, 0x4000);
    stream_builder_block(builder, "mem0", 0x4000);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, RAM_ID);
    stream_builder_page(builder, "mem0", 0x2000, 0, 4096);
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 3, "cpu", 100);
    stream_builder_eof(builder);
}

static void end_early(StreamBuilder *builder)
{
    end_early_without_description(builder);
    stream_builder_description(builder);
}

START_TEST(device_before_ram)
{
    g_autoptr(StreamBuilder) builder = begin_early();
    g_autoptr(MigrationReader) reader = migration_reader_new();

    end_early(builder);
    stream_builder_expect_devices(builder, 2);
    /* The phase of devices is the one behind the RAM. */
    ck_assert(migration_reader_feed(reader, builder->bytes->data, 120, NULL));
    ck_assert_int_eq(migration_reader_phase(reader), MIGRATION_PHASE_SETUP);
}
END_TEST

START_TEST(commands_behind_early_device)
{
    g_autoptr(StreamBuilder) builder = begin_early();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_footer(builder, 40);
    stream_builder_command(builder, 1, 0);
    stream_builder_full(builder, 41, "other-early", 0);
    end_early(builder);
    /* The second footer of 40 is in the payload of the other one. */
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, "ends early");

    g_byte_array_set_size(builder->bytes, 0);
    g_string_set_size(builder->devices, 0);
    stream_builder_header(builder);
    stream_builder_device(builder, 41, "other-early", 10);
    stream_builder_command(builder, 1, 0);
    stream_builder_full(builder, 40, "early", 0);
    end_early(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert(migration_reader_info(reader)->return_path);
    ck_assert_uint_eq(migration_reader_info(reader)->devices, 3);
}
END_TEST

START_TEST(bogus_header_before_ram)
{
    g_autoptr(StreamBuilder) builder = begin_early();

    stream_builder_bogus_header(builder, 40);
    end_early(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

/* The RAM would be swallowed, if the region did not become full. */
START_TEST(bogus_header_before_much_ram)
{
    g_autoptr(StreamBuilder) builder = begin_early();
    g_autoptr(MigrationReader) reader = NULL;
    const uint64_t pages = TOO_LARGE_TO_KEEP / 4096;

    stream_builder_bogus_header(builder, 40);
    stream_builder_footer(builder, 40);
    stream_builder_ram_start(builder, pages * 4096);
    stream_builder_block(builder, "mem0", pages * 4096);
    stream_builder_ram_stop(builder);
    stream_builder_part(builder, RAM_ID);
    for (uint64_t i = 0; i < pages; i++) {
        stream_builder_page(builder, i == 0 ? "mem0" : NULL, i * 4096, i, 4096);
    }
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 3, "cpu", 100);
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->data_pages, pages);
    ck_assert_uint_eq(migration_reader_info(reader)->devices, 2);
}
END_TEST

/* Without a description the end of input has to do. */
START_TEST(bogus_header_before_ram_without_description)
{
    g_autoptr(StreamBuilder) builder = begin_early();

    stream_builder_bogus_header(builder, 40);
    end_early_without_description(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

static TCase *iterable_case(void)
{
    TCase *tcase = tcase_create("iterable");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, dirty_bitmap);
    tcase_add_test(tcase, block_device);
    tcase_add_test(tcase, hash_page_table);
    tcase_add_test(tcase, storage_attributes);
    tcase_add_test(tcase, pbs_state);
    tcase_add_test(tcase, vfio);
    tcase_add_loop_test(tcase, wrong_iterable, 0,
                        G_N_ELEMENTS(wrong_iterables));
    tcase_add_test(tcase, unknown_iterable);
    tcase_add_test(tcase, iterable_of_other_version);
    tcase_add_test(tcase, unknown_iterable_too_large_to_keep);
    return tcase;
}

static TCase *early_case(void)
{
    TCase *tcase = tcase_create("early");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, device_before_ram);
    tcase_add_test(tcase, commands_behind_early_device);
    tcase_add_test(tcase, bogus_header_before_ram);
    tcase_add_test(tcase, bogus_header_before_much_ram);
    tcase_add_test(tcase, bogus_header_before_ram_without_description);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("migration-sections");

    suite_add_tcase(suite, iterable_case());
    suite_add_tcase(suite, early_case());
    return run_suite(suite);
}
