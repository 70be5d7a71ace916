/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Persistent dirty bitmaps under the check: what they use is counted, and every
 * number in them that cannot be is refused, as qemu-img refuses it.
 */
#include <check.h>

#include "checked.h"
#include "memory-file.h"
#include "qcow2-check-run.h"
#include "run-suite.h"
#include "snap-error.h"

#define CLUSTER 4096

/* Behind the image, one cluster each. */
enum {
    DIRECTORY,
    TABLE,
    DATA,
    EMPTY_TABLE,
    CLUSTERS,
    EXTENSION = CLUSTERS, /* the data of the one in the header */
    PLACES
};

#define EXTENSION_DATA 120

typedef struct Bitmaps {
    uint64_t places[PLACES];
} Bitmaps;

/* Two bitmaps: one has a cluster, the other's table names none. */
static GByteArray *build(Bitmaps *bitmaps)
{
    static const Qcow2FixtureOptions options = { .cluster_bits = 12,
                                                 .disk_size = 100000,
                                                 .l2 = { "dd.c" } };
    GByteArray *image = qcow2_fixture_build(&options);
    uint64_t start = round_up(image->len, CLUSTER);
    uint64_t directory = start;
    unsigned i;

    g_byte_array_set_size(image, start + CLUSTERS * CLUSTER);
    memset(image->data + start, 0, CLUSTERS * CLUSTER);
    for (i = 0; i < CLUSTERS; i++) {
        bitmaps->places[i] = start + i * CLUSTER;
        qcow2_fixture_set_refcount(image, (start >> 12) + i, 1);
    }
    /* The extension, and the bit that says that it is valid. */
    qcow2_fixture_poke(image, 88, 8, 1);
    qcow2_fixture_poke(image, 112, 4, 0x23852875);
    qcow2_fixture_poke(image, 116, 4, 24);
    qcow2_fixture_poke(image, EXTENSION_DATA, 4, 2);
    qcow2_fixture_poke(image, EXTENSION_DATA + 8, 8, 64);
    qcow2_fixture_poke(image, EXTENSION_DATA + 16, 8, directory);
    for (i = 0; i < 2; i++) {
        uint64_t entry = directory + i * 32;
        uint64_t table = bitmaps->places[i ? EMPTY_TABLE : TABLE];

        qcow2_fixture_poke(image, entry, 8, table);
        qcow2_fixture_poke(image, entry + 8, 4, 1);
        qcow2_fixture_poke(image, entry + 16, 1, 1);
        qcow2_fixture_poke(image, entry + 17, 1, 16);
        qcow2_fixture_poke(image, entry + 18, 2, 1);
        qcow2_fixture_poke(image, entry + 24, 1, 'a' + i);
    }
    qcow2_fixture_poke(image, bitmaps->places[TABLE], 8, bitmaps->places[DATA]);
    bitmaps->places[EXTENSION] = EXTENSION_DATA;
    return image;
}

START_TEST(all_that_bitmaps_use_is_counted)
{
    Bitmaps bitmaps;
    g_autoptr(GByteArray) image = build(&bitmaps);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };

    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert_msg(run.done, "%s", run.error ? run.error->message : "");
    ck_assert_uint_eq(run.findings->len, 0);
}
END_TEST

/* Without the bit in the header they are nobody's. */
START_TEST(stale_bitmaps_are_leaks)
{
    Bitmaps bitmaps;
    g_autoptr(GByteArray) image = build(&bitmaps);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_fixture_poke(image, 88, 8, 0);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.result.leaks, CLUSTERS);
    ck_assert_uint_eq(run.result.corruptions, 0);
}
END_TEST

static const struct {
    int place;
    unsigned offset;
    unsigned bytes;
    uint64_t value;
    const char *text;
} impossible[] = {
    { EXTENSION, 0, 4, 65536, "impossible bitmap directory" },
    { EXTENSION, 8, 8, 0, "impossible bitmap directory" },
    { EXTENSION, 8, 8, 1 << 30, "impossible bitmap directory" },
    { EXTENSION, 16, 8, 0, "impossible bitmap directory" },
    { EXTENSION, 16, 8, CLUSTER + 8, "impossible bitmap directory" },
    { EXTENSION, 8, 8, 16, "cut off" },
    { EXTENSION, 8, 8, 24, "cut off" },
    { EXTENSION, 8, 8, 72, "more than the header says" },
    { EXTENSION, 16, 8, 1ULL << 40, "behind the end of the file" },
    { DIRECTORY, 0, 8, 0, "impossible table" },
    { DIRECTORY, 0, 8, CLUSTER + 512, "impossible table" },
    { DIRECTORY, 8, 4, 0, "impossible table" },
    { DIRECTORY, 8, 4, 0x8000001, "impossible table" },
    { DIRECTORY, 12, 4, 4, "unknown flags" },
    { DIRECTORY, 16, 1, 2, "unknown type" },
    { DIRECTORY, 17, 1, 8, "impossible granularity" },
    { DIRECTORY, 17, 1, 32, "impossible granularity" },
    { DIRECTORY, 18, 2, 0, "impossible length of the name" },
    { DIRECTORY, 18, 2, 1024, "impossible length of the name" },
    { DIRECTORY, 20, 4, 8, "extra data" },
    { TABLE, 0, 8, CLUSTER + 512, "impossible table entry" },
    { TABLE, 0, 8, 2, "impossible table entry" },
    { TABLE, 0, 8, CLUSTER + 1, "impossible table entry" },
};

START_TEST(what_cannot_be_is_refused)
{
    Bitmaps bitmaps;
    g_autoptr(GByteArray) image = build(&bitmaps);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_fixture_poke(
        image, bitmaps.places[impossible[_i].place] + impossible[_i].offset,
        impossible[_i].bytes, impossible[_i].value);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(!run.done);
    qcow2_fixture_assert_error(&run.error, SNAP_ERROR_DAMAGED,
                               impossible[_i].text);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    ck_assert_int_ne(qcow2_fixture_qemu_img_check(image), 0);
}
END_TEST

/* One that was not closed is never read: its entries are no more than wrong. */
START_TEST(bitmaps_in_use_may_hold_anything)
{
    Bitmaps bitmaps;
    g_autoptr(GByteArray) image = build(&bitmaps);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_fixture_poke(image, bitmaps.places[DIRECTORY] + 12, 4, 1);
    qcow2_fixture_poke(image, bitmaps.places[TABLE], 8, CLUSTER + 512);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.result.corruptions, 1);
    ck_assert_uint_eq(run.result.leaks, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-check-bitmaps");
    TCase *tcase = tcase_create("bitmaps");

    tcase_add_test(tcase, all_that_bitmaps_use_is_counted);
    tcase_add_test(tcase, stale_bitmaps_are_leaks);
    tcase_add_loop_test(tcase, what_cannot_be_is_refused, 0,
                        G_N_ELEMENTS(impossible));
    tcase_add_test(tcase, bitmaps_in_use_may_hold_anything);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
