/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Writing the snapshot table: old entries stay what they are to the last byte,
 * but for what is to change, new ones are what QEMU would write.
 */
#include <check.h>
#include <stdlib.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/internal.h"

/*
 * An image with three snapshots that say more than we understand: long extra
 * data, none at all, and names with a NUL and bytes that are no text.
 */
static GByteArray *build_strange_table(void)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 32768,
        .l2 = { "d" },
    };
    static const struct {
        unsigned extra;
        unsigned id;
        unsigned name;
    } lengths[] = { { 1024, 3, 300 }, { 0, 0, 0 }, { 33, 9, 1 } };
    GByteArray *image = qcow2_fixture_build(&options);
    uint64_t at = image->len;
    unsigned i;

    qcow2_fixture_poke(image, 60, 4, G_N_ELEMENTS(lengths));
    qcow2_fixture_poke(image, 64, 8, at);
    for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
        uint64_t bytes = 40 + lengths[i].extra + lengths[i].id +
                         lengths[i].name;

        at = (at + 7) / 8 * 8;
        g_byte_array_set_size(image, at + bytes);
        qcow2_fixture_fill(i, 0, image->data + at, bytes);
        qcow2_fixture_poke(image, at, 8, 0);
        qcow2_fixture_poke(image, at + 8, 4, 0);
        qcow2_fixture_poke(image, at + 12, 2, lengths[i].id);
        qcow2_fixture_poke(image, at + 14, 2, lengths[i].name);
        qcow2_fixture_poke(image, at + 36, 4, lengths[i].extra);
        at += bytes;
    }
    image->data[image->len - 3] = 0;
    for (i = qcow2_fixture_peek(image, 64, 8) / 512; i * 512 < at; i++) {
        qcow2_fixture_set_refcount(image, i, 1);
    }
    return image;
}

START_TEST(old_entries_are_kept_byte_for_byte)
{
    g_autoptr(GByteArray) before = build_strange_table();
    g_autoptr(BlockFile) file = qcow2_fixture_file(before);
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureSave save = { .name = "new", .seed = 1, .bytes = 3000 };
    unsigned i;

    qcow2_fixture_must_save(file, &save);
    after = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(after);
    ck_assert_uint_eq(qcow2_fixture_peek(after, 60, 4), 4);
    for (i = 0; i < 3; i++) {
        g_auto(Qcow2FixtureEntry) old = { 0 };
        g_auto(Qcow2FixtureEntry) kept = { 0 };

        qcow2_fixture_entry(before, i, &old);
        qcow2_fixture_entry(after, i, &kept);
        ck_assert_uint_eq(kept.bytes, old.bytes);
        ck_assert_uint_eq(kept.at % 8, 0);
        ck_assert_mem_eq(after->data + kept.at, before->data + old.at,
                         old.bytes);
    }
}
END_TEST

/* The layout of QEMU: 24 bytes of extra data, in version 2 as well. */
START_TEST(new_entry)
{
    Qcow2FixtureOptions options = {
        .version = 2 + _i,
        .cluster_bits = 9,
        .disk_size = 33333,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureSave save = { .name = "new", .seed = 6, .bytes = 70001 };
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    uint64_t at;

    qcow2_fixture_must_save(file, &save);
    after = qcow2_fixture_content(file);
    qcow2_fixture_entry(after, 0, &entry);
    at = entry.at;
    /* Two L1 entries for the disk, three for 137 clusters of VM state. */
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 8, 4), 5);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 12, 2), 1);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 14, 2), 3);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 16, 4), 1006);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 20, 4), 5);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 24, 8), 42);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 32, 4), 70001);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 36, 4), 24);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 40, 8), 70001);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 48, 8), 33280);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 56, 8), UINT64_MAX);
    ck_assert_mem_eq(after->data + at + 64, "1new", 4);
}
END_TEST

/* What does not fit into 32 bits is in the 64-bit field alone. */
START_TEST(size_fields)
{
    static const struct {
        uint64_t size;
        uint32_t field;
    } cases[] = {
        { 0, 0 },
        { 1, 1 },
        { UINT32_MAX, UINT32_MAX },
        { UINT32_MAX + 1ULL, 0 },
        { UINT32_MAX + 2ULL, 0 },
        { UINT64_MAX, 0 },
    };
    Qcow2Snapshot snapshot = {
        .id = (char *)"1",
        .name = (char *)"n",
        .vm_state_size = cases[_i].size,
    };
    g_autoptr(GBytes) bytes = qcow2_snapshot_encode(&snapshot);
    g_autoptr(GByteArray) entry = g_byte_array_new();

    g_byte_array_append(entry, g_bytes_get_data(bytes, NULL),
                        g_bytes_get_size(bytes));
    ck_assert_uint_eq(entry->len, 66);
    ck_assert_uint_eq(qcow2_fixture_peek(entry, 32, 4), cases[_i].field);
    ck_assert_uint_eq(qcow2_fixture_peek(entry, 40, 8), cases[_i].size);
}
END_TEST

/* A table of the same entry over and over; the entry is the caller's. */
static GPtrArray *repeat(Qcow2Snapshot *snapshot, unsigned count)
{
    GPtrArray *snapshots = g_ptr_array_new();

    while (count-- > 0) {
        g_ptr_array_add(snapshots, snapshot);
    }
    return snapshots;
}

static void assert_full(const GPtrArray *snapshots, GBytes *entry,
                        const char *text)
{
    GError *error = NULL;

    ck_assert_ptr_null(
        qcow2_snapshot_table_append(snapshots, NULL, entry, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, text);
}

START_TEST(most_snapshots)
{
    Qcow2Snapshot snapshot = { .id = (char *)"1", .name = (char *)"n" };
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(&snapshot);
    g_autoptr(GPtrArray) snapshots = NULL;
    g_autoptr(GByteArray) table = NULL;

    snapshot.entry = entry;
    snapshots = repeat(&snapshot, 65535);
    table = qcow2_snapshot_table_append(snapshots, NULL, entry, NULL);
    ck_assert_ptr_nonnull(table);
    ck_assert_uint_eq(table->len, 72 * 65535 + 66);
    g_ptr_array_add(snapshots, &snapshot);
    assert_full(snapshots, entry, "65536 snapshots");
}
END_TEST

START_TEST(longest_table)
{
    Qcow2Snapshot snapshot = { 0 };
    g_autofree uint8_t *bytes = g_malloc0(1 << 16);
    g_autoptr(GBytes) large = g_bytes_new_static(bytes, 1 << 16);
    g_autoptr(GBytes) small = g_bytes_new_static(bytes, 8);
    g_autoptr(GPtrArray) snapshots = NULL;
    g_autoptr(GByteArray) table = NULL;

    snapshot.entry = large;
    snapshots = repeat(&snapshot, 1023);
    table = qcow2_snapshot_table_append(snapshots, NULL, large, NULL);
    ck_assert_ptr_nonnull(table);
    ck_assert_uint_eq(table->len, 64 << 20);
    ck_assert_uint_eq(qcow2_snapshot_table_bytes(snapshots), 1023 << 16);
    g_ptr_array_add(snapshots, &snapshot);
    assert_full(snapshots, small, "64 MiB");
}
END_TEST

/* "1" and "n" behind @extra bytes of extra data, all other bytes are 0xab. */
static GByteArray *strange_entry(unsigned extra)
{
    GByteArray *entry = g_byte_array_new();

    g_byte_array_set_size(entry, 40 + extra);
    memset(entry->data, 0xab, entry->len);
    qcow2_fixture_poke(entry, 12, 2, 1);
    qcow2_fixture_poke(entry, 14, 2, 1);
    qcow2_fixture_poke(entry, 36, 4, extra);
    return g_byte_array_append(entry, (const uint8_t *)"1n", 2);
}

/* What the entry becomes, written by hand. */
static void expect_vmstate(GByteArray *entry, unsigned extra, uint64_t size)
{
    if (extra < 8) {
        g_byte_array_set_size(entry, 40);
        qcow2_fixture_poke(entry, 36, 4, 24);
        g_byte_array_set_size(entry, 64);
        qcow2_fixture_poke(entry, 48, 8, 0x123400);
        qcow2_fixture_poke(entry, 56, 8, UINT64_MAX);
        g_byte_array_append(entry, (const uint8_t *)"1n", 2);
    }
    qcow2_fixture_poke(entry, 0, 8, 0x5600);
    qcow2_fixture_poke(entry, 8, 4, 78);
    qcow2_fixture_poke(entry, 32, 4, size > UINT32_MAX ? 0 : size);
    qcow2_fixture_poke(entry, 40, 8, size);
}

/* Other VM state in the middle one of three: no other byte changes. */
START_TEST(other_vmstate)
{
    static const unsigned extras[] = { 0, 4, 7, 8, 12, 16, 24, 31, 1024 };
    unsigned extra = extras[_i / 2];
    uint64_t size = _i % 2 ? UINT32_MAX + 1ULL : UINT32_MAX;
    g_autoptr(GByteArray) stored = strange_entry(extra);
    g_autoptr(GBytes) entry = g_bytes_new(stored->data, stored->len);
    Qcow2Snapshot other = { .entry = entry };
    Qcow2Snapshot old = {
        .entry = entry,
        .disk_size = 0x123400,
        .icount = QCOW2_NO_ICOUNT,
    };
    Qcow2Snapshot changed = {
        .l1_table_offset = 0x5600,
        .l1_size = 78,
        .vm_state_size = size,
    };
    g_autoptr(GPtrArray) snapshots = repeat(&other, 3);
    g_autoptr(GByteArray) expected = g_byte_array_new();
    g_autoptr(GByteArray) table = NULL;
    unsigned i;

    g_ptr_array_index(snapshots, 1) = &old;
    for (i = 0; i < 3; i++) {
        g_autoptr(GByteArray) one = strange_entry(extra);

        if (i == 1) {
            expect_vmstate(one, extra, size);
        }
        while (expected->len % 8) {
            g_byte_array_append(expected, (const uint8_t *)"", 1);
        }
        g_byte_array_append(expected, one->data, one->len);
    }
    table =
        qcow2_snapshot_table_change_vmstate(snapshots, &old, &changed, NULL);
    ck_assert_ptr_nonnull(table);
    ck_assert_uint_eq(table->len, expected->len);
    ck_assert_mem_eq(table->data, expected->data, expected->len);
}
END_TEST

static Suite *snapshot_entry_suite(void)
{
    Suite *suite = suite_create("qcow2-snapshot-entry");
    TCase *tcase = tcase_create("qcow2-snapshot-entry");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, old_entries_are_kept_byte_for_byte);
    tcase_add_loop_test(tcase, new_entry, 0, 2);
    tcase_add_loop_test(tcase, size_fields, 0, 6);
    tcase_add_loop_test(tcase, other_vmstate, 0, 18);
    tcase_add_test(tcase, most_snapshots);
    tcase_add_test(tcase, longest_table);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snapshot_entry_suite());
}
