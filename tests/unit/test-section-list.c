/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the stream reader says of each section: who it is, where it is, and how
 * many bytes it takes. That these add up is checked in stream-builder.c, for
 * every complete stream of all tests.
 */
#include <check.h>
#include <string.h>

#include "run-suite.h"
#include "stream-builder.h"

#define RAM_ID STREAM_BUILDER_RAM_ID

/* Header and footer of a FULL or START with a name of so many bytes */
#define FRAME_BYTES(name) (1 + 4 + 1 + (name) + 4 + 4 + 5)

/* More than the reader keeps of device state. */
#define TOO_LARGE_TO_KEEP (17 * 1024 * 1024)

/* The section at @index, which must have that name. */
static const MigrationSection *section_at(const MigrationReader *reader,
                                          guint index, const char *name)
{
    const GPtrArray *sections = migration_reader_info(reader)->sections;
    const MigrationSection *section;

    ck_assert_uint_lt(index, sections->len);
    section = sections->pdata[index];
    ck_assert_str_eq(section->name, name);
    return section;
}

/* A device with footer, where its header is, and what it holds. */
static void expect_device(const MigrationReader *reader, guint index,
                          const char *name, uint64_t offset, uint64_t payload)
{
    const MigrationSection *section = section_at(reader, index, name);

    ck_assert(section->device);
    ck_assert(section->delimited);
    ck_assert_uint_eq(section->offset, offset);
    ck_assert_uint_eq(section->payload_bytes, payload);
    ck_assert_uint_eq(section->bytes, payload + FRAME_BYTES(strlen(name)));
}

START_TEST(ordinary_stream)
{
    g_autoptr(StreamBuilder) builder = stream_builder_ordinary();
    g_autoptr(StreamBuilder) ram = stream_builder_new();
    g_autoptr(MigrationReader) reader = stream_builder_expect_complete(builder);
    const MigrationInfo *info = migration_reader_info(reader);
    const MigrationSection *section;
    const char *text;

    stream_builder_all_ram(ram);
    ck_assert_uint_eq(info->sections->len, 4);
    section = section_at(reader, 0, "ram");
    ck_assert(!section->device);
    ck_assert(section->delimited);
    ck_assert_uint_eq(section->version, 4);
    ck_assert_uint_eq(section->offset, 8 + 5 + strlen("pc-i440fx-7.2"));
    ck_assert_uint_eq(section->bytes, ram->bytes->len - section->offset);
    expect_device(reader, 1, "timer", ram->bytes->len, 24);
    ck_assert_uint_eq(section_at(reader, 1, "timer")->version, 2);
    expect_device(reader, 2, "cpu", ram->bytes->len + 24 + FRAME_BYTES(5), 40);
    ck_assert_uint_eq(section_at(reader, 3, "0000:00:02.0/vga")->payload_bytes,
                      30);

    ck_assert_uint_eq(info->undelimited_bytes, 0);
    text = (const char *)builder->bytes->data + info->description_offset;
    ck_assert(g_str_has_prefix(text, "{\"page_size\""));
    ck_assert_uint_eq(info->description_offset + info->description_bytes,
                      builder->bytes->len);
}
END_TEST

START_TEST(no_description)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_all_ram(builder);
    stream_builder_device(builder, 5, "cpu", 10);
    stream_builder_eof(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->description_offset, 0);
    ck_assert_uint_eq(migration_reader_info(reader)->description_bytes, 0);
    ck_assert_uint_eq(section_at(reader, 1, "cpu")->payload_bytes, 10);
}
END_TEST

START_TEST(instances)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_all_ram(builder);
    for (uint32_t i = 0; i < 3; i++) {
        stream_builder_full(builder, 10 + i, "cpu", 2 - i);
        stream_builder_footer(builder, 10 + i);
    }
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(section_at(reader, 1 + i, "cpu")->instance, 2 - i);
        ck_assert_uint_eq(section_at(reader, 1 + i, "cpu")->payload_bytes, 0);
    }
}
END_TEST

/* A piece of an iterable section of unknown format, and one of RAM behind it */
static void add_piece(StreamBuilder *builder, uint32_t id, size_t bytes)
{
    stream_builder_fill(builder, 0x33, bytes);
    stream_builder_footer(builder, id);
    stream_builder_part(builder, RAM_ID);
    stream_builder_ram_stop(builder);
}

/* Early devices, and pieces of iterable sections with and without a length */
START_TEST(pieces_add_up)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    const uint64_t vfio = UINT64_C(0xffffffffef100000);

    stream_builder_header(builder);
    stream_builder_command(builder, 1, 0);
    stream_builder_command(builder, 2, 4);
    stream_builder_device(builder, 40, "early", 77);
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_start(builder, 20, "newfangled", 3);
    add_piece(builder, 20, 1000);
    stream_builder_start(builder, 21, "pci/vfio", 1);
    stream_builder_be64(builder, vfio + 1);
    add_piece(builder, 21, 0);
    stream_builder_part(builder, 20);
    add_piece(builder, 20, 500);
    stream_builder_end(builder, 21);
    stream_builder_be64(builder, vfio + 2);
    add_piece(builder, 21, 300);
    stream_builder_end(builder, 20);
    add_piece(builder, 20, 0);
    stream_builder_command(builder, 11, 0);
    stream_builder_device(builder, 3, "cpu", 10);
    stream_builder_end_stream(builder);

    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->sections->len, 5);
    expect_device(reader, 0, "early", 8 + 5 + 9, 77);
    ck_assert_uint_eq(section_at(reader, 1, "ram")->bytes,
                      FRAME_BYTES(3) + 16 + 5 * (5 + 8 + 5));
    ck_assert_uint_eq(section_at(reader, 2, "newfangled")->bytes,
                      FRAME_BYTES(10) + 1000 + 10 + 500 + 10);
    ck_assert_uint_eq(section_at(reader, 2, "newfangled")->version, 3);
    ck_assert(!section_at(reader, 2, "newfangled")->device);
    ck_assert_uint_eq(section_at(reader, 3, "pci/vfio")->bytes,
                      FRAME_BYTES(8) + 8 + 10 + 8 + 300);
    ck_assert_uint_eq(section_at(reader, 4, "cpu")->payload_bytes, 10);
    ck_assert_uint_eq(migration_reader_info(reader)->undelimited_bytes, 0);
}
END_TEST

/* A section that is settled before its end is seen is as long as it is. */
START_TEST(device_too_large_to_keep)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_all_ram(builder);
    stream_builder_timer(builder, 0, 5);
    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_device(builder, 8, "virtio-gpu", 2 * TOO_LARGE_TO_KEEP);
    stream_builder_device(builder, 9, "last", 6);
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(section_at(reader, 2, "cpu")->payload_bytes, 5);
    ck_assert_uint_eq(section_at(reader, 3, "virtio-gpu")->payload_bytes,
                      2 * TOO_LARGE_TO_KEEP);
    ck_assert_uint_eq(section_at(reader, 4, "last")->payload_bytes, 6);
    ck_assert(section_at(reader, 3, "virtio-gpu")->delimited);
}
END_TEST

/*
 * What was settled turned out wrong: nothing of it is said, but that of the
 * early device stays.
 */
START_TEST(ends_that_cannot_be_told)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    uint64_t before;

    stream_builder_header(builder);
    stream_builder_device(builder, 40, "early", 77);
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    before = builder->bytes->len;
    stream_builder_full(builder, 8, "virtio-gpu", 0);
    stream_builder_bogus_header(builder, 8);
    stream_builder_fill(builder, 0x77, TOO_LARGE_TO_KEEP);
    stream_builder_footer(builder, 8);
    stream_builder_device(builder, 9, "last", 6);
    before = builder->bytes->len - before;
    stream_builder_end_stream(builder);

    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->sections->len, 4);
    ck_assert_uint_eq(section_at(reader, 0, "early")->payload_bytes, 77);
    ck_assert(!section_at(reader, 2, "virtio-gpu")->delimited);
    ck_assert(section_at(reader, 3, "last")->device);
    ck_assert_uint_eq(section_at(reader, 3, "last")->bytes, 0);
    ck_assert_uint_eq(migration_reader_info(reader)->undelimited_bytes, before);
}
END_TEST

START_TEST(without_footers)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;
    const MigrationSection *cpu;

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 0);
    stream_builder_be64(builder, 0x10);
    stream_builder_full(builder, 5, "timer", 0);
    stream_builder_fill(builder, 0x11, 24);
    stream_builder_full(builder, 6, "cpu", 1);
    stream_builder_fill(builder, 0x7e, 30);
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(section_at(reader, 0, "ram")->bytes,
                      FRAME_BYTES(3) - 5 + 16);
    ck_assert(section_at(reader, 0, "ram")->delimited);
    ck_assert_uint_eq(section_at(reader, 1, "timer")->payload_bytes, 24);
    cpu = section_at(reader, 2, "cpu");
    ck_assert(cpu->device);
    ck_assert(!cpu->delimited);
    ck_assert_uint_eq(cpu->instance, 1);
    ck_assert_uint_eq(cpu->version, 2);
    ck_assert_uint_eq(cpu->payload_bytes, 30);
    ck_assert_uint_eq(cpu->bytes, 30 + FRAME_BYTES(3) - 5);
    ck_assert_uint_eq(migration_reader_info(reader)->undelimited_bytes, 0);
}
END_TEST

/* A device, perhaps commands of a source with a return path, and the rest */
static MigrationReader *read_with_early_device(bool commands)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc");
    stream_builder_capability(builder, "x-ignore-shared");
    stream_builder_device(builder, 40, "early", 77);
    if (commands) {
        stream_builder_command(builder, 1, 0);
        stream_builder_command(builder, 2, 4);
    }
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    stream_builder_device(builder, 3, "cpu", 10);
    stream_builder_end_stream(builder);
    return stream_builder_expect_complete(builder);
}

START_TEST(without_return_path)
{
    g_autoptr(MigrationReader) with = read_with_early_device(true);
    g_autoptr(MigrationReader) without = read_with_early_device(false);
    const MigrationInfo *wanted = migration_reader_info(without);
    g_autoptr(MigrationInfo)
        info = migration_info_copy(migration_reader_info(with));

    migration_reader_free(g_steal_pointer(&with));
    migration_info_take_out_return_path(info);
    ck_assert_str_eq(info->capabilities->pdata[0], "x-ignore-shared");
    ck_assert_uint_eq(info->stream_bytes, wanted->stream_bytes);
    ck_assert_uint_eq(info->framing_bytes, wanted->framing_bytes);
    ck_assert_uint_eq(info->description_offset, wanted->description_offset);
    ck_assert(!info->return_path);
    ck_assert_uint_eq(info->sections->len, wanted->sections->len);
    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];
        const MigrationSection *same = wanted->sections->pdata[i];

        ck_assert_str_eq(section->name, same->name);
        ck_assert_uint_eq(section->offset, same->offset);
        ck_assert_uint_eq(section->bytes, same->bytes);
        ck_assert_uint_eq(section->payload_offset, same->payload_offset);
        ck_assert_uint_eq(section->payload_bytes, same->payload_bytes);
    }
}
END_TEST

START_TEST(more_sections_than_there_can_be)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 0);
    stream_builder_ram_stop(builder);
    for (uint32_t i = 0; i < 65535; i++) {
        stream_builder_start(builder, 100 + i, "dirty-bitmap", 1);
        stream_builder_u8(builder, 1);
        stream_builder_footer(builder, 100 + i);
    }
    stream_builder_eof(builder);
    stream_builder_expect_devices(builder, 0);
    g_byte_array_set_size(builder->bytes, builder->bytes->len - 1);
    stream_builder_device(builder, 3, "cpu", 10);
    stream_builder_end_stream(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "more than 65536 sections");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("section-list");
    TCase *tcase = tcase_create("sections");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, ordinary_stream);
    tcase_add_test(tcase, no_description);
    tcase_add_test(tcase, instances);
    tcase_add_test(tcase, pieces_add_up);
    tcase_add_test(tcase, device_too_large_to_keep);
    tcase_add_test(tcase, ends_that_cannot_be_told);
    tcase_add_test(tcase, without_footers);
    tcase_add_test(tcase, without_return_path);
    tcase_add_test(tcase, more_sections_than_there_can_be);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
