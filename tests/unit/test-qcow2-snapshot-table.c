/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The snapshot table: entries of every age and length, tables that end too
 * early, names and IDs, and what a rewrite keeps.
 */
#include <check.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/internal.h"

#define DISK_SIZE 33333

/* What one entry of a table says. */
typedef struct EntryOptions {
    const char *id;
    const char *name;
    uint32_t vm_state_size; /* the 32-bit field */
    const char *extra;
    uint32_t extra_bytes;
} EntryOptions;

static void add_entry(GByteArray *table, const EntryOptions *options)
{
    static const uint8_t zeros[40];
    uint64_t at = (table->len + 7) / 8 * 8;
    size_t id_bytes = strlen(options->id);
    size_t name_bytes = strlen(options->name);

    g_byte_array_append(table, zeros, at - table->len);
    g_byte_array_append(table, zeros, 40);
    qcow2_fixture_poke(table, at + 12, 2, id_bytes);
    qcow2_fixture_poke(table, at + 14, 2, name_bytes);
    qcow2_fixture_poke(table, at + 16, 4, 0xfedcba98);
    qcow2_fixture_poke(table, at + 20, 4, 999999999);
    qcow2_fixture_poke(table, at + 24, 8, 0x123456789abcdef0);
    qcow2_fixture_poke(table, at + 32, 4, options->vm_state_size);
    qcow2_fixture_poke(table, at + 36, 4, options->extra_bytes);
    g_byte_array_append(table, (const uint8_t *)options->extra,
                        options->extra_bytes);
    g_byte_array_append(table, (const uint8_t *)options->id, id_bytes);
    g_byte_array_append(table, (const uint8_t *)options->name, name_bytes);
}

/* An image whose snapshot table is the end of the file. */
static GByteArray *build(const GByteArray *table, uint32_t count)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = DISK_SIZE,
        .l2 = { "d" },
    };
    GByteArray *image = qcow2_fixture_build(&options);
    uint64_t i;

    qcow2_fixture_poke(image, 60, 4, count);
    qcow2_fixture_poke(image, 64, 8, image->len);
    for (i = 0; i < table->len && i < 65536; i += 512) {
        qcow2_fixture_set_refcount(image, (image->len + i) / 512, 1);
    }
    return g_byte_array_append(image, table->data, table->len);
}

typedef struct Open {
    BlockFile *file;
    Qcow2Image *image;
    GError *error;
} Open;

static void coroutine_fn open_entry(void *opaque)
{
    Open *open = opaque;

    open->image = qcow2_open(open->file, &open->error);
}

/* Opened with `error' set, or with an image. */
static Open open_image(const GByteArray *image)
{
    Open open = { .file = qcow2_fixture_file(image) };

    event_loop_run(open_entry, &open);
    ck_assert(!open.image == !!open.error);
    return open;
}

static void open_clear(Open *open)
{
    qcow2_close(open->image);
    block_file_close(open->file);
}

static Open open_table(const GByteArray *table, uint32_t count)
{
    g_autoptr(GByteArray) image = build(table, count);

    return open_image(image);
}

/* Extra data of every length has another meaning. */
START_TEST(extra_data)
{
    static const struct {
        uint32_t bytes;
        uint64_t vm_state_size;
        uint64_t disk_size;
        uint64_t icount;
    } cases[] = {
        { 0, 77, 33280, QCOW2_NO_ICOUNT },
        { 7, 77, 33280, QCOW2_NO_ICOUNT },
        { 8, 0x0102030405060708, 33280, QCOW2_NO_ICOUNT },
        { 15, 0x0102030405060708, 33280, QCOW2_NO_ICOUNT },
        { 16, 0x0102030405060708, 0x1112131415161718, QCOW2_NO_ICOUNT },
        { 23, 0x0102030405060708, 0x1112131415161718, QCOW2_NO_ICOUNT },
        { 24, 0x0102030405060708, 0x1112131415161718, 0x2122232425262728 },
        { 25, 0x0102030405060708, 0x1112131415161718, 0x2122232425262728 },
        { 1024, 0x0102030405060708, 0x1112131415161718, 0x2122232425262728 },
    };
    static const char start[1024] = "\1\2\3\4\5\6\7\10\21\22\23\24\25\26\27"
                                    "\30\41\42\43\44\45\46\47\50rest";
    g_autoptr(GByteArray) table = g_byte_array_new();
    EntryOptions options = { "12", "a name", 77, start, cases[_i].bytes };
    Open open;
    const Qcow2Snapshot *snapshot;

    add_entry(table, &options);
    open = open_table(table, 1);
    snapshot = g_ptr_array_index(qcow2_snapshots(open.image), 0);
    ck_assert_str_eq(snapshot->id, "12");
    ck_assert_str_eq(snapshot->name, "a name");
    ck_assert_uint_eq(snapshot->date_sec, 0xfedcba98);
    ck_assert_uint_eq(snapshot->date_nsec, 999999999);
    ck_assert_uint_eq(snapshot->vm_clock_nsec, 0x123456789abcdef0);
    ck_assert_uint_eq(snapshot->vm_state_size, cases[_i].vm_state_size);
    ck_assert_uint_eq(snapshot->disk_size, cases[_i].disk_size);
    ck_assert_uint_eq(snapshot->icount, cases[_i].icount);
    open_clear(&open);
}
END_TEST

START_TEST(no_snapshots)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    Open open = open_table(table, 0);

    ck_assert_uint_eq(qcow2_snapshots(open.image)->len, 0);
    ck_assert_ptr_null(qcow2_find_snapshot(open.image, ""));
    open_clear(&open);
}
END_TEST

START_TEST(too_much_extra_data)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    g_autofree char *extra = g_strnfill(1025, 'e');
    EntryOptions first = { "1", "one", 0, "", 0 };
    EntryOptions second = { "2", "two", 0, extra, 1025 };
    g_autoptr(GByteArray) image = NULL;
    g_autofree char *where = NULL;
    Open open;

    add_entry(table, &first);
    add_entry(table, &second);
    image = build(table, 2);
    where = g_strdup_printf("snapshot 2 of 2: snapshot entry at 0x%x has 1025",
                            image->len - table->len + 48);
    open = open_image(image);
    qcow2_fixture_assert_error(&open.error, SNAP_ERROR_DAMAGED, where);
    open_clear(&open);
}
END_TEST

/* The file may end with the last name, and not a byte before it. */
START_TEST(cut_at_every_length)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    EntryOptions options = { "1", "one", 0, "eleven byte", 11 };
    g_autoptr(GByteArray) image = NULL;
    unsigned cut;
    Open open;

    add_entry(table, &options);
    add_entry(table, &options);
    ck_assert_uint_ne(table->len % 8, 0);
    image = build(table, 2);
    open = open_image(image);
    ck_assert_uint_eq(qcow2_snapshots(open.image)->len, 2);
    open_clear(&open);
    for (cut = 1; cut < table->len; cut++) {
        g_byte_array_set_size(image, image->len - 1);
        open = open_image(image);
        qcow2_fixture_assert_error(&open.error, SNAP_ERROR_DAMAGED,
                                   "runs past the end of the file");
        open_clear(&open);
    }
    g_byte_array_set_size(image, image->len - 1);
    open = open_image(image);
    qcow2_fixture_assert_error(&open.error, SNAP_ERROR_DAMAGED,
                               "(header offset 64)");
    open_clear(&open);
}
END_TEST

/* Twelve changed bytes make 65536 snapshots, none of which is there. */
START_TEST(count_that_is_not_true)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    EntryOptions options = { "1", "one", 0, "", 0 };
    Open open;

    add_entry(table, &options);
    open = open_table(table, 65536);
    qcow2_fixture_assert_error(&open.error, SNAP_ERROR_DAMAGED,
                               "snapshot 2 of 65536");
    open_clear(&open);
}
END_TEST

/* Longer than what is read at once, in a few reads. */
START_TEST(long_table)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    g_autofree char *name = g_strnfill(60000, 'n');
    EntryOptions options = { "1", name, 0, "", 0 };
    unsigned i, count = 1090;
    Open open;

    for (i = 0; i < count; i++) {
        add_entry(table, &options);
    }
    open = open_table(table, count);
    ck_assert_uint_eq(qcow2_snapshots(open.image)->len, count);
    ck_assert_uint_le(memory_file_count(open.file, MEMORY_FILE_READ), count);
    open_clear(&open);
    /* From 64 MiB on it is too long. */
    for (i = 0; table->len <= 64 << 20; i++) {
        add_entry(table, &options);
    }
    open = open_table(table, count + i);
    qcow2_fixture_assert_error(&open.error, SNAP_ERROR_DAMAGED, "64 MiB");
    open_clear(&open);
}
END_TEST

static Open open_named(const char *const (*ids_and_names)[2], unsigned count)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    unsigned i;

    for (i = 0; i < count; i++) {
        EntryOptions options = { ids_and_names[i][0], ids_and_names[i][1], 0,
                                 "", 0 };

        add_entry(table, &options);
    }
    return open_table(table, count);
}

static void assert_finds(const Open *open, const char *id_or_name, int index)
{
    const GPtrArray *snapshots = qcow2_snapshots(open->image);
    const Qcow2Snapshot *expected =
        index < 0 ? NULL : g_ptr_array_index(snapshots, index);

    ck_assert_ptr_eq(qcow2_find_snapshot(open->image, id_or_name), expected);
}

START_TEST(find_goes_by_id_before_name)
{
    static const char *const entries[][2] = {
        { "1", "3" }, { "2", "x" },   { "3", "x" },
        { "4", "4" }, { "3", "1st" }, { "", "y" },
    };
    Open open = open_named(entries, G_N_ELEMENTS(entries));

    assert_finds(&open, "1", 0);
    assert_finds(&open, "3", 2);
    assert_finds(&open, "x", 1);
    assert_finds(&open, "4", 3);
    assert_finds(&open, "1st", 4);
    assert_finds(&open, "", 5);
    assert_finds(&open, "5", -1);
    assert_finds(&open, "X", -1);
    open_clear(&open);
}
END_TEST

START_TEST(new_id_is_one_more_than_the_largest)
{
    static const struct {
        const char *ids[3];
        const char *next;
    } cases[] = {
        { { "", "", "" }, "1" },
        { { "1", "2", "3" }, "4" },
        { { "7", "2", "3" }, "8" },
        { { "x", "-3", "+" }, "1" },
        { { "12abc", "9", " 3" }, "13" },
        { { "007", "1", "1" }, "8" },
        { { "4294967294", "1", "2" }, "4294967295" },
        { { "4294967295", "1", "2" }, "3" },
        { { "4294967294", "4294967295", "1" }, "4294967296" },
        { { "18446744073709551615", "99999999999999999999", "5" }, "6" },
    };
    const char *const entries[][2] = {
        { cases[_i].ids[0], "a" },
        { cases[_i].ids[1], "b" },
        { cases[_i].ids[2], "c" },
    };
    Open open = open_named(entries, 3);
    g_autofree char *id =
        qcow2_snapshot_new_id(qcow2_snapshots(open.image), NULL);

    ck_assert_str_eq(id, cases[_i].next);
    open_clear(&open);
}
END_TEST

START_TEST(new_names)
{
    static const char *const entries[][2] = { { "1", "taken" },
                                              { "a7", "other" } };
    static const struct {
        const char *name;
        int code; /* -1: allowed */
    } cases[] = {
        { "fresh", -1 },
        { "1a", -1 },
        { "-1", -1 },
        { "1.0", -1 },
        { " 1", -1 },
        { "Taken", -1 },
        { "two words", -1 },
        { "z\xc3\xbcrich", -1 },
        { "\xff\x80", -1 },
        { "", SNAP_ERROR_INVALID },
        { "0", SNAP_ERROR_INVALID },
        { "007", SNAP_ERROR_INVALID },
        { "99999999999999999999999", SNAP_ERROR_INVALID },
        { "a\tb", SNAP_ERROR_INVALID },
        { "\x1b[31m", SNAP_ERROR_INVALID },
        { "del\x7f", SNAP_ERROR_INVALID },
        { "taken", SNAP_ERROR_EXISTS },
        { "a7", SNAP_ERROR_EXISTS }, /* an ID */
    };
    Open open = open_named(entries, 2);
    g_autofree char *longest = g_strnfill(255, 'l');
    g_autofree char *longer = g_strnfill(256, 'l');
    GError *error = NULL;
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        bool allowed =
            qcow2_check_new_name(open.image, cases[i].name, NULL, &error);

        ck_assert_int_eq(allowed, cases[i].code < 0);
        if (!allowed) {
            qcow2_fixture_assert_error(&error, cases[i].code, "snapshot");
        }
    }
    ck_assert(qcow2_check_new_name(open.image, longest, NULL, &error));
    ck_assert(!qcow2_check_new_name(open.image, longer, NULL, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_INVALID, "255 bytes");
    open_clear(&open);
}
END_TEST

static Suite *snapshot_table_suite(void)
{
    Suite *suite = suite_create("qcow2-snapshot-table");
    TCase *tcase = tcase_create("qcow2-snapshot-table");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, extra_data, 0, 9);
    tcase_add_test(tcase, no_snapshots);
    tcase_add_test(tcase, too_much_extra_data);
    tcase_add_test(tcase, cut_at_every_length);
    tcase_add_test(tcase, count_that_is_not_true);
    tcase_add_test(tcase, long_table);
    tcase_add_test(tcase, find_goes_by_id_before_name);
    tcase_add_loop_test(tcase, new_id_is_one_more_than_the_largest, 0, 10);
    tcase_add_test(tcase, new_names);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snapshot_table_suite());
}
