/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Decoding the header: every shape that writers produce, and its extensions.
 * What a header may not be is in test-qcow2-header-damage.c.
 */
#include <check.h>
#include <stdlib.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/internal.h"

enum {
    BACKING_FORMAT = 0xe2792aca,
    FEATURE_NAMES = 0x6803f857,
    BITMAPS = 0x23852875,
    DATA_FILE = 0x44415441,
};

#define CLUSTER 1024

static GByteArray *build(unsigned version, unsigned header_length)
{
    Qcow2FixtureOptions options = {
        .version = version,
        .cluster_bits = 10,
        .header_length = header_length,
        .disk_size = 100000,
        .l2 = { "d" },
    };

    return qcow2_fixture_build(&options);
}

/* Decode the header of @image, of which the first @bytes exist. */
static bool decode(const GByteArray *image, size_t bytes, Qcow2Header *header,
                   GError **errp)
{
    /* Of exactly that length, so that a sanitizer sees what goes beyond. */
    g_autofree uint8_t *copy = g_malloc(bytes);

    memcpy(copy, image->data, bytes);
    return qcow2_header_decode(copy, bytes, image->len, header, errp);
}

static void must_decode(const GByteArray *image, Qcow2Header *header)
{
    g_autoptr(GError) error = NULL;

    ck_assert_msg(decode(image, CLUSTER, header, &error), "%s",
                  error ? error->message : "no error");
}

static void assert_refused(const GByteArray *image, int code, const char *text)
{
    Qcow2Header header = { .version = 77 };
    GError *error = NULL;

    ck_assert(!decode(image, CLUSTER, &header, &error));
    qcow2_fixture_assert_error(&error, code, text);
    ck_assert_uint_eq(header.version, 77);
    /* Who does not want to know the reason need not. */
    ck_assert(!decode(image, CLUSTER, &header, NULL));
}

/* Append an extension; returns the offset behind it. */
static unsigned add_extension(GByteArray *image, unsigned at, uint32_t type,
                              const void *data, uint32_t bytes)
{
    qcow2_fixture_poke(image, at, 4, type);
    qcow2_fixture_poke(image, at + 4, 4, bytes);
    ck_assert_uint_le(at + 8 + bytes, CLUSTER);
    memcpy(image->data + at + 8, data, bytes);
    return at + 8 + (bytes + 7) / 8 * 8;
}

START_TEST(version_2)
{
    g_autoptr(GByteArray) image = build(2, 0);
    Qcow2Header header;

    /* What would be features in version 3 is an extension here. */
    add_extension(image, 72, BACKING_FORMAT, "raw", 3);
    must_decode(image, &header);
    ck_assert_uint_eq(header.version, 2);
    ck_assert_uint_eq(header.cluster_bits, 10);
    ck_assert_uint_eq(header.size, 100000);
    ck_assert_uint_eq(header.refcount_order, 4);
    ck_assert_uint_eq(header.header_length, 72);
    ck_assert_uint_eq(header.incompatible_features, 0);
    ck_assert_uint_eq(header.compatible_features, 0);
    ck_assert_uint_eq(header.autoclear_features, 0);
    ck_assert_str_eq(header.backing_format, "raw");
    ck_assert_ptr_null(header.backing_file);
    qcow2_header_clear(&header);
}
END_TEST

START_TEST(version_3)
{
    static const unsigned lengths[] = { 104, 112, 120, CLUSTER };
    g_autoptr(GByteArray) image = build(3, lengths[_i]);
    Qcow2Header header;

    qcow2_fixture_poke(image, 72, 8, 0x07);
    qcow2_fixture_poke(image, 80, 8, 0xf00000000000000f);
    qcow2_fixture_poke(image, 88, 8, 0xe00000000000000e);
    qcow2_fixture_poke(image, 96, 4, 6);
    must_decode(image, &header);
    ck_assert_uint_eq(header.version, 3);
    ck_assert_uint_eq(header.header_length, lengths[_i]);
    ck_assert_uint_eq(header.incompatible_features, 0x07);
    ck_assert_uint_eq(header.compatible_features, 0xf00000000000000f);
    ck_assert_uint_eq(header.autoclear_features, 0xe00000000000000e);
    ck_assert_uint_eq(header.refcount_order, 6);
    ck_assert_uint_eq(header.compression_type, 0);
    ck_assert_uint_eq(header.l1_size, 1);
    ck_assert_uint_eq(header.l1_table_offset, qcow2_fixture_peek(image, 40, 8));
    ck_assert_uint_eq(header.refcount_table_offset,
                      qcow2_fixture_peek(image, 48, 8));
    ck_assert_uint_eq(header.refcount_table_clusters, 1);
    qcow2_header_clear(&header);
}
END_TEST

START_TEST(compression_type)
{
    g_autoptr(GByteArray) image = build(3, 112);
    Qcow2Header header;

    qcow2_fixture_poke(image, 72, 8, 8);
    assert_refused(image, SNAP_ERROR_DAMAGED, "(offset 72)");
    qcow2_fixture_poke(image, 104, 1, 1);
    must_decode(image, &header);
    ck_assert_uint_eq(header.compression_type, 1);
    qcow2_fixture_poke(image, 72, 8, 0);
    assert_refused(image, SNAP_ERROR_DAMAGED, "(offset 72)");
    qcow2_fixture_poke(image, 72, 8, 8);
    qcow2_fixture_poke(image, 104, 1, 2);
    assert_refused(image, SNAP_ERROR_UNSUPPORTED, "(offset 104)");
    /* A header that ends before the field has none. */
    qcow2_fixture_poke(image, 104, 8, 0);
    qcow2_fixture_poke(image, 100, 4, 104);
    assert_refused(image, SNAP_ERROR_DAMAGED, "(offset 72)");
}
END_TEST

START_TEST(extensions)
{
    g_autoptr(GByteArray) image = build(3, 112);
    uint8_t bitmaps[24] = { 0, 0, 0, 3 };
    Qcow2Header header;
    unsigned at = 112;

    at = add_extension(image, at, 0x01234567, "whatever", 8);
    at = add_extension(image, at, DATA_FILE, "data.raw", 8);
    at = add_extension(image, at, BACKING_FORMAT, "qcow2", 5);
    at = add_extension(image, at, BITMAPS, bitmaps, 24);
    at = add_extension(image, at, BACKING_FORMAT, "vmdk", 4);
    qcow2_fixture_poke(image, 8, 8, at + 8);
    qcow2_fixture_poke(image, 16, 4, 4);
    memcpy(image->data + at + 8, "base", 4);
    must_decode(image, &header);
    ck_assert_str_eq(header.backing_file, "base");
    ck_assert_str_eq(header.backing_format, "vmdk");
    ck_assert_str_eq(header.data_file, "data.raw");
    /* Bitmaps that are not marked consistent are as good as none. */
    ck_assert_uint_eq(header.bitmap_count, 0);
    qcow2_header_clear(&header);
    qcow2_fixture_poke(image, 88, 8, 1);
    must_decode(image, &header);
    ck_assert_uint_eq(header.bitmap_count, 3);
    qcow2_header_clear(&header);
}
END_TEST

/* Behind an end marker, and behind the backing name, nothing is looked at. */
START_TEST(extensions_end)
{
    g_autoptr(GByteArray) image = build(3, 112);
    Qcow2Header header;
    unsigned at;

    add_extension(image, 120, BACKING_FORMAT, "raw", 3);
    must_decode(image, &header);
    ck_assert_ptr_null(header.backing_format);
    at = add_extension(image, 112, 1, "", 0);
    ck_assert_uint_eq(at, 120);
    must_decode(image, &header);
    ck_assert_str_eq(header.backing_format, "raw");
    qcow2_header_clear(&header);
    qcow2_fixture_poke(image, 8, 8, 120);
    must_decode(image, &header);
    ck_assert_ptr_null(header.backing_format);
    ck_assert_str_eq(header.backing_file, "");
    qcow2_header_clear(&header);
}
END_TEST

/* One that is too short says nothing, also where the cluster ends with it. */
START_TEST(short_bitmaps_extension)
{
    g_autoptr(GByteArray) image = build(3, CLUSTER - 8);
    Qcow2Header header;

    qcow2_fixture_poke(image, 88, 8, 1);
    add_extension(image, CLUSTER - 8, BITMAPS, "", 0);
    must_decode(image, &header);
    ck_assert_uint_eq(header.bitmap_count, 0);
    qcow2_header_clear(&header);
    qcow2_fixture_poke(image, 100, 4, 112);
    add_extension(image, add_extension(image, 112, BITMAPS, "", 0), DATA_FILE,
                  "data", 4);
    must_decode(image, &header);
    ck_assert_uint_eq(header.bitmap_count, 0);
    ck_assert_str_eq(header.data_file, "data");
    qcow2_header_clear(&header);
}
END_TEST

/* Up to the last byte of the area, without an end marker. */
START_TEST(extensions_fill_the_cluster)
{
    g_autoptr(GByteArray) image = build(3, 112);
    g_autofree char *name = g_strnfill(CLUSTER - 120, 'x');
    Qcow2Header header;

    add_extension(image, 112, DATA_FILE, name, CLUSTER - 120);
    must_decode(image, &header);
    ck_assert_str_eq(header.data_file, name);
    qcow2_header_clear(&header);
    qcow2_fixture_poke(image, 116, 4, CLUSTER - 119);
    assert_refused(image, SNAP_ERROR_DAMAGED, "too large (offset 112)");
    qcow2_fixture_poke(image, 116, 4, UINT32_MAX);
    assert_refused(image, SNAP_ERROR_DAMAGED, "too large (offset 112)");
    /* The backing name is a border as well. */
    qcow2_fixture_poke(image, 116, 4, 9);
    qcow2_fixture_poke(image, 8, 8, 128);
    qcow2_fixture_poke(image, 16, 4, 4);
    assert_refused(image, SNAP_ERROR_DAMAGED, "too large (offset 112)");
}
END_TEST

START_TEST(unknown_incompatible_features)
{
    g_autoptr(GByteArray) image = build(3, 112);
    uint8_t names[144] = { 0 };

    qcow2_fixture_poke(image, 72, 8, 1ULL << 63);
    assert_refused(image, SNAP_ERROR_UNSUPPORTED,
                   "bit 63 (unnamed) is not supported (offset 72)");
    /* Bit 5 of the compatible features is another one; names fill 46 bytes. */
    names[0] = 1;
    names[1] = 5;
    memcpy(names + 2, "wrong", 5);
    names[49] = 5;
    memset(names + 50, 'n', 46);
    names[97] = 6;
    memcpy(names + 98, "\x1b[31m", 5);
    add_extension(image, 112, FEATURE_NAMES, names, sizeof(names));
    qcow2_fixture_poke(image, 72, 8, 1ULL << 5 | 1ULL << 40);
    assert_refused(image, SNAP_ERROR_UNSUPPORTED,
                   "bit 5 (nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn) ");
    qcow2_fixture_poke(image, 72, 8, 1ULL << 6);
    assert_refused(image, SNAP_ERROR_UNSUPPORTED, "bit 6 (\\033[31m)");
    /* A table that is cut off in the middle of an entry. */
    qcow2_fixture_poke(image, 116, 4, 140);
    assert_refused(image, SNAP_ERROR_UNSUPPORTED, "bit 6 (unnamed)");
}
END_TEST

static Suite *header_suite(void)
{
    Suite *suite = suite_create("qcow2-header");
    TCase *tcase = tcase_create("qcow2-header");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, version_2);
    tcase_add_loop_test(tcase, version_3, 0, 4);
    tcase_add_test(tcase, compression_type);
    tcase_add_test(tcase, extensions);
    tcase_add_test(tcase, extensions_end);
    tcase_add_test(tcase, short_bitmaps_extension);
    tcase_add_test(tcase, extensions_fill_the_cluster);
    tcase_add_test(tcase, unknown_incompatible_features);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(header_suite());
}
