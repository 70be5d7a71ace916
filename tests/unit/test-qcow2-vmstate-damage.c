/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * VM state whose tables are not what they should be. What is damaged is said
 * with its place; what is not, can still be read.
 */
#include <check.h>
#include <stdlib.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define VM_BYTES 100001

/* Clusters of 512 bytes; the VM state takes L1 entries 1 to 4. */
static GByteArray *build(unsigned version)
{
    Qcow2FixtureOptions options = {
        .version = version,
        .cluster_bits = 9,
        .disk_size = 32768,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = 1, .bytes = VM_BYTES };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

/* The snapshot's L1 entry with this index in the VM state. */
static uint64_t l1_entry_at(const GByteArray *image, unsigned index)
{
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    return snapshot.l1_offset + (snapshot.vm_index + index) * 8;
}

static void assert_unreadable(const GByteArray *image, uint64_t position,
                              size_t bytes, int code, const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autofree uint8_t *buffer = g_malloc(bytes);
    GError *error = NULL;

    ck_assert(!qcow2_fixture_load(file, "s", position, buffer, bytes, &error));
    qcow2_fixture_assert_error(&error, code, text);
}

static void assert_readable(const GByteArray *image, uint64_t position,
                            size_t bytes)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autofree uint8_t *expected = g_malloc(bytes);
    g_autofree uint8_t *buffer = g_malloc(bytes);
    GError *error = NULL;

    qcow2_fixture_fill(1, position, expected, bytes);
    ck_assert_msg(
        qcow2_fixture_load(file, "s", position, buffer, bytes, &error), "%s",
        error ? error->message : "");
    ck_assert_mem_eq(buffer, expected, bytes);
}

/* An L2 entry that is wrong makes its cluster unreadable, and no other. */
START_TEST(l2_entries)
{
    g_autoptr(GByteArray) image = build(3);
    const struct {
        uint64_t entry;
        int code;
        const char *text;
    } cases[] = {
        { 0, SNAP_ERROR_DAMAGED, "a hole at position 51200 of 100001" },
        { 1ULL << 63, SNAP_ERROR_DAMAGED, "a hole at position 51200" },
        { 1ULL << 62 | 4096, SNAP_ERROR_DAMAGED, "position 51200: the compr" },
        { 2 | 4096, SNAP_ERROR_DAMAGED, "position 51200: impossible L2" },
        { 1ULL << 58 | 4096, SNAP_ERROR_DAMAGED, "position 51200" },
        { 1ULL << 50, SNAP_ERROR_DAMAGED, "position 51200" },
        { image->len, SNAP_ERROR_DAMAGED, "position 51200" },
        { 3ULL << 62 | 4096, SNAP_ERROR_DAMAGED, "position 51200" },
        { 1ULL << 62 | 1ULL << 50, SNAP_ERROR_DAMAGED, "position 51200" },
        { UINT64_MAX, SNAP_ERROR_DAMAGED, "position 51200" },
    };

    ck_assert_int_lt(_i, G_N_ELEMENTS(cases));
    qcow2_fixture_poke(image, qcow2_fixture_vmstate_entry_at(image, 0, 51200),
                       8, cases[_i].entry);
    assert_unreadable(image, 51200, 1, cases[_i].code, cases[_i].text);
    assert_unreadable(image, 0, VM_BYTES, cases[_i].code, cases[_i].text);
    assert_unreadable(image, 51711, 1, cases[_i].code, "position 51711");
    assert_readable(image, 0, 51200);
    assert_readable(image, 51712, VM_BYTES - 51712);
}
END_TEST

/* An L1 entry that is impossible is noticed at once, a hole on the way. */
START_TEST(l1_entries)
{
    g_autoptr(GByteArray) image = build(3);
    const uint64_t entries[] = {
        1,          1ULL << 62, 1ULL << 56 | 4096, 768,
        1ULL << 50, image->len, UINT64_MAX,
    };
    uint64_t at = l1_entry_at(image, 2);
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(entries); i++) {
        qcow2_fixture_poke(image, at, 8, entries[i]);
        assert_unreadable(image, 0, 1, SNAP_ERROR_DAMAGED,
                          "impossible L1 entry 3");
    }
    qcow2_fixture_poke(image, at, 8, 0);
    assert_unreadable(image, 65535, 2, SNAP_ERROR_DAMAGED,
                      "a hole at position 65536");
    assert_readable(image, 0, 65536);
    assert_readable(image, 98304, VM_BYTES - 98304);
}
END_TEST

/* Neither L1 entries of the disk nor those behind the end matter. */
START_TEST(other_l1_entries)
{
    g_autoptr(GByteArray) image = build(3);
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    ck_assert_uint_eq(snapshot.l1_size, 5);
    qcow2_fixture_poke(image, snapshot.l1_offset, 8, UINT64_MAX);
    qcow2_fixture_poke(image, snapshot.l1_offset + 5 * 8, 8, UINT64_MAX);
    qcow2_fixture_poke(image, snapshot.at + 8, 4, 6);
    assert_readable(image, 0, VM_BYTES);
}
END_TEST

/* The numbers of the snapshot table entry that say where the VM state is. */
START_TEST(table_fields)
{
    static const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
        int code;
        const char *text;
    } cases[] = {
        { 0, 8, 1ULL << 50, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 0, 8, 768, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 0, 8, -512ULL, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 8, 4, 4, SNAP_ERROR_DAMAGED, "4 entries cannot map 100001" },
        { 8, 4, 0, SNAP_ERROR_DAMAGED, "cannot map" },
        { 8, 4, 4194304, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 8, 4, 4194305, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 8, 4, UINT32_MAX, SNAP_ERROR_DAMAGED, "impossible L1 table" },
        { 40, 8, 0, SNAP_ERROR_INVALID, "'s' holds no VM state" },
        { 40, 8, 131073, SNAP_ERROR_DAMAGED, "cannot map 131073 bytes" },
        { 40, 8, 1ULL << 63, SNAP_ERROR_DAMAGED, "cannot map" },
        { 40, 8, UINT64_MAX, SNAP_ERROR_DAMAGED, "cannot map" },
        { 48, 8, 32768 + 1024, SNAP_ERROR_DAMAGED, "cannot map" },
        { 48, 8, 1ULL << 63, SNAP_ERROR_DAMAGED, "cannot map" },
        { 48, 8, UINT64_MAX, SNAP_ERROR_DAMAGED, "cannot map" },
    };
    g_autoptr(GByteArray) image = build(3);
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    qcow2_fixture_poke(image, snapshot.at + cases[_i].at, cases[_i].bytes,
                       cases[_i].value);
    assert_unreadable(image, 0, 0, cases[_i].code, cases[_i].text);
}
END_TEST

/* All that the L1 can map may be claimed, but what is not there is a hole. */
START_TEST(size_that_is_not_true)
{
    g_autoptr(GByteArray) image = build(3);
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    qcow2_fixture_poke(image, snapshot.at + 40, 8, 131072);
    assert_readable(image, 0, VM_BYTES);
    assert_unreadable(image, 100352, 1, SNAP_ERROR_DAMAGED,
                      "a hole at position 100352 of 131072");
}
END_TEST

/* What the file no longer has is not taken for zeros. */
START_TEST(file_ends_in_the_data)
{
    g_autoptr(GByteArray) image = build(3);
    uint64_t at = qcow2_fixture_vmstate_entry_at(image, 0, 512);
    uint64_t end = (image->len + 511) / 512 * 512;

    /* The second cluster becomes one of which the file has 100 bytes. */
    g_byte_array_set_size(image, end + 100);
    memset(image->data + end, 0, 100);
    qcow2_fixture_poke(image, at, 8, end);
    assert_unreadable(image, 512, 101, SNAP_ERROR_DAMAGED, "the file ends at");
    assert_unreadable(image, 0, 2000, SNAP_ERROR_DAMAGED, "the file ends at");
    assert_readable(image, 0, 512);
}
END_TEST

/* Zeros, whatever the cluster that is held has in it. */
START_TEST(zero_clusters)
{
    g_autoptr(GByteArray) image = build(3);
    uint64_t plain = qcow2_fixture_vmstate_entry_at(image, 0, 1024);
    uint64_t held = qcow2_fixture_vmstate_entry_at(image, 0, 1536);
    g_autofree uint8_t *expected = g_malloc(4096);
    g_autofree uint8_t *buffer = g_malloc(4096);
    g_autoptr(BlockFile) file = NULL;

    qcow2_fixture_poke(image, plain, 8, 1);
    qcow2_fixture_poke(image, held, 8, qcow2_fixture_peek(image, held, 8) | 1);
    file = qcow2_fixture_file(image);
    qcow2_fixture_fill(1, 0, expected, 4096);
    memset(expected + 1024, 0, 1024);
    memset(buffer, 0x77, 4096);
    ck_assert(qcow2_fixture_load(file, "s", 0, buffer, 4096, NULL));
    ck_assert_mem_eq(buffer, expected, 4096);
    memset(buffer, 0x77, 4096);
    ck_assert(qcow2_fixture_load(file, "s", 1500, buffer, 1000, NULL));
    ck_assert_mem_eq(buffer, expected + 1500, 1000);
}
END_TEST

/* Version 2 has no such flag: there it is damage. */
START_TEST(zero_flag_in_version_2)
{
    g_autoptr(GByteArray) image = build(2);
    uint64_t at = qcow2_fixture_vmstate_entry_at(image, 0, 1024);

    qcow2_fixture_poke(image, at, 8, 1);
    assert_unreadable(image, 1024, 1, SNAP_ERROR_DAMAGED, "impossible L2");
    assert_readable(image, 0, 1024);
}
END_TEST

START_TEST(features)
{
    static const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
        const char *text; /* NULL: no hindrance to reading */
    } cases[] = {
        { 32, 4, 1, "AES" },
        { 32, 4, 2, "LUKS" },
        { 72, 8, 1ULL << 2, "external data file" },
        { 72, 8, 1ULL << 0, NULL },
        { 72, 8, 1ULL << 1, NULL },
        { 80, 8, UINT64_MAX, NULL },
        { 88, 8, UINT64_MAX, NULL },
    };
    g_autoptr(GByteArray) image = build(3);

    qcow2_fixture_poke(image, cases[_i].at, cases[_i].bytes, cases[_i].value);
    if (cases[_i].text) {
        assert_unreadable(image, 0, 1, SNAP_ERROR_UNSUPPORTED, cases[_i].text);
    } else {
        assert_readable(image, 0, VM_BYTES);
    }
}
END_TEST

static Suite *vmstate_damage_suite(void)
{
    Suite *suite = suite_create("qcow2-vmstate-damage");
    TCase *tcase = tcase_create("qcow2-vmstate-damage");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, l2_entries, 0, 10);
    tcase_add_test(tcase, l1_entries);
    tcase_add_test(tcase, other_l1_entries);
    tcase_add_loop_test(tcase, table_fields, 0, 15);
    tcase_add_test(tcase, size_that_is_not_true);
    tcase_add_test(tcase, file_ends_in_the_data);
    tcase_add_test(tcase, zero_clusters);
    tcase_add_test(tcase, zero_flag_in_version_2);
    tcase_add_loop_test(tcase, features, 0, 7);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(vmstate_damage_suite());
}
