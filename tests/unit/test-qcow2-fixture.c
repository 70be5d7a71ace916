/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The builder and the judge that the other qcow2 tests rest on. A judge that
 * lets damage pass would make all of them worthless, and QEMU has the last
 * word on what a sound image is.
 */
#include <check.h>
#include <stdlib.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "scratch.h"

#define COPIED (1ULL << 63)

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 16 },
    { .cluster_bits = 9, .disk_size = 1000 },
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 2,
      .l2 = { "cd" },
      .spare_l1_entries = 3 },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 8,
      .l2 = { "ccccccccccddzZ" } },
    { .cluster_bits = 14,
      .disk_size = 1 << 20,
      .refcount_bits = 64,
      .header_length = 104,
      .l2 = { ".cZzd" } },
    { .version = 2,
      .cluster_bits = 16,
      .disk_size = 1 << 20,
      .l2 = { "cd.dc" } },
    { .cluster_bits = 9,
      .disk_size = 32768,
      .refcount_bits = 32,
      .spare_l1_entries = 2,
      .l2 = { "d", NULL, "ddd" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 25,
      .l2 = { "pqd.Zzcp", "q.p" } },
    { .cluster_bits = 16,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .spare_l1_entries = 1,
      .l2 = { "dp", "pdd" } },
};

START_TEST(built_images_are_sound)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);

    qcow2_fixture_assert_sound(image);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
}
END_TEST

START_TEST(built_images_show_their_disk)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autofree char *digest = qcow2_fixture_disk_digest(&shapes[_i]);
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autofree char *expected = g_strdup_printf("disk %" PRIu64 " bytes %s\n",
                                                shapes[_i].disk_size, digest);

    ck_assert_str_eq(text, expected);
}
END_TEST

static void run_qemu_img(const char *const *arguments)
{
    int status = -1;

    ck_assert(g_spawn_sync(NULL, (char **)arguments, NULL, G_SPAWN_SEARCH_PATH,
                           NULL, NULL, NULL, NULL, &status, NULL));
    ck_assert_int_eq(status, 0);
}

static void shown_cluster(const Qcow2FixtureOptions *options,
                          uint64_t guest_cluster, char kind, uint8_t *cluster)
{
    uint64_t size = 1ULL << options->cluster_bits;
    unsigned parts = options->extended_l2 ? 32 : 1;
    Qcow2FixtureParts what = qcow2_fixture_parts(kind, options->extended_l2);
    unsigned i;

    qcow2_fixture_fill_cluster(guest_cluster, kind, cluster, size);
    for (i = 0; i < parts; i++) {
        if (!(what.data >> i & 1)) {
            memset(cluster + i * (size / parts), 0, size / parts);
        }
    }
}

/* What QEMU reads from the disk is what the options say. */
START_TEST(qemu_reads_the_same_disk)
{
    const Qcow2FixtureOptions *options = &shapes[_i];
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    uint64_t size = 1ULL << options->cluster_bits;
    uint64_t entries = size / (options->extended_l2 ? 16 : 8);
    uint64_t disk_bytes = options->disk_size / 512 * 512;
    g_autofree uint8_t *cluster = g_malloc(size);
    g_autofree char *raw = NULL;
    Scratch *scratch = scratch_new();
    const char *from = scratch_write(scratch, "image", image->data, image->len);
    const char *to = scratch_path(scratch, "raw");
    const char *const arguments[] = {
        "qemu-img", "convert", "-f", "qcow2", "-O", "raw", from, to, NULL,
    };
    gsize bytes;
    uint64_t i;

    run_qemu_img(arguments);
    ck_assert(g_file_get_contents(to, &raw, &bytes, NULL));
    ck_assert_uint_eq(bytes, disk_bytes);
    for (i = 0; i * size < disk_bytes; i++) {
        const char *kinds = options->l2[i / entries];
        uint64_t at = i % entries;
        char kind = kinds && at < strlen(kinds) ? kinds[at] : '.';

        shown_cluster(options, i, kind, cluster);
        ck_assert_mem_eq(raw + i * size, cluster,
                         MIN(size, disk_bytes - i * size));
    }
    scratch_free(scratch);
}
END_TEST

static GByteArray *build_victim(void)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 32768,
        .l2 = { "dcZ" },
    };

    return qcow2_fixture_build(&options);
}

static void assert_finding(const GByteArray *image, const char *text)
{
    g_autofree char *finding = qcow2_fixture_check(image);

    ck_assert_ptr_nonnull(finding);
    ck_assert_msg(strstr(finding, text), "'%s' is not in '%s'", text, finding);
}

/* One reference too many or too few, in every cluster of the image. */
START_TEST(judge_finds_wrong_refcounts)
{
    g_autoptr(GByteArray) image = build_victim();
    uint64_t clusters = image->len / 512;
    uint64_t i;

    for (i = 0; i < clusters; i++) {
        uint64_t right = qcow2_fixture_refcount(image, i);
        g_autofree char *finding = NULL;

        qcow2_fixture_set_refcount(image, i, right + 1);
        finding = qcow2_fixture_check(image);
        ck_assert_ptr_nonnull(finding);
        if (right > 0) {
            qcow2_fixture_set_refcount(image, i, right - 1);
            g_free(finding);
            finding = qcow2_fixture_check(image);
            ck_assert_ptr_nonnull(finding);
        }
        qcow2_fixture_set_refcount(image, i, right);
    }
    qcow2_fixture_set_refcount(image, clusters + 5, 1);
    assert_finding(image, "refcount 1, references 0");
    qcow2_fixture_set_refcount(image, clusters + 5, 0);
    qcow2_fixture_assert_sound(image);
}
END_TEST

START_TEST(judge_finds_wrong_entries)
{
    g_autoptr(GByteArray) image = build_victim();
    Qcow2FixtureHeader header;
    uint64_t l2;

    qcow2_fixture_header(image, &header);
    l2 = qcow2_fixture_l2_entry_at(image, header.l1_offset, 0);
    const struct {
        uint64_t at;
        uint64_t flip;
        const char *finding;
    } damages[] = {
        { header.l1_offset, COPIED, "COPIED is wrong" },
        { header.l1_offset, 1, "impossible L1 entry" },
        { header.l1_offset, 1ULL << 40, "outside the file" },
        { l2, COPIED, "COPIED is wrong" },
        { l2, 1ULL << 5, "impossible L2 entry" },
        { l2, 1ULL << 55, "outside the file" },
        { l2 + 8, COPIED, "compressed and COPIED" },
        { l2 + 16, COPIED, "COPIED is wrong" },
        { l2 + 24, COPIED | 512, "refcount 1, references 2" },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(damages); i++) {
        uint64_t right = qcow2_fixture_peek(image, damages[i].at, 8);

        qcow2_fixture_poke(image, damages[i].at, 8, right ^ damages[i].flip);
        assert_finding(image, damages[i].finding);
        qcow2_fixture_poke(image, damages[i].at, 8, right);
    }
    qcow2_fixture_poke(image, 4, 4, 2);
    assert_finding(image, "impossible L2 entry");
}
END_TEST

START_TEST(judge_finds_wrong_subclusters)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 14,
        .extended_l2 = true,
        .disk_size = 1 << 20,
        .l2 = { "p.c" },
    };
    static const struct {
        uint64_t guest_cluster;
        unsigned at;
        uint64_t value;
    } cases[] = {
        { 0, 12, 0x10 }, { 0, 7, 1 },  { 1, 15, 1 },
        { 1, 7, 1 },     { 2, 15, 1 }, { 2, 8, 1 },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
        Qcow2FixtureHeader header;
        uint64_t at;

        qcow2_fixture_header(image, &header);
        at = qcow2_fixture_l2_entry_at(image, header.l1_offset,
                                       cases[i].guest_cluster);
        qcow2_fixture_poke(image, at + cases[i].at, 1, cases[i].value);
        assert_finding(image, "impossible L2 entry");
    }
}
END_TEST

START_TEST(judge_finds_a_missing_block)
{
    g_autoptr(GByteArray) image = build_victim();
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    qcow2_fixture_poke(image, header.refcount_table_offset, 8, 0);
    assert_finding(image, "COPIED is wrong");
}
END_TEST

/* A description that is the same for different content proves nothing. */
START_TEST(description_shows_changes)
{
    g_autoptr(GByteArray) image = build_victim();
    g_autofree char *before = qcow2_fixture_describe(image);
    g_autofree char *after = NULL;
    Qcow2FixtureHeader header;
    uint64_t data;

    qcow2_fixture_header(image, &header);
    data = qcow2_fixture_l2_entry_at(image, header.l1_offset, 0);
    data = qcow2_fixture_peek(image, data, 8) & ~COPIED;
    image->data[data + 511] ^= 1;
    after = qcow2_fixture_describe(image);
    ck_assert_str_ne(before, after);
}
END_TEST

static Suite *fixture_suite(void)
{
    Suite *suite = suite_create("qcow2-fixture");
    TCase *tcase = tcase_create("qcow2-fixture");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, built_images_are_sound, 0, G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tcase, built_images_show_their_disk, 0,
                        G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tcase, qemu_reads_the_same_disk, 0,
                        G_N_ELEMENTS(shapes));
    tcase_add_test(tcase, judge_finds_wrong_refcounts);
    tcase_add_test(tcase, judge_finds_wrong_entries);
    tcase_add_test(tcase, judge_finds_wrong_subclusters);
    tcase_add_test(tcase, judge_finds_a_missing_block);
    tcase_add_test(tcase, description_shows_changes);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(fixture_suite());
}
