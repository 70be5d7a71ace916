/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Refcounts that outgrow their table. They are written last and count
 * themselves, so the places of all of them must be foreseen: the tests go
 * through every length around the points where one more is needed.
 *
 * 512-byte clusters and 64-bit refcounts: a block describes 64 clusters, and
 * one cluster of table holds 64 blocks.
 */
#include <check.h>

#include "qcow2-fixture.h"
#include "run-suite.h"

/*
 * Save @clusters of VM state into @image and judge. Returns the entries of the
 * refcount table.
 */
static uint64_t save_clusters(const GByteArray *image, uint64_t clusters)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) content = NULL;
    Qcow2FixtureSave save = { .name = "s", .bytes = clusters * 512 };
    Qcow2FixtureHeader header;

    qcow2_fixture_must_save(file, &save);
    content = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(content);
    qcow2_fixture_header(content, &header);
    return header.refcount_table_entries;
}

static GByteArray *build(void)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .refcount_bits = 64,
        .disk_size = 1000,
        .l2 = { "dd" },
    };

    return qcow2_fixture_build(&options);
}

START_TEST(one_more_block)
{
    g_autoptr(GByteArray) image = build();
    unsigned clusters;

    for (clusters = 1; clusters < 140; clusters++) {
        ck_assert_uint_eq(save_clusters(image, clusters), 64);
    }
}
END_TEST

/* From one cluster of table to two, and from two to three. */
START_TEST(one_more_cluster_of_table)
{
    static const unsigned first[] = { 3900, 7868 };
    g_autoptr(GByteArray) image = build();
    uint64_t entries = 64 * (_i + 1);
    unsigned clusters;

    ck_assert_uint_eq(save_clusters(image, first[_i]), entries);
    for (clusters = 1; clusters < 70; clusters++) {
        uint64_t now = save_clusters(image, first[_i] + clusters);

        ck_assert(now == entries || now == entries + 64);
        entries = now;
    }
    ck_assert_uint_eq(entries, 64 * (_i + 2));
}
END_TEST

/*
 * Each block lies where the next one counts: to move one is to change the
 * next, so all of them move. No image grows like that, but it may be made.
 */
static GByteArray *build_chain(unsigned blocks)
{
    GByteArray *image = build();
    Qcow2FixtureHeader header;
    uint64_t before = image->len;
    uint64_t old_block;
    unsigned i;

    qcow2_fixture_header(image, &header);
    old_block = qcow2_fixture_peek(image, header.refcount_table_offset, 8);
    g_byte_array_set_size(image, blocks * 64 * 512);
    memset(image->data + before, 0, image->len - before);
    for (i = 0; i < blocks; i++) {
        uint64_t block = MIN(i + 1, blocks - 1) * 64 + i % 2;

        if (i == 0) {
            memcpy(image->data + block * 512, image->data + old_block, 512);
        }
        qcow2_fixture_poke(image, header.refcount_table_offset + i * 8, 8,
                           block * 512);
    }
    for (i = 0; i < blocks; i++) {
        qcow2_fixture_set_refcount(image, MIN(i + 1, blocks - 1) * 64 + i % 2,
                                   1);
    }
    qcow2_fixture_set_refcount(image, old_block / 512, 0);
    qcow2_fixture_assert_sound(image);
    return image;
}

START_TEST(chain_of_blocks)
{
    g_autoptr(GByteArray) image = build_chain(60);
    uint64_t entries = 64;
    unsigned clusters;

    for (clusters = 1; clusters < 260; clusters++) {
        uint64_t now = save_clusters(image, clusters);

        ck_assert_uint_ge(now, entries);
        entries = now;
    }
    ck_assert_uint_eq(entries, 128);
}
END_TEST

/* A long stream between two short ones. */
START_TEST(table_grows_and_stays)
{
    g_autoptr(GByteArray) image = build();
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave saves[] = {
        { .name = "small", .seed = 1, .bytes = 1000 },
        { .name = "big", .seed = 2, .bytes = 3000001 },
        { .name = "again", .seed = 3, .bytes = 100000 },
    };
    const uint64_t entries[] = { 64, 128, 128 };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(saves); i++) {
        g_autoptr(GByteArray) content = NULL;
        Qcow2FixtureHeader header;

        qcow2_fixture_must_save(file, &saves[i]);
        content = qcow2_fixture_content(file);
        qcow2_fixture_assert_sound(content);
        qcow2_fixture_header(content, &header);
        ck_assert_uint_eq(header.refcount_table_entries, entries[i]);
        ck_assert_int_eq(qcow2_fixture_qemu_img_check(content), 0);
    }
}
END_TEST

/* What one cluster of table cannot count; with one or two bits it is much. */
START_TEST(every_width)
{
    static const struct {
        unsigned cluster_bits;
        unsigned refcount_bits;
        uint64_t bytes;
    } cases[] = {
        { 9, 4, 32 << 20 }, { 9, 8, 16 << 20 },   { 9, 16, 8 << 20 },
        { 9, 32, 4 << 20 }, { 10, 64, 16 << 20 },
    };
    Qcow2FixtureOptions options = {
        .cluster_bits = cases[_i].cluster_bits,
        .refcount_bits = cases[_i].refcount_bits,
        .disk_size = 1000,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) content = NULL;
    Qcow2FixtureSave save = {
        .name = "s",
        .bytes = cases[_i].bytes,
        .piece = 1 << 20,
    };
    Qcow2FixtureHeader header;

    qcow2_fixture_must_save(file, &save);
    content = qcow2_fixture_content(file);
    qcow2_fixture_header(content, &header);
    ck_assert_uint_gt(header.refcount_table_entries, header.cluster_size / 8);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(content), 0);
}
END_TEST

static Suite *refcount_growth_suite(void)
{
    Suite *suite = suite_create("qcow2-refcount-growth");
    TCase *tcase = tcase_create("qcow2-refcount-growth");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, one_more_block);
    tcase_add_loop_test(tcase, one_more_cluster_of_table, 0, 2);
    tcase_add_test(tcase, chain_of_blocks);
    tcase_add_test(tcase, table_grows_and_stays);
    tcase_add_loop_test(tcase, every_width, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(refcount_growth_suite());
}
