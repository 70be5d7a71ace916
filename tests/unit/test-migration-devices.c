/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Devices in the stream reader, which carry no lengths: where each of them
 * ends, what a description at the end is good for, and what can be said of
 * streams without footers.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "run-suite.h"
#include "stream-builder.h"

#define RAM_ID STREAM_BUILDER_RAM_ID

/* More than the reader keeps of device state. */
#define TOO_LARGE_TO_KEEP (17 * 1024 * 1024)

static StreamBuilder *begin_devices(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_all_ram(builder);
    stream_builder_timer(builder, 0, 5);
    return builder;
}

START_TEST(footers_inside_payload)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    for (int i = 0; i < 256; i++) {
        stream_builder_footer(builder, 7);
        stream_builder_u8(builder, i == 0x04 || i == 0x01 ? 0x09 : i);
        stream_builder_fill(builder, 0xff, 20);
    }
    stream_builder_footer(builder, 7);
    stream_builder_device(builder, 8, "last", 0);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

START_TEST(bogus_header_in_device)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    stream_builder_bogus_header(builder, 7);
    stream_builder_footer(builder, 7);
    stream_builder_device(builder, 8, "last", 0);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

/* The same, but the bogus section even ends where another one begins. */
START_TEST(bogus_section_in_device)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    stream_builder_bogus_header(builder, 7);
    stream_builder_footer(builder, 99);
    stream_builder_bogus_full(builder, 98, "more");
    stream_builder_footer(builder, 98);
    stream_builder_eof(builder);
    stream_builder_fill(builder, 0x05, 10);
    stream_builder_footer(builder, 7);
    stream_builder_device(builder, 8, "last", 0);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

/*
 * The chain is misled, so the stream would not be complete without its
 * description: a wrong end must not be chosen to make it so.
 */
START_TEST(bogus_header_without_description)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    stream_builder_bogus_header(builder, 7);
    stream_builder_footer(builder, 7);
    stream_builder_eof(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'bogus' (id 99)");
}
END_TEST

/* In the header of the device that was begun last. */
static void set_version(StreamBuilder *builder, uint32_t version)
{
    g_byte_array_set_size(builder->bytes,
                          builder->bytes->len - sizeof(version));
    stream_builder_be32(builder, version);
}

/* The EEPROM of an i82550 has such a version. */
START_TEST(version_that_is_a_date)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "0000:00:03.0/eeprom", 0);
    set_version(builder, 20061113);
    stream_builder_footer(builder, 7);
    stream_builder_device(builder, 8, "last", 10);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

START_TEST(version_that_nothing_has)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    set_version(builder, 0x7e7e7e7e);
    stream_builder_footer(builder, 7);
    stream_builder_end_stream(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'timer' (id 0)");
}
END_TEST

/* Not all that ends in 7e 00 00 00 00 00 is a stream. */
START_TEST(zero_id_is_no_end)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_all_ram(builder);
    stream_builder_full(builder, 0, "apic", 0);
    stream_builder_fill(builder, 0x11, 50);
    stream_builder_footer(builder, 0);
    stream_builder_fill(builder, 0, 20);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "behind section 'apic' (id 0)");
    /* With a description there is no doubt. */
    g_byte_array_set_size(builder->bytes, builder->bytes->len - 20);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 1);
}
END_TEST

START_TEST(many_zeros_behind_zero_id)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();

    stream_builder_all_ram(builder);
    stream_builder_full(builder, 0, "virtio-gpu", 0);
    stream_builder_footer(builder, 0);
    stream_builder_fill(builder, 0, TOO_LARGE_TO_KEEP);
    stream_builder_footer(builder, 0);
    stream_builder_device(builder, 9, "last", 5);
    stream_builder_eof(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

START_TEST(timer_payload_like_a_footer)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_all_ram(builder);
    stream_builder_full(builder, 0, "timer", 0);
    stream_builder_be64(builder, 0x7e);
    stream_builder_be64(builder, 0);
    stream_builder_be64(builder, 4711);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, "'timer'");
    stream_builder_footer(builder, 0);
    stream_builder_end_stream(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_int_eq(migration_reader_info(reader)->vm_clock_ns, 4711);
}
END_TEST

START_TEST(description_in_device)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    stream_builder_eof(builder);
    stream_builder_description_text(builder, "{\"devices\": []}");
    stream_builder_footer(builder, 7);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

START_TEST(description_without_closing_brace)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_eof(builder);
    stream_builder_description_text(builder, "{\"devices\": []");
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'cpu' (id 7)");
}
END_TEST

/* What is delimited is complete, whatever the description lists. */
START_TEST(description_of_other_devices)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_bogus_full(builder, 7, "not-listed");
    stream_builder_footer(builder, 7);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

START_TEST(description_that_is_no_json)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_eof(builder);
    stream_builder_description_text(builder, "{\"devices\": [[}");
    stream_builder_expect_devices(builder, 1);
}
END_TEST

START_TEST(description_with_nul)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_end_stream(builder);
    builder->bytes->data[builder->bytes->len - 5] = '\0';
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'cpu' (id 7)");
}
END_TEST

START_TEST(huge_description_is_no_allocation)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_eof(builder);
    stream_builder_u8(builder, 0x06);
    stream_builder_be32(builder, UINT32_MAX);
    stream_builder_text(builder, "{\"devices\": []}");
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED,
                                "of more than 67108864 bytes");
}
END_TEST

START_TEST(large_description)
{
    g_autoptr(StreamBuilder) builder = begin_devices();
    g_autofree char *name = g_strnfill(100, 'n');

    for (uint32_t i = 1; i < 20000; i++) {
        g_string_append_printf(builder->devices,
                               ", {\"%s\": [{\"%s\": \"%s\"}, 1], \"name\": "
                               "\"d%u\", \"instance_id\": %u}",
                               name, name, name, i, i);
        stream_builder_u8(builder, 0x04);
        stream_builder_be32(builder, 100 + i);
        g_snprintf(name, 100, "d%u", i);
        stream_builder_name(builder, name);
        memset(name, 'n', 99);
        stream_builder_be32(builder, i);
        stream_builder_be32(builder, 1);
        stream_builder_footer(builder, 100 + i);
    }
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 20000);
}
END_TEST

/* A graphics card with much memory, amid other devices */
START_TEST(device_too_large_to_keep)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_full(builder, 8, "virtio-gpu", 0);
    stream_builder_fill(builder, 0x7e, 2 * TOO_LARGE_TO_KEEP);
    stream_builder_footer(builder, 8);
    stream_builder_device(builder, 9, "last", 5);
    stream_builder_eof(builder);
    stream_builder_expect_devices(builder, 4);
    stream_builder_description(builder);
    stream_builder_expect_devices(builder, 4);
}
END_TEST

/*
 * Where the region gets full, something begins that could be a description: it
 * is seen through to where it turns out to be none.
 */
START_TEST(text_where_the_region_is_full)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 8, "virtio-gpu", 0);
    stream_builder_fill(builder, 0x77, 16 * 1024 * 1024 - 1000);
    stream_builder_eof(builder);
    stream_builder_u8(builder, 0x06);
    stream_builder_be32(builder, 0x20000000 >> (4 * _i));
    stream_builder_text(builder, "{");
    stream_builder_fill(builder, 'x', 100000);
    stream_builder_fill(builder, 0, 1000);
    stream_builder_footer(builder, 8);
    stream_builder_device(builder, 9, "last", 5);
    stream_builder_eof(builder);
    stream_builder_expect_devices(builder, 3);
    stream_builder_description(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

/* What was settled when the region was full is wrong. */
START_TEST(large_device_with_bogus_header)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 8, "virtio-gpu", 0);
    stream_builder_bogus_header(builder, 8);
    stream_builder_fill(builder, 0x77, TOO_LARGE_TO_KEEP);
    stream_builder_footer(builder, 8);
    stream_builder_device(builder, 9, "last", 5);
    stream_builder_eof(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'bogus' (id 99)");
    stream_builder_description(builder);
    stream_builder_expect_devices(builder, 3);
}
END_TEST

START_TEST(cut_large_device)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 8, "virtio-gpu", 0);
    stream_builder_fill(builder, 0x77, TOO_LARGE_TO_KEEP);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "in section 'virtio-gpu' (id 8)");
}
END_TEST

START_TEST(much_padding)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_device(builder, 7, "cpu", 5);
    stream_builder_eof(builder);
    stream_builder_fill(builder, 0, TOO_LARGE_TO_KEEP);
    stream_builder_expect_devices(builder, 2);
    stream_builder_u8(builder, 0x55);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "a byte 0x55 behind the end marker");
}
END_TEST

/* Each header in the payload could be the next section; trying takes long. */
START_TEST(too_many_ways)
{
    g_autoptr(StreamBuilder) builder = begin_devices();

    stream_builder_full(builder, 7, "cpu", 0);
    for (uint32_t i = 0; i < 3000; i++) {
        stream_builder_footer(builder, 7);
        stream_builder_bogus_full(builder, 100 + i, "last");
    }
    stream_builder_fill(builder, 0x33, 4 * 1024 * 1024);
    stream_builder_footer(builder, 7);
    stream_builder_device(builder, 9, "last", 10);
    stream_builder_end_stream(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM, "too many ways");
}
END_TEST

static void stop_without_footer(StreamBuilder *builder)
{
    stream_builder_be64(builder, 0x10);
}

/* As machine types up to 2.4 write it */
static StreamBuilder *begin_without_footers(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_header(builder);
    stream_builder_ram_start(builder, 16 * 4096);
    stream_builder_block(builder, "pc.ram", 16 * 4096);
    stop_without_footer(builder);
    stream_builder_part(builder, RAM_ID);
    stream_builder_page(builder, "pc.ram", 0, 0xaa, 4096);
    stop_without_footer(builder);
    stream_builder_end(builder, RAM_ID);
    stop_without_footer(builder);
    return builder;
}

START_TEST(without_footers)
{
    g_autoptr(StreamBuilder) builder = begin_without_footers();
    g_autoptr(MigrationReader) reader = NULL;

    stream_builder_full(builder, 0, "timer", 0);
    stream_builder_be64(builder, 1);
    stream_builder_be64(builder, 0);
    stream_builder_be64(builder, 77);
    stream_builder_full(builder, 5, "cpu", 0);
    stream_builder_fill(builder, 0x7e, 30);
    stream_builder_full(builder, 6, "cpu", 1);
    stream_builder_fill(builder, 0x7e, 30);
    stream_builder_eof(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "neither section footers nor a device");
    stream_builder_description(builder);
    reader = stream_builder_expect_complete(builder);
    ck_assert_uint_eq(migration_reader_info(reader)->devices, 3);
    ck_assert_int_eq(migration_reader_info(reader)->vm_clock_ns, 77);
}
END_TEST

START_TEST(without_footers_and_devices)
{
    g_autoptr(StreamBuilder) bare = begin_without_footers();
    g_autoptr(StreamBuilder) described = begin_without_footers();

    stream_builder_eof(bare);
    stream_builder_expect_devices(bare, 0);
    stream_builder_end_stream(described);
    stream_builder_expect_devices(described, 0);
}
END_TEST

START_TEST(without_footers_missing_device)
{
    g_autoptr(StreamBuilder) builder = begin_without_footers();
    g_autoptr(StreamBuilder) listed = stream_builder_new();

    stream_builder_full(builder, 5, "cpu", 0);
    stream_builder_full(listed, 6, "apic", 0);
    g_string_append_printf(builder->devices, ", %s", listed->devices->str);
    stream_builder_end_stream(builder);
    stream_builder_expect_error(builder, SNAP_ERROR_STREAM,
                                "neither section footers nor a device");
}
END_TEST

START_TEST(without_footers_large_device)
{
    g_autoptr(StreamBuilder) builder = begin_without_footers();

    stream_builder_full(builder, 5, "virtio-gpu", 0);
    stream_builder_fill(builder, 0x7e, TOO_LARGE_TO_KEEP);
    stream_builder_full(builder, 6, "cpu", 0);
    stream_builder_end_stream(builder);
    stream_builder_expect_devices(builder, 2);
}
END_TEST

START_TEST(without_footers_unknown_iterable)
{
    g_autoptr(StreamBuilder) builder = begin_without_footers();

    stream_builder_start(builder, 9, "newfangled", 1);
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED,
                                "unknown format");
}
END_TEST

/* What has a length up to some point needs a footer from there on. */
START_TEST(without_footers_vfio_configuration)
{
    g_autoptr(StreamBuilder) builder = begin_without_footers();

    stream_builder_start(builder, 9, "0000:00:05.0/vfio", 1);
    stream_builder_be64(builder, UINT64_C(0xffffffffef100002));
    stream_builder_expect_error(builder, SNAP_ERROR_UNSUPPORTED,
                                "unknown format");
}
END_TEST

static TCase *device_case(void)
{
    TCase *tcase = tcase_create("devices");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, footers_inside_payload);
    tcase_add_test(tcase, bogus_header_in_device);
    tcase_add_test(tcase, bogus_section_in_device);
    tcase_add_test(tcase, bogus_header_without_description);
    tcase_add_test(tcase, version_that_is_a_date);
    tcase_add_test(tcase, version_that_nothing_has);
    tcase_add_test(tcase, zero_id_is_no_end);
    tcase_add_test(tcase, many_zeros_behind_zero_id);
    tcase_add_test(tcase, timer_payload_like_a_footer);
    tcase_add_test(tcase, description_in_device);
    tcase_add_test(tcase, description_without_closing_brace);
    tcase_add_test(tcase, description_of_other_devices);
    tcase_add_test(tcase, description_that_is_no_json);
    tcase_add_test(tcase, description_with_nul);
    tcase_add_test(tcase, huge_description_is_no_allocation);
    tcase_add_test(tcase, large_description);
    tcase_add_test(tcase, device_too_large_to_keep);
    tcase_add_loop_test(tcase, text_where_the_region_is_full, 0, 5);
    tcase_add_test(tcase, large_device_with_bogus_header);
    tcase_add_test(tcase, cut_large_device);
    tcase_add_test(tcase, much_padding);
    tcase_add_test(tcase, too_many_ways);
    return tcase;
}

static TCase *footerless_case(void)
{
    TCase *tcase = tcase_create("without-footers");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, without_footers);
    tcase_add_test(tcase, without_footers_and_devices);
    tcase_add_test(tcase, without_footers_missing_device);
    tcase_add_test(tcase, without_footers_large_device);
    tcase_add_test(tcase, without_footers_unknown_iterable);
    tcase_add_test(tcase, without_footers_vfio_configuration);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("migration-devices");

    suite_add_tcase(suite, device_case());
    suite_add_tcase(suite, footerless_case());
    return run_suite(suite);
}
