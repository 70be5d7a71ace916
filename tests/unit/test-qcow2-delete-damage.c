/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Deleting from images whose tables may say anything. What is refused is
 * refused before the first byte is written.
 */
#include <check.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions plain = {
    .cluster_bits = 9,
    .disk_size = 3 * 32768,
    .l2 = { "ddc", "dZ.", "d" },
};

/* A snapshot with VM state, then a disk-only one. */
static GByteArray *build_with_snapshots(const Qcow2FixtureOptions *options)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "state", .seed = 1, .bytes = 5000 };

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_must_create(file, "disk", 2);
    return qcow2_fixture_content(file);
}

/* Deleting @name must be refused, and nothing be written. */
static void assert_refused(const GByteArray *image, const char *name, int code,
                           const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    GError *error = NULL;

    ck_assert(!qcow2_fixture_delete(file, name, &error));
    qcow2_fixture_assert_error(&error, code, text);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_TRUNCATE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 0);
}

START_TEST(features)
{
    const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
        int code;
        const char *text;
    } cases[] = {
        { 72, 8, 1, SNAP_ERROR_DAMAGED, "not closed properly" },
        { 72, 8, 2, SNAP_ERROR_DAMAGED, "marked corrupt" },
        { 72, 8, 4, SNAP_ERROR_UNSUPPORTED, "external data file" },
        { 32, 4, 2, SNAP_ERROR_UNSUPPORTED, "LUKS" },
    };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);

    qcow2_fixture_poke(image, cases[_i].at, cases[_i].bytes, cases[_i].value);
    assert_refused(image, "state", cases[_i].code, cases[_i].text);
}
END_TEST

/* Where the L1 table of "state" is said to be. */
START_TEST(l1_table)
{
    const struct {
        uint64_t offset;
        uint32_t size;
        const char *text;
    } cases[] = {
        { 0x10, 5, "impossible L1 table of snapshot 'state'" },
        { 1ULL << 40, 5, "impossible L1 table of snapshot 'state'" },
        { UINT64_MAX - 511, 5, "impossible L1 table of snapshot 'state'" },
        { 512, 4194305, "impossible L1 table of snapshot 'state'" },
        { 512, 1000000, "impossible L1 table of snapshot 'state'" },
    };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.at, 8, cases[_i].offset);
    qcow2_fixture_poke(image, entry.at + 8, 4, cases[_i].size);
    assert_refused(image, "state", SNAP_ERROR_DAMAGED, cases[_i].text);
    /* Nor is another one deleted while this one is in doubt. */
    if (_i > 0) {
        assert_refused(image, "disk", SNAP_ERROR_DAMAGED, cases[_i].text);
    }
}
END_TEST

/* Entry @index of the L1 table of "state". */
static uint64_t l1_entry_at(const GByteArray *image, unsigned index)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    ck_assert_uint_lt(index, entry.l1_size);
    return entry.l1_offset + index * 8;
}

static uint64_t offset_in(const GByteArray *image, uint64_t at)
{
    return qcow2_fixture_peek(image, at, 8) & 0x00fffffffffffe00ULL;
}

START_TEST(entries)
{
    const uint64_t impossible[] = { 1ULL << 60 | 512, 513, 1ULL << 40,
                                    1ULL << 62 | 1ULL << 63 | 1024 };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_autoptr(GByteArray) other = qcow2_fixture_copy(image);
    uint64_t l2 = offset_in(image, l1_entry_at(image, 1));

    qcow2_fixture_poke(image, l1_entry_at(image, 1), 8, impossible[_i]);
    assert_refused(image, "state", SNAP_ERROR_DAMAGED, "snapshot 'state'");
    qcow2_fixture_poke(other, l2 + 8 * 63, 8, impossible[_i] | 4);
    assert_refused(other, "state", SNAP_ERROR_DAMAGED, "impossible L2 entry");
}
END_TEST

/* A refcount that is too low already: nothing falls below 0. */
START_TEST(refcount_below_zero)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_autoptr(GByteArray) l2 = qcow2_fixture_copy(image);
    uint64_t at = l1_entry_at(image, 3);
    uint64_t data = offset_in(image, offset_in(image, at));

    qcow2_fixture_set_refcount(image, data / 512, 0);
    assert_refused(image, "state", SNAP_ERROR_DAMAGED,
                   "in use but its refcount is 0");
    qcow2_fixture_set_refcount(l2, offset_in(l2, at) / 512, 0);
    assert_refused(l2, "state", SNAP_ERROR_DAMAGED,
                   "in use but its refcount is 0");
    /* As often as it is named, not once. */
    g_byte_array_unref(g_steal_pointer(&image));
    image = build_with_snapshots(&plain);
    qcow2_fixture_poke(image, l1_entry_at(image, 1), 8,
                       offset_in(image, l1_entry_at(image, 3)));
    assert_refused(image, "state", SNAP_ERROR_DAMAGED,
                   "in use but its refcount is 0");
}
END_TEST

/* A snapshot that calls metadata its own data would free it. */
START_TEST(data_that_is_metadata)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_auto(Qcow2FixtureEntry) other = { 0 };
    uint64_t l2 = offset_in(image, l1_entry_at(image, 3));
    Qcow2FixtureHeader header;
    uint64_t victims[6];

    qcow2_fixture_header(image, &header);
    qcow2_fixture_entry(image, 1, &other);
    victims[0] = header.l1_offset;
    victims[1] = header.refcount_table_offset;
    victims[2] = offset_in(image, header.refcount_table_offset);
    victims[3] = header.snapshots_offset;
    victims[4] = other.l1_offset;
    victims[5] = l1_entry_at(image, 0) / 512 * 512;
    qcow2_fixture_poke(image, l2 + 8, 8, victims[_i]);
    assert_refused(image, "state", SNAP_ERROR_DAMAGED, "refcount is 0");
}
END_TEST

static GByteArray *without_disk_snapshot(BlockFile *file)
{
    qcow2_fixture_must_delete(file, "disk");
    return qcow2_fixture_content(file);
}

/*
 * Let the VM state of "state" name the data of the L2 entry at @at so often
 * that nothing is left of its refcount when the snapshot's disk drops it, too.
 */
static void name_too_often(GByteArray *image, uint64_t at)
{
    uint64_t l2 = offset_in(image, l1_entry_at(image, 3));
    uint64_t cluster = offset_in(image, at) / 512;
    uint64_t refcount = qcow2_fixture_refcount(image, cluster);
    unsigned i;

    ck_assert_uint_gt(refcount, 1);
    for (i = 0; i + 1 < refcount; i++) {
        qcow2_fixture_poke(image, l2 + i * 8, 8, cluster * 512);
    }
}

/* In an L2 table that the active disk shares with another snapshot. */
START_TEST(data_that_is_shared)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    uint64_t l1 = qcow2_fixture_peek(image, 40, 8);

    ck_assert_uint_gt(qcow2_fixture_refcount(image, offset_in(image, l1) / 512),
                      1);
    name_too_often(image, qcow2_fixture_l2_entry_at(image, l1, _i ? 2 : 0));
    assert_refused(image, "state", SNAP_ERROR_DAMAGED,
                   _i ? "compressed data" : "would have refcount 0");
}
END_TEST

/* The active disk would lose what is its own. */
START_TEST(data_that_is_the_active_disks)
{
    g_autoptr(GByteArray) both = build_with_snapshots(&plain);
    g_autoptr(BlockFile) file = qcow2_fixture_file(both);
    g_autoptr(GByteArray) image = without_disk_snapshot(file);
    g_autoptr(GByteArray) table = qcow2_fixture_copy(image);
    uint64_t l2 = offset_in(image, l1_entry_at(image, 3));
    uint64_t at = qcow2_fixture_l2_entry_at(
        image, qcow2_fixture_peek(image, 40, 8), _i ? 2 : 0);
    uint64_t cluster;
    uint64_t refcount;
    unsigned i;

    name_too_often(image, at);
    assert_refused(image, "state", SNAP_ERROR_DAMAGED,
                   _i ? "compressed data" : "would have refcount 0");

    at = qcow2_fixture_peek(table, 40, 8);
    cluster = offset_in(table, at) / 512;
    refcount = qcow2_fixture_refcount(table, cluster);
    for (i = 0; i < refcount; i++) {
        qcow2_fixture_poke(table, l2 + i * 8, 8, cluster * 512);
    }
    assert_refused(table, "state", SNAP_ERROR_DAMAGED, "an L2 table at 0x");
}
END_TEST

static Suite *delete_damage_suite(void)
{
    Suite *suite = suite_create("qcow2-delete-damage");
    TCase *tcase = tcase_create("qcow2-delete-damage");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, features, 0, 4);
    tcase_add_loop_test(tcase, l1_table, 0, 5);
    tcase_add_loop_test(tcase, entries, 0, 4);
    tcase_add_test(tcase, refcount_below_zero);
    tcase_add_loop_test(tcase, data_that_is_metadata, 0, 6);
    tcase_add_loop_test(tcase, data_that_is_the_active_disks, 0, 2);
    tcase_add_loop_test(tcase, data_that_is_shared, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(delete_damage_suite());
}
