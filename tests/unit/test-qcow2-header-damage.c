/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Headers that are not what they should be: every lie that can be told in a
 * field, files that are cut off, and noise. A refusal names the offset of the
 * field.
 */
#include <check.h>
#include <stdlib.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/internal.h"

#define FEATURE_NAMES 0x6803f857
#define CLUSTER       1024

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
    g_autofree uint8_t *copy = g_malloc(MAX(bytes, 1));

    if (bytes > 0) {
        memcpy(copy, image->data, bytes);
    }
    return qcow2_header_decode(copy, bytes, image->len, header, errp);
}

static void assert_refused(const GByteArray *image, int code, const char *text)
{
    Qcow2Header header;
    GError *error = NULL;

    ck_assert(!decode(image, CLUSTER, &header, &error));
    qcow2_fixture_assert_error(&error, code, text);
}

/* One field, one lie. */
START_TEST(fields)
{
    const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
        int code;
        const char *text;
    } cases[] = {
        { 0, 4, 0x514649fa, SNAP_ERROR_DAMAGED, "not a qcow2 image (offset 0" },
        { 4, 4, 1, SNAP_ERROR_UNSUPPORTED, "version 1" },
        { 4, 4, 4, SNAP_ERROR_UNSUPPORTED, "(offset 4)" },
        { 20, 4, 8, SNAP_ERROR_DAMAGED, "(offset 20)" },
        { 20, 4, 22, SNAP_ERROR_DAMAGED, "(offset 20)" },
        { 20, 4, UINT32_MAX, SNAP_ERROR_DAMAGED, "(offset 20)" },
        { 24, 8, 1ULL << 63, SNAP_ERROR_DAMAGED, "(offset 24)" },
        { 24, 8, INT64_MAX, SNAP_ERROR_DAMAGED, "too small" },
        { 24, 8, 131073, SNAP_ERROR_DAMAGED, "too small" },
        { 32, 4, 3, SNAP_ERROR_DAMAGED, "(offset 32)" },
        { 36, 4, 0, SNAP_ERROR_DAMAGED, "(offset 36)" },
        { 36, 4, 4194305, SNAP_ERROR_DAMAGED, "(offset 36)" },
        { 36, 4, UINT32_MAX, SNAP_ERROR_DAMAGED, "(offset 36)" },
        { 36, 4, 4194304, SNAP_ERROR_DAMAGED, "(header offset 40)" },
        { 40, 8, 0, SNAP_ERROR_DAMAGED, "(header offset 40)" },
        { 40, 8, 1536, SNAP_ERROR_DAMAGED, "not cluster aligned" },
        { 40, 8, 1ULL << 40, SNAP_ERROR_DAMAGED, "(header offset 40)" },
        { 40, 8, -1024ULL, SNAP_ERROR_DAMAGED, "(header offset 40)" },
        { 48, 8, 0, SNAP_ERROR_DAMAGED, "(header offset 48)" },
        { 48, 8, 1025, SNAP_ERROR_DAMAGED, "(header offset 48)" },
        { 48, 8, 1ULL << 40, SNAP_ERROR_DAMAGED, "(header offset 48)" },
        { 56, 4, 0, SNAP_ERROR_DAMAGED, "(offset 56)" },
        { 56, 4, 8193, SNAP_ERROR_DAMAGED, "(offset 56)" },
        { 56, 4, UINT32_MAX, SNAP_ERROR_DAMAGED, "(offset 56)" },
        { 56, 4, 8192, SNAP_ERROR_DAMAGED, "(header offset 48)" },
        { 60, 4, 65537, SNAP_ERROR_DAMAGED, "(offset 60)" },
        { 60, 4, 1, SNAP_ERROR_DAMAGED, "(header offset 64)" },
        { 64, 8, 512, SNAP_ERROR_DAMAGED, "(header offset 64)" },
        { 72, 8, 16, SNAP_ERROR_DAMAGED, "extended L2 entries (offset 20)" },
        { 96, 4, 7, SNAP_ERROR_DAMAGED, "(offset 96)" },
        { 96, 4, UINT32_MAX, SNAP_ERROR_DAMAGED, "(offset 96)" },
        { 100, 4, 96, SNAP_ERROR_DAMAGED, "(offset 100)" },
        { 100, 4, 108, SNAP_ERROR_DAMAGED, "(offset 100)" },
        { 100, 4, 1032, SNAP_ERROR_DAMAGED, "(offset 100)" },
    };
    g_autoptr(GByteArray) image = build(3, 112);

    ck_assert_int_lt(_i, G_N_ELEMENTS(cases));
    qcow2_fixture_poke(image, cases[_i].at, cases[_i].bytes, cases[_i].value);
    assert_refused(image, cases[_i].code, cases[_i].text);
}
END_TEST

START_TEST(backing_names)
{
    const struct {
        uint64_t offset;
        uint32_t bytes;
        bool valid;
    } cases[] = {
        { 120, 904, true }, /* up to the end of the cluster */
        { 120, 905, false },      { 1024, 0, true },
        { 1025, 0, false },       { 1ULL << 40, 1, false },
        { UINT64_MAX, 1, false }, { 120, UINT32_MAX, false },
    };
    g_autoptr(GByteArray) image = build(3, 112);
    Qcow2Header header;

    qcow2_fixture_poke(image, 8, 8, cases[_i].offset);
    qcow2_fixture_poke(image, 16, 4, cases[_i].bytes);
    if (cases[_i].valid) {
        ck_assert(decode(image, CLUSTER, &header, NULL));
        ck_assert_ptr_nonnull(header.backing_file);
        qcow2_header_clear(&header);
    } else {
        assert_refused(image, SNAP_ERROR_DAMAGED, "(header offset 8)");
    }
}
END_TEST

/* A name has at most 1023 bytes, also in a large cluster. */
START_TEST(longest_backing_name)
{
    Qcow2FixtureOptions options = { .cluster_bits = 12 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    GError *error = NULL;
    Qcow2Header header;

    qcow2_fixture_poke(image, 8, 8, 120);
    qcow2_fixture_poke(image, 16, 4, 1024);
    ck_assert(!decode(image, 4096, &header, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, "1024 bytes");
    qcow2_fixture_poke(image, 16, 4, 1023);
    ck_assert(decode(image, 4096, &header, NULL));
    qcow2_header_clear(&header);
}
END_TEST

/* A file that ends anywhere in the first cluster has no tables. */
START_TEST(cut_at_every_length)
{
    g_autoptr(GByteArray) whole = build(2 + _i, 112);
    size_t bytes;

    for (bytes = 0; bytes <= CLUSTER; bytes++) {
        g_autoptr(GByteArray) image = g_byte_array_new();
        GError *error = NULL;
        Qcow2Header header;
        g_autofree char *cut = g_strdup_printf("cut off at offset %zu", bytes);

        g_byte_array_append(image, whole->data, bytes);
        ck_assert(!decode(image, bytes, &header, &error));
        qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED,
                                   bytes < 4 ? "not a qcow2 image"
                                   : bytes < (_i ? 104 : 72)
                                       ? cut
                                       : "inside the file of");
    }
}
END_TEST

/* Noise in any field may be refused or not, but never does harm. */
START_TEST(random_bytes)
{
    g_autoptr(GByteArray) whole = build(3, 112);
    GRand *rand = g_rand_new_with_seed(20);
    unsigned i;

    qcow2_fixture_poke(whole, 112, 4, FEATURE_NAMES);
    qcow2_fixture_poke(whole, 116, 4, 96);
    for (i = 0; i < 20000; i++) {
        g_autoptr(GByteArray) image = qcow2_fixture_copy(whole);
        GError *error = NULL;
        Qcow2Header header;
        unsigned flips = g_rand_int_range(rand, 1, 4);

        while (flips-- > 0) {
            image->data[g_rand_int_range(rand, 4, 240)] =
                g_rand_int_range(rand, 0, 256);
        }
        if (decode(image, CLUSTER, &header, &error)) {
            qcow2_header_clear(&header);
        } else {
            ck_assert_ptr_nonnull(error);
            g_clear_error(&error);
        }
    }
    g_rand_free(rand);
}
END_TEST

static Suite *header_damage_suite(void)
{
    Suite *suite = suite_create("qcow2-header-damage");
    TCase *tcase = tcase_create("qcow2-header-damage");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, fields, 0, 34);
    tcase_add_loop_test(tcase, backing_names, 0, 7);
    tcase_add_test(tcase, longest_backing_name);
    tcase_add_loop_test(tcase, cut_at_every_length, 0, 2);
    tcase_add_test(tcase, random_bytes);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(header_damage_suite());
}
