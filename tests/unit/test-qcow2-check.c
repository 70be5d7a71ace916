/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The check on images of the fixture: nothing is found in a sound one, what
 * was damaged is found, and a repair leaves an image that the fixture's own
 * reader and qemu-img call sound, with the content that it had.
 */
#include <check.h>
#include <errno.h>

#include "memory-file.h"
#include "qcow2-check-run.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 10,
      .disk_size = 200000,
      .l2 = { "d.c", "dd" } },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 64,
      .l2 = { "dcZ" } },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 4,
      .l2 = { "dZ" } },
    { .cluster_bits = 16, .disk_size = 1 << 20, .l2 = { "dZ" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .l2 = { "dZpq" } },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))
#define CASES  (SHAPES * QCOW2_DAMAGES)

/* With a snapshot that shares the disk. */
static GByteArray *build(int shape)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[shape]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "old", .seed = 1, .bytes = 9000 };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

START_TEST(finds_nothing_in_a_sound_image)
{
    g_autoptr(GByteArray) image = build(_i);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.findings->len, 0);
    ck_assert_uint_eq(run.result.corruptions, 0);
    ck_assert_uint_eq(run.result.leaks, 0);
    ck_assert_uint_eq(run.result.image_end_offset, image->len);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
}
END_TEST

static bool is_leak(Qcow2Damage damage)
{
    return damage == QCOW2_DAMAGE_LEAK || damage == QCOW2_DAMAGE_LEAKS;
}

START_TEST(finds_and_repairs_damage)
{
    Qcow2Damage damage = _i % QCOW2_DAMAGES;
    g_autoptr(GByteArray) image = build(_i / QCOW2_DAMAGES);
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autofree char *repaired_text = NULL;
    g_autoptr(GByteArray) repaired = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) look = { 0 };
    g_auto(Qcow2CheckRun) repair = { 0 };

    qcow2_damage(image, damage);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &look);
    ck_assert(look.done);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    ck_assert_uint_gt(look.findings->len, 0);
    ck_assert_uint_eq(look.uncounted, 0);
    ck_assert(look.result.leaks > 0 || !is_leak(damage));
    ck_assert(look.result.corruptions > 0 || damage == QCOW2_DAMAGE_LEAK);

    qcow2_check_run(file, QCOW2_REPAIR_ALL, &repair);
    ck_assert_msg(repair.done, "%s", repair.error ? repair.error->message : "");
    ck_assert_uint_eq(repair.result.corruptions, 0);
    ck_assert_uint_eq(repair.result.leaks, 0);
    ck_assert_uint_gt(
        repair.result.corruptions_fixed + repair.result.leaks_fixed, 0);
    repaired = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(repaired);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(repaired), 0);
    ck_assert_uint_eq(qcow2_check_findings(repaired), 0);
    repaired_text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(text, repaired_text);
}
END_TEST

START_TEST(repair_of_leaks_repairs_nothing_else)
{
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    Qcow2FixtureHeader header;
    g_autoptr(GByteArray) after = NULL;
    uint64_t first = qcow2_fixture_first_fresh(image);

    qcow2_fixture_header(image, &header);
    qcow2_damage(image, QCOW2_DAMAGE_SHARED);
    qcow2_fixture_set_refcount(image, first, 1);
    g_byte_array_set_size(image, (first + 1) * header.cluster_size);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_LEAKS, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.result.leaks_fixed, 1);
    ck_assert_uint_eq(run.result.leaks, 0);
    ck_assert_uint_eq(run.result.corruptions_fixed, 0);
    ck_assert_uint_gt(run.result.corruptions, 0);
    after = qcow2_fixture_content(file);
    qcow2_fixture_set_refcount(image, first, 0);
    ck_assert_uint_eq(image->len, after->len);
    ck_assert_mem_eq(image->data, after->data, after->len);
}
END_TEST

START_TEST(repair_of_leaks_needs_refcounts)
{
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_damage(image, QCOW2_DAMAGE_NO_BLOCK);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_LEAKS, &run);
    ck_assert(!run.done);
    ck_assert(g_error_matches(run.error, SNAP_ERROR, SNAP_ERROR_DAMAGED));
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
}
END_TEST

/* Marks of an image that was not closed, and a feature of the future. */
START_TEST(clears_marks)
{
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(GByteArray) sound = qcow2_fixture_copy(image);
    g_autoptr(GByteArray) repaired = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_fixture_poke(image, 72, 8, 3);
    qcow2_fixture_poke(image, 88, 8, 1ULL << 40);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_LEAKS, &run);
    ck_assert(run.done);
    repaired = qcow2_fixture_content(file);
    ck_assert_uint_eq(repaired->len, sound->len);
    ck_assert_mem_eq(repaired->data, sound->data, sound->len);
}
END_TEST

static void shorten_snapshot_entry(GByteArray *image)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    uint8_t *extra;

    qcow2_fixture_entry(image, 0, &entry);
    extra = image->data + entry.at + 40;
    memmove(extra, extra + entry.extra_bytes,
            entry.bytes - 40 - entry.extra_bytes);
    qcow2_fixture_poke(image, entry.at + 36, 4, 0);
}

/* Old writers left out what version 3 demands of a snapshot entry. */
START_TEST(completes_short_snapshot_entries)
{
    g_autoptr(GByteArray) image = build(0);
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autofree char *repaired_text = NULL;
    g_autoptr(GByteArray) repaired = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };

    shorten_snapshot_entry(image);
    ck_assert_uint_eq(qcow2_check_findings(image), 1);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.result.corruptions, 0);
    ck_assert_uint_eq(run.result.corruptions_fixed, 1);
    repaired = qcow2_fixture_content(file);
    ck_assert_uint_eq(qcow2_check_findings(repaired), 0);
    qcow2_fixture_assert_sound(repaired);
    repaired_text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(text, repaired_text);
}
END_TEST

/* The disk has the table's cluster alone when the table has moved. */
START_TEST(completes_snapshot_entries_in_data)
{
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(GByteArray) repaired = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    shorten_snapshot_entry(image);
    qcow2_fixture_poke(image,
                       qcow2_fixture_l2_entry_at(image, header.l1_offset, 5), 8,
                       header.snapshots_offset);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    ck_assert_uint_eq(run.result.corruptions, 0);
    repaired = qcow2_fixture_content(file);
    ck_assert_uint_eq(qcow2_check_findings(repaired), 0);
    qcow2_fixture_assert_sound(repaired);
}
END_TEST

/* On a device: refcounts that cannot be read do not say where it is free. */
START_TEST(rebuilds_behind_what_is_referred_to)
{
    g_autoptr(GByteArray) image = build(_i);
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autofree char *repaired_text = NULL;
    g_autoptr(GByteArray) repaired = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    Qcow2FixtureHeader header;
    uint64_t end = image->len;

    qcow2_fixture_header(image, &header);
    g_byte_array_set_size(image, end + 8 * header.cluster_size);
    memset(image->data + end, 0, image->len - end);
    qcow2_fixture_poke(image, header.refcount_table_offset, 8, 1ULL << 63);
    file = qcow2_fixture_file(image);
    file->fixed_size = true;
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert_msg(run.done, "%s", run.error ? run.error->message : "");
    ck_assert_uint_eq(run.result.corruptions, 0);
    repaired = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(repaired);
    repaired_text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(text, repaired_text);
}
END_TEST

/* Whatever fails is an error, not a finding; never a crash. */
START_TEST(any_operation_may_fail)
{
    MemoryFileOp op = _i % MEMORY_FILE_OPS;
    Qcow2Damage damage = _i / MEMORY_FILE_OPS;
    int nth;

    for (nth = 1;; nth++) {
        g_autoptr(GByteArray) image = build(0);
        g_autoptr(BlockFile) file = NULL;
        g_auto(Qcow2CheckRun) run = { 0 };

        qcow2_damage(image, damage);
        file = qcow2_fixture_file(image);
        memory_file_fail(file, op, nth, -EIO);
        qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
        if (run.done && run.result.check_errors == 0) {
            break;
        }
        ck_assert(run.result.check_errors ||
                  g_error_matches(run.error, SNAP_ERROR, SNAP_ERROR_IO));
        ck_assert_int_lt(nth, 1000);
    }
}
END_TEST

/* One table named by every entry of a large L1 table. */
START_TEST(reads_a_table_once)
{
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    Qcow2FixtureHeader header;
    uint64_t end = image->len;
    uint64_t entries = 1 << 18;
    uint64_t entry;
    uint64_t i;

    qcow2_fixture_header(image, &header);
    entry = qcow2_fixture_peek(image, header.l1_offset, 8);
    g_byte_array_set_size(image, end + entries * 8);
    for (i = 0; i < entries; i++) {
        qcow2_fixture_poke(image, end + i * 8, 8, entry);
    }
    qcow2_fixture_poke(image, 36, 4, entries);
    qcow2_fixture_poke(image, 40, 8, end);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert(run.done);
    ck_assert_uint_gt(run.result.corruptions, entries);
    ck_assert_uint_lt(memory_file_count(file, MEMORY_FILE_READ), 100);
}
END_TEST

/* Snapshots whose L1 tables overlap: reading them all would take for ever. */
START_TEST(refuses_overlapping_tables)
{
    static const uint32_t snapshots = 40000;
    g_autoptr(GByteArray) image = build(0);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    uint64_t table = image->len;
    uint32_t i;

    g_byte_array_set_size(image, table + snapshots * 56);
    memset(image->data + table, 0, snapshots * 56);
    for (i = 0; i < snapshots; i++) {
        qcow2_fixture_poke(image, table + i * 56, 8, 512);
        qcow2_fixture_poke(image, table + i * 56 + 8, 4, 20000);
        qcow2_fixture_poke(image, table + i * 56 + 36, 4, 16);
    }
    qcow2_fixture_poke(image, 60, 4, snapshots);
    qcow2_fixture_poke(image, 64, 8, table);
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert(!run.done);
    ck_assert(g_error_matches(run.error, SNAP_ERROR, SNAP_ERROR_DAMAGED));
}
END_TEST

/* Any byte of the metadata may be anything. */
START_TEST(survives_noise)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(_i);
    g_autoptr(GByteArray) image = build(_i % SHAPES);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    unsigned i;

    for (i = 0; i < 20; i++) {
        uint64_t at = g_rand_int_range(random, 24, image->len);

        if (image->data[at] || i % 4 == 0) {
            image->data[at] = g_rand_int(random);
        }
    }
    file = qcow2_fixture_file(image);
    qcow2_check_run(file, _i % 3, &run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-check");
    TCase *tests = tcase_create("check");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, finds_nothing_in_a_sound_image, 0, SHAPES);
    tcase_add_loop_test(tests, finds_and_repairs_damage, 0, CASES);
    tcase_add_test(tests, repair_of_leaks_repairs_nothing_else);
    tcase_add_test(tests, repair_of_leaks_needs_refcounts);
    tcase_add_test(tests, clears_marks);
    tcase_add_test(tests, completes_short_snapshot_entries);
    tcase_add_test(tests, completes_snapshot_entries_in_data);
    tcase_add_loop_test(tests, rebuilds_behind_what_is_referred_to, 0, SHAPES);
    tcase_add_loop_test(tests, any_operation_may_fail, 0,
                        QCOW2_DAMAGES * MEMORY_FILE_OPS);
    tcase_add_test(tests, reads_a_table_once);
    tcase_add_test(tests, refuses_overlapping_tables);
    tcase_add_loop_test(tests, survives_noise, 0, 100);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
