/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Applying, replacing and freeing in images whose tables may say anything. What
 * is refused is refused before the first byte is written.
 */
#include <check.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define OFFSET_MASK 0x00fffffffffffe00ULL

/* Two tables of the disk, one of VM state that QEMU left there. */
static const Qcow2FixtureOptions plain = {
    .cluster_bits = 9,
    .disk_size = 2 * 32768,
    .spare_l1_entries = 1,
    .l2 = { "ddc", "dZ.", "dd" },
};

/* A snapshot with VM state, then a disk that differs, and a disk-only one. */
static GByteArray *build_with_snapshots(const Qcow2FixtureOptions *options)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "state", .seed = 1, .bytes = 5000 };

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_guest_discards(&file, 1);
    qcow2_fixture_must_create(file, "disk", 2);
    return qcow2_fixture_content(file);
}

static const Qcow2FixtureChange verbs[] = {
    { .verb = QCOW2_FIXTURE_APPLY, .name = "state" },
    { .verb = QCOW2_FIXTURE_REPLACE, .name = "state" },
    { .verb = QCOW2_FIXTURE_FREE_STALE },
    { .verb = QCOW2_FIXTURE_RENAME, .name = "state", .new_name = "new" },
};

#define VERBS ((int)G_N_ELEMENTS(verbs))

/* That verb must be refused, and nothing be written. */
static void assert_refused(const GByteArray *image, Qcow2FixtureVerb verb,
                           int code, const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    const Qcow2FixtureChange *change = verbs;
    GError *error = NULL;

    while (change->verb != verb) {
        change++;
    }
    ck_assert(!qcow2_fixture_change(file, change, &error));
    qcow2_fixture_assert_error(&error, code, text);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_TRUNCATE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_DISCARD), 0);
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
        { 96, 4, 0, SNAP_ERROR_UNSUPPORTED, "1-bit refcounts" },
    };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    int i;

    qcow2_fixture_poke(image, cases[_i].at, cases[_i].bytes, cases[_i].value);
    for (i = 0; i < VERBS; i++) {
        assert_refused(image, verbs[i].verb, cases[_i].code, cases[_i].text);
    }
}
END_TEST

/* Where entry @index of an L1 table is: of the disk, or of "state". */
static uint64_t l1_entry_at(const GByteArray *image, bool active,
                            unsigned index)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    if (active) {
        return qcow2_fixture_peek(image, 40, 8) + index * 8;
    }
    qcow2_fixture_entry(image, 0, &entry);
    return entry.l1_offset + index * 8;
}

static uint64_t offset_in(const GByteArray *image, uint64_t at)
{
    return qcow2_fixture_peek(image, at, 8) & OFFSET_MASK;
}

/* Which tables a verb follows, and must not believe. */
static const struct {
    Qcow2FixtureVerb verb;
    bool active;
    unsigned l1_index;
} followed[] = {
    { QCOW2_FIXTURE_APPLY, false, 0 },     { QCOW2_FIXTURE_APPLY, false, 1 },
    { QCOW2_FIXTURE_APPLY, true, 0 },      { QCOW2_FIXTURE_APPLY, true, 2 },
    { QCOW2_FIXTURE_REPLACE, false, 0 },   { QCOW2_FIXTURE_REPLACE, false, 2 },
    { QCOW2_FIXTURE_REPLACE, true, 1 },    { QCOW2_FIXTURE_REPLACE, true, 2 },
    { QCOW2_FIXTURE_FREE_STALE, true, 2 },
};

#define FOLLOWED ((int)G_N_ELEMENTS(followed))

START_TEST(impossible_entries)
{
    const uint64_t impossible[] = { 1ULL << 60 | 512, 513, 1ULL << 40,
                                    1ULL << 62 | 1ULL << 63 | 1024 };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    uint64_t at =
        l1_entry_at(image, followed[_i].active, followed[_i].l1_index);
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(impossible); i++) {
        g_autoptr(GByteArray) l1 = qcow2_fixture_copy(image);
        g_autoptr(GByteArray) l2 = qcow2_fixture_copy(image);

        qcow2_fixture_poke(l1, at, 8, impossible[i]);
        assert_refused(l1, followed[_i].verb, SNAP_ERROR_DAMAGED,
                       "impossible L1 entry");
        qcow2_fixture_poke(l2, offset_in(l2, at) + 8 * 63, 8,
                           impossible[i] | 4);
        assert_refused(l2, followed[_i].verb, SNAP_ERROR_DAMAGED,
                       "impossible L2 entry");
    }
}
END_TEST

/* A refcount that is too low already: of a table, and of what it holds. */
START_TEST(refcounts_too_low)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_autoptr(GByteArray) table = qcow2_fixture_copy(image);
    uint64_t at =
        l1_entry_at(image, followed[_i].active, followed[_i].l1_index);

    qcow2_fixture_set_refcount(image,
                               offset_in(image, offset_in(image, at)) / 512, 0);
    assert_refused(image, followed[_i].verb, SNAP_ERROR_DAMAGED,
                   "refcount is 0");
    qcow2_fixture_set_refcount(table, offset_in(table, at) / 512, 0);
    assert_refused(table, followed[_i].verb, SNAP_ERROR_DAMAGED,
                   "refcount is 0");
}
END_TEST

/* The disk would be left without what it shares, were it only counted. */
START_TEST(refcounts_one_too_low)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    uint64_t at =
        qcow2_fixture_l2_entry_at(image, qcow2_fixture_peek(image, 40, 8), 0);

    /* Three share it: "state", "disk" and the disk. */
    qcow2_fixture_set_refcount(image, offset_in(image, at) / 512, 1);
    assert_refused(image, QCOW2_FIXTURE_APPLY, SNAP_ERROR_DAMAGED,
                   "in use but its refcount is 0");
    assert_refused(image, QCOW2_FIXTURE_REPLACE, SNAP_ERROR_DAMAGED,
                   "in use but its refcount is 0");
}
END_TEST

/* Tables that call metadata their own would free it. */
START_TEST(data_that_is_metadata)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_auto(Qcow2FixtureEntry) other = { 0 };
    Qcow2FixtureHeader header;
    uint64_t victims[6];
    unsigned i;

    qcow2_fixture_header(image, &header);
    qcow2_fixture_entry(image, 1, &other);
    victims[0] = header.l1_offset;
    victims[1] = header.refcount_table_offset;
    victims[2] = offset_in(image, header.refcount_table_offset);
    victims[3] = header.snapshots_offset;
    victims[4] = other.l1_offset;
    victims[5] = l1_entry_at(image, false, 0) / 512 * 512;
    for (i = 0; i < G_N_ELEMENTS(victims); i++) {
        g_autoptr(GByteArray) apply = qcow2_fixture_copy(image);
        g_autoptr(GByteArray) replace = qcow2_fixture_copy(image);
        uint64_t l2 = offset_in(image, l1_entry_at(image, true, 2));

        qcow2_fixture_poke(apply, l2 + 8, 8, victims[i]);
        assert_refused(apply, QCOW2_FIXTURE_APPLY, SNAP_ERROR_DAMAGED,
                       "refcount is 0");
        assert_refused(apply, QCOW2_FIXTURE_REPLACE, SNAP_ERROR_DAMAGED,
                       "refcount is 0");
        assert_refused(apply, QCOW2_FIXTURE_FREE_STALE, SNAP_ERROR_DAMAGED,
                       "refcount is 0");
        l2 = offset_in(image, l1_entry_at(image, false, 2));
        qcow2_fixture_poke(replace, l2 + 8, 8, victims[i]);
        assert_refused(replace, QCOW2_FIXTURE_REPLACE, SNAP_ERROR_DAMAGED,
                       "refcount is 0");
    }
}
END_TEST

/* VM state that calls the disk's data its own. */
START_TEST(stale_data_that_is_the_disks)
{
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    uint64_t l2 = offset_in(image, l1_entry_at(image, true, 2));
    uint64_t at =
        qcow2_fixture_l2_entry_at(image, qcow2_fixture_peek(image, 40, 8), 64);
    uint64_t cluster = offset_in(image, at) / 512;
    uint64_t refcount = qcow2_fixture_refcount(image, cluster);
    unsigned i;

    for (i = 0; i < refcount; i++) {
        qcow2_fixture_poke(image, l2 + i * 8, 8, cluster * 512);
    }
    /* Shared L2 tables are not looked into, so it is one that is alone. */
    assert_refused(image, QCOW2_FIXTURE_APPLY, SNAP_ERROR_DAMAGED,
                   "refcount is 0");
    assert_refused(image, QCOW2_FIXTURE_REPLACE, SNAP_ERROR_DAMAGED,
                   "refcount is 0");
}
END_TEST

START_TEST(impossible_disk_size)
{
    const uint64_t sizes[] = { UINT64_MAX, 1ULL << 63, INT64_MAX - 511,
                               4194304ULL * 32768 + 512 };
    g_autoptr(GByteArray) image = build_with_snapshots(&plain);
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.at + 48, 8, sizes[_i]);
    assert_refused(image, QCOW2_FIXTURE_APPLY, SNAP_ERROR_DAMAGED,
                   "impossible disk size");
}
END_TEST

START_TEST(version_2_is_not_resized)
{
    Qcow2FixtureOptions options = plain;
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    g_autoptr(GByteArray) image = NULL;

    options.version = 2;
    options.l2[1] = "d";
    image = build_with_snapshots(&options);
    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.at + 48, 8, 32768);
    assert_refused(image, QCOW2_FIXTURE_APPLY, SNAP_ERROR_UNSUPPORTED,
                   "version 2");
}
END_TEST

/* Two bits: each refcount may become 2, and must not become 3. */
START_TEST(refcounts_too_narrow)
{
    Qcow2FixtureOptions options = plain;
    g_autoptr(GByteArray) image = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_autoptr(GByteArray) full = NULL;
    uint64_t at;

    options.refcount_bits = 2;
    image = qcow2_fixture_build(&options);
    file = qcow2_fixture_file(image);
    qcow2_fixture_must_create(file, "state", 1);
    full = qcow2_fixture_content(file);
    at = qcow2_fixture_l2_entry_at(full, l1_entry_at(full, false, 0), 0);
    qcow2_fixture_set_refcount(full, offset_in(full, at) / 512, 3);
    assert_refused(full, QCOW2_FIXTURE_APPLY, SNAP_ERROR_UNSUPPORTED,
                   "too narrow");
    assert_refused(full, QCOW2_FIXTURE_REPLACE, SNAP_ERROR_UNSUPPORTED,
                   "too narrow");
}
END_TEST

static Suite *apply_damage_suite(void)
{
    Suite *suite = suite_create("qcow2-apply-damage");
    TCase *tcase = tcase_create("qcow2-apply-damage");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, features, 0, 5);
    tcase_add_loop_test(tcase, impossible_entries, 0, FOLLOWED);
    tcase_add_loop_test(tcase, refcounts_too_low, 0, FOLLOWED);
    tcase_add_test(tcase, refcounts_one_too_low);
    tcase_add_test(tcase, data_that_is_metadata);
    tcase_add_test(tcase, stale_data_that_is_the_disks);
    tcase_add_loop_test(tcase, impossible_disk_size, 0, 4);
    tcase_add_test(tcase, version_2_is_not_resized);
    tcase_add_test(tcase, refcounts_too_narrow);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(apply_damage_suite());
}
