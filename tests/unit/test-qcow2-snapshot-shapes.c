/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Snapshot tables as other programs write them, under every change: entries
 * with less extra data than ours and with more, and as many as there may be.
 */
#include <check.h>

#include "event-loop.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define SEED     1
#define VM_BYTES 20001

/* Store another snapshot table, of @count entries, at the end of the image. */
static void put_table(GByteArray *image, const GByteArray *table,
                      uint32_t count)
{
    Qcow2FixtureHeader header;
    uint64_t end;
    uint64_t i;

    qcow2_fixture_header(image, &header);
    if (header.snapshots_offset) {
        qcow2_fixture_set_refcount(
            image, header.snapshots_offset / header.cluster_size, 0);
    }
    end = qcow2_fixture_first_fresh(image);
    g_byte_array_set_size(image, end * header.cluster_size);
    g_byte_array_append(image, table->data, table->len);
    for (i = 0; i * header.cluster_size < table->len; i++) {
        qcow2_fixture_set_refcount(image, end + i, 1);
    }
    qcow2_fixture_poke(image, 60, 4, count);
    qcow2_fixture_poke(image, 64, 8, end * header.cluster_size);
}

/* The entry of snapshot 0 with another length of extra data. */
static GByteArray *entry_with_extra(const GByteArray *image, uint32_t bytes)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    GByteArray *table = g_byte_array_new();
    uint64_t behind;
    uint32_t i;

    qcow2_fixture_entry(image, 0, &entry);
    behind = entry.at + 40 + entry.extra_bytes;
    g_byte_array_append(table, image->data + entry.at,
                        40 + MIN(bytes, entry.extra_bytes));
    for (i = entry.extra_bytes; i < bytes; i++) {
        uint8_t byte = 3 * i;

        g_byte_array_append(table, &byte, 1);
    }
    qcow2_fixture_poke(table, 32, 4, VM_BYTES);
    qcow2_fixture_poke(table, 36, 4, bytes);
    g_byte_array_append(table, image->data + behind,
                        entry.at + entry.bytes - behind);
    return table;
}

/* All but the L1's place and the name are as they were. */
static void assert_entry_kept(BlockFile *file, const GByteArray *table,
                              uint32_t extra_bytes)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);
    uint64_t at = qcow2_fixture_peek(image, 64, 8);

    qcow2_fixture_assert_sound(image);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
    ck_assert_mem_eq(image->data + at + 16, table->data + 16, 24 + extra_bytes);
}

static void assert_loads(BlockFile *file, const char *name)
{
    uint8_t expected[VM_BYTES];
    uint8_t buffer[VM_BYTES];

    qcow2_fixture_fill(SEED, 0, expected, VM_BYTES);
    ck_assert(qcow2_fixture_load(file, name, 0, buffer, VM_BYTES, NULL));
    ck_assert_mem_eq(buffer, expected, VM_BYTES);
}

/* Version 3 wants 16 bytes at least. */
START_TEST(extra_data_of_any_length)
{
    static const struct {
        unsigned version;
        uint32_t extra_bytes;
    } cases[] = { { 2, 0 },  { 2, 7 },  { 2, 16 },  { 3, 16 },
                  { 3, 23 }, { 3, 25 }, { 3, 512 }, { 3, 1024 } };
    Qcow2FixtureOptions options = {
        .version = cases[_i].version,
        .cluster_bits = 12,
        .disk_size = 100000,
        .l2 = { "dc.d" },
    };
    g_autoptr(GByteArray) built = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(built);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = VM_BYTES };
    uint32_t extra_bytes = cases[_i].extra_bytes;
    g_autoptr(GByteArray) image = NULL;
    g_autoptr(GByteArray) table = NULL;

    qcow2_fixture_must_save(file, &save);
    image = qcow2_fixture_content(file);
    table = entry_with_extra(image, extra_bytes);
    put_table(image, table, 1);
    block_file_close(file);
    file = qcow2_fixture_file(image);

    assert_entry_kept(file, table, extra_bytes);
    save.name = "second";
    qcow2_fixture_must_save(file, &save);
    assert_entry_kept(file, table, extra_bytes);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "s", NULL);
    assert_entry_kept(file, table, extra_bytes);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_RENAME, "s", "first");
    assert_entry_kept(file, table, extra_bytes);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_REPLACE, "second", NULL);
    assert_entry_kept(file, table, extra_bytes);
    assert_loads(file, "first");
    qcow2_fixture_must_delete(file, "second");
    assert_entry_kept(file, table, extra_bytes);
    qcow2_fixture_must_delete(file, "first");
}
END_TEST

/* Snapshots of nothing, called by their IDs. */
static GByteArray *build_table(uint32_t count)
{
    GByteArray *table = g_byte_array_new();
    uint32_t i;

    for (i = 1; i <= count; i++) {
        g_autofree char *id = g_strdup_printf("%u", i);
        g_autofree char *name = g_strdup_printf("s%u", i);
        uint64_t at = (table->len + 7) / 8 * 8;

        g_byte_array_set_size(table, at + 64);
        memset(table->data + at, 0, 64);
        qcow2_fixture_poke(table, at + 12, 2, strlen(id));
        qcow2_fixture_poke(table, at + 14, 2, strlen(name));
        qcow2_fixture_poke(table, at + 36, 4, 24);
        g_byte_array_append(table, (const uint8_t *)id, strlen(id));
        g_byte_array_append(table, (const uint8_t *)name, strlen(name));
    }
    return table;
}

static uint64_t count_snapshots(BlockFile *file)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);

    return qcow2_fixture_peek(image, 60, 4);
}

/* One more fits, another one does not, unless it replaces one. */
START_TEST(as_many_as_there_may_be)
{
    static const Qcow2FixtureOptions options = { .cluster_bits = 16 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(GByteArray) table = build_table(65535);
    g_autoptr(BlockFile) file = NULL;
    Qcow2FixtureSave save = { .name = "last", .seed = SEED, .bytes = VM_BYTES };
    GError *error = NULL;

    put_table(image, table, 65535);
    file = qcow2_fixture_file(image);
    qcow2_fixture_must_save(file, &save);
    ck_assert_uint_eq(count_snapshots(file), 65536);

    save.name = "more";
    ck_assert(!qcow2_fixture_save(file, &save, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "65536 snapshots");
    ck_assert(!qcow2_fixture_create(file, "more", 1, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "65536 snapshots");
    assert_loads(file, "last");

    save.name = "last";
    save.replace = true;
    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_RENAME, "s1", "first");
    qcow2_fixture_must_delete(file, "s30000");
    assert_loads(file, "last");
    ck_assert_uint_eq(count_snapshots(file), 65535);
}
END_TEST

static Suite *snapshot_shapes_suite(void)
{
    Suite *suite = suite_create("qcow2-snapshot-shapes");
    TCase *tcase = tcase_create("qcow2-snapshot-shapes");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, extra_data_of_any_length, 0, 8);
    tcase_add_test(tcase, as_many_as_there_may_be);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snapshot_shapes_suite());
}
