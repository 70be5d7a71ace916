/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Applying snapshots, renaming and replacing them, and freeing VM state that
 * was left in the active L1, on images of every shape. After each change the
 * image must be sound, without a leak and with the right COPIED flags, and
 * nothing else may look different.
 */
#include <check.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 9,
      .disk_size = 200000,
      .l2 = { "d.c", NULL, "dd", "c" } },
    { .cluster_bits = 9,
      .disk_size = 65536,
      .refcount_bits = 64,
      .free_clusters = 200,
      .l2 = { "ddd", "dcZ" } },
    { .cluster_bits = 12,
      .refcount_bits = 4,
      .disk_size = 1 << 20,
      .l2 = { "d.d.Zzdd" } },
    { .cluster_bits = 12,
      .refcount_bits = 32,
      .disk_size = 4 << 20,
      .l2 = { "dd", "ddcc" } },
    { .cluster_bits = 16, .disk_size = 1 << 20, .l2 = { "dcZd" } },
    /* The least that leaves a reference in reserve. */
    { .cluster_bits = 12,
      .refcount_bits = 2,
      .disk_size = 1 << 20,
      .l2 = { "dd" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .spare_l1_entries = 1,
      .l2 = { "pqd.Zzcp", "dp" } },
    /* VM state that QEMU left in the active L1. */
    { .cluster_bits = 9,
      .disk_size = 32768,
      .spare_l1_entries = 2,
      .l2 = { "dd", "dddc", "d" } },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))

static const Qcow2FixtureOptions two_tables = {
    .cluster_bits = 9,
    .disk_size = 65536,
    .l2 = { "dd", "d" },
};

static void assert_qemu_is_content(BlockFile *file)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);

    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
}

/* What is described with line @number, from 0, as another one has it. */
static void assert_differs_in_line(const char *text, const char *other,
                                   unsigned number)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_auto(GStrv) others = g_strsplit(other, "\n", -1);
    unsigned i;

    ck_assert_uint_eq(g_strv_length(lines), g_strv_length(others));
    for (i = 0; lines[i]; i++) {
        if (i == number) {
            ck_assert_str_ne(lines[i], others[i]);
        } else {
            ck_assert_str_eq(lines[i], others[i]);
        }
    }
}

/* There and back again: the disk is what each snapshot says. */
START_TEST(apply_brings_the_disk_back)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "full", .seed = 1, .bytes = 30001 };
    Qcow2StaleVmstate stale;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autofree char *back = NULL;
    g_autofree char *forth = NULL;

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_guest_discards(&file, 0);
    if (shapes[_i].refcount_bits != 2) {
        qcow2_fixture_must_create(file, "empty", 2);
    }
    second = qcow2_fixture_describe_sound(file);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "full", NULL);
    first = qcow2_fixture_describe_sound(file);
    assert_differs_in_line(first, second, 0);
    assert_qemu_is_content(file);
    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(!stale.present);

    /* Once more is nothing new. */
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "full", NULL);
    back = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(first, back);
    if (shapes[_i].refcount_bits != 2) {
        qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "empty", NULL);
        forth = qcow2_fixture_describe_sound(file);
        ck_assert_str_eq(second, forth);
        qcow2_fixture_must_delete(file, "empty");
    }
    qcow2_fixture_must_delete(file, "full");
    g_free(qcow2_fixture_describe_sound(file));
    assert_qemu_is_content(file);
}
END_TEST

/* The guest may write again: the snapshot does not see it. */
START_TEST(apply_shares_nothing_writable)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    qcow2_fixture_must_create(file, "s", 1);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "s", NULL);
    before = qcow2_fixture_describe_sound(file);
    qcow2_fixture_guest_discards(&file, 0);
    after = qcow2_fixture_describe_sound(file);
    assert_differs_in_line(before, after, 0);
}
END_TEST

/* The disk has another size then: smaller, larger, larger than its L1. */
START_TEST(apply_resizes)
{
    const uint64_t sizes[] = { 32768, 512, 3 * 32768, 3 * 32768 + 512, 0 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&two_tables);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(BlockFile) resized = NULL;
    g_autoptr(GByteArray) other = NULL;
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    Qcow2FixtureHeader header;
    g_autoptr(GByteArray) after = NULL;

    qcow2_fixture_must_create(file, "other", 1);
    qcow2_fixture_must_create(file, "same", 2);
    other = qcow2_fixture_content(file);
    qcow2_fixture_entry(other, 0, &entry);
    qcow2_fixture_poke(other, entry.at + 48, 8, sizes[_i]);
    resized = qcow2_fixture_file(other);
    qcow2_fixture_must_change(resized, QCOW2_FIXTURE_APPLY, "other", NULL);
    g_free(qcow2_fixture_describe_sound(resized));
    after = qcow2_fixture_content(resized);
    qcow2_fixture_header(after, &header);
    ck_assert_uint_eq(header.disk_size, sizes[_i]);
    assert_qemu_is_content(resized);

    qcow2_fixture_must_change(resized, QCOW2_FIXTURE_APPLY, "same", NULL);
    g_byte_array_unref(g_steal_pointer(&after));
    after = qcow2_fixture_content(resized);
    qcow2_fixture_header(after, &header);
    ck_assert_uint_eq(header.disk_size, two_tables.disk_size);
    assert_qemu_is_content(resized);
}
END_TEST

/* An odd size is the image's own affair: entries hold whole sectors. */
START_TEST(apply_keeps_an_odd_size)
{
    Qcow2FixtureOptions options = two_tables;
    g_autoptr(GByteArray) image = NULL;
    g_autoptr(BlockFile) file = NULL;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    options.disk_size = 32768 + 7;
    image = qcow2_fixture_build(&options);
    file = qcow2_fixture_file(image);
    qcow2_fixture_must_create(file, "s", 1);
    before = qcow2_fixture_describe_sound(file);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "s", NULL);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(before, after);
}
END_TEST

/* The entry is the same but for the name, extra data included. */
START_TEST(rename_changes_a_name)
{
    const char *const names[] = { "x", "s1 with a much longer name" };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) before = NULL;
    Qcow2FixtureSave save = { .name = "s1", .seed = 1, .bytes = 3000 };
    unsigned i;

    qcow2_fixture_must_save(file, &save);
    if (shapes[_i].refcount_bits != 2) {
        qcow2_fixture_must_create(file, "s2", 2);
    }
    before = qcow2_fixture_content(file);
    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *old_text = qcow2_fixture_describe_sound(file);
        g_autofree char *new_text = NULL;
        g_autofree char *found = NULL;

        qcow2_fixture_must_change(file, QCOW2_FIXTURE_RENAME, "1", names[i]);
        new_text = qcow2_fixture_describe_sound(file);
        assert_differs_in_line(old_text, new_text, 1);
        found = g_strdup_printf("1 '%s' 3000 bytes ", names[i]);
        ck_assert_ptr_nonnull(strstr(new_text, found));
    }
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_RENAME, "1", "s1");
    {
        g_autofree char *old_text = qcow2_fixture_describe(before);
        g_autofree char *new_text = qcow2_fixture_describe_sound(file);

        ck_assert_str_eq(old_text, new_text);
    }
    assert_qemu_is_content(file);
}
END_TEST

START_TEST(rename_keeps_unknown_extra_data)
{
    enum {
        EXTRA_AT = 40,
        EXTRA = 24,
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&two_tables);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(BlockFile) renamed = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    g_auto(Qcow2FixtureEntry) old = { 0 };
    g_auto(Qcow2FixtureEntry) new = { 0 };

    /* A name of 9 bytes becomes 8 bytes of extra data and one of name. */
    qcow2_fixture_must_create(file, "unknown.n", 1);
    before = qcow2_fixture_content(file);
    qcow2_fixture_entry(before, 0, &old);
    qcow2_fixture_poke(before, old.at + 36, 4, EXTRA + 8);
    qcow2_fixture_poke(before, old.at + 14, 2, 1);
    memmove(before->data + old.at + EXTRA_AT + EXTRA + 8,
            before->data + old.at + EXTRA_AT + EXTRA, 1);
    memset(before->data + old.at + EXTRA_AT + EXTRA, 0xab, 8);
    before->data[old.at + EXTRA_AT + EXTRA + 9] = 'n';
    renamed = qcow2_fixture_file(before);
    qcow2_fixture_must_change(renamed, QCOW2_FIXTURE_RENAME, "n", "other");
    after = qcow2_fixture_content(renamed);
    qcow2_fixture_entry(after, 0, &new);
    ck_assert_str_eq(new.name, "other");
    ck_assert_uint_eq(new.extra_bytes, EXTRA + 8);
    ck_assert_mem_eq(after->data + new.at, before->data + old.at, 14);
    ck_assert_mem_eq(after->data + new.at + 16, before->data + old.at + 16,
                     EXTRA_AT + EXTRA + 8 + 1 - 16);
}
END_TEST

START_TEST(rename_refuses_names)
{
    const struct {
        const char *name;
        int code;
        const char *text;
    } cases[] = {
        { "", SNAP_ERROR_INVALID, "is empty" },
        { "12", SNAP_ERROR_INVALID, "is a number" },
        { "a\nb", SNAP_ERROR_INVALID, "control characters" },
        { "s1", SNAP_ERROR_EXISTS, "already exists" },
        { "s2", SNAP_ERROR_EXISTS, "already exists" },
    };
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_RENAME,
        .name = "s1",
        .new_name = cases[_i].name,
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&two_tables);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    GError *error = NULL;

    qcow2_fixture_must_create(file, "s1", 1);
    qcow2_fixture_must_create(file, "s2", 2);
    memory_file_reset_records(file);
    ck_assert(!qcow2_fixture_change(file, &change, &error));
    qcow2_fixture_assert_error(&error, cases[_i].code, cases[_i].text);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
}
END_TEST

/* The old one is gone, the new one last in the list; others do not notice. */
START_TEST(replace_with_and_without_vm_state)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = 1, .bytes = 30001 };
    Qcow2StaleVmstate stale;
    g_autofree char *with = NULL;
    g_autofree char *without = NULL;
    g_autofree char *again = NULL;

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_guest_discards(&file, 0);
    with = qcow2_fixture_describe_sound(file);
    save.replace = true;
    qcow2_fixture_must_save(file, &save);
    again = qcow2_fixture_describe_sound(file);
    assert_differs_in_line(with, again, 1);
    assert_qemu_is_content(file);
    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(!stale.present);

    /* The refcounts have no room for both at once where they have 2 bits. */
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_REPLACE, "s", NULL);
    without = qcow2_fixture_describe_sound(file);
    ck_assert_ptr_null(strstr(without, "30001 bytes"));
    ck_assert_ptr_nonnull(strstr(without, "1 's' 0 bytes"));
    save.bytes = 200;
    qcow2_fixture_must_save(file, &save);
    g_free(qcow2_fixture_describe_sound(file));
    assert_qemu_is_content(file);
}
END_TEST

START_TEST(replace_one_of_several)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[0]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "b", .seed = 1, .bytes = 5000 };
    g_autofree char *text = NULL;

    qcow2_fixture_must_create(file, "a", 1);
    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_must_create(file, "c", 3);
    save.replace = true;
    qcow2_fixture_must_save(file, &save);
    text = qcow2_fixture_describe_sound(file);
    ck_assert_ptr_nonnull(strstr(text, "\n1 'a' "));
    ck_assert_ptr_nonnull(strstr(text, "\n3 'c' "));
    ck_assert_ptr_nonnull(strstr(text, "\n4 'b' 5000 "));
    ck_assert_ptr_null(strstr(text, "\n2 "));
    assert_qemu_is_content(file);
}
END_TEST

/* A save that does not come to its end leaves the old one. */
START_TEST(replace_that_is_given_up)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = 1, .bytes = 30001 };
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    qcow2_fixture_must_save(file, &save);
    before = qcow2_fixture_describe_sound(file);
    save.replace = true;
    save.abandon = true;
    save.seed = 2;
    qcow2_fixture_must_save(file, &save);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(before, after);
}
END_TEST

/* How many bytes only the VM state in the active L1 refers to. */
START_TEST(stale_vm_state_is_freed)
{
    const Qcow2FixtureOptions *options = &shapes[SHAPES - 1];
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2StaleVmstate stale;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    size_t writes;

    if (_i) {
        qcow2_fixture_must_create(file, "s", 1);
    }
    before = qcow2_fixture_describe_sound(file);
    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(stale.present);
    /* Two L2 tables, four clusters, and what the compressed one touches. */
    ck_assert_uint_ge(stale.freeable, 7 * 512);
    ck_assert_uint_le(stale.freeable, 8 * 512);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_FREE_STALE, NULL, NULL);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(before, after);
    assert_qemu_is_content(file);
    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(!stale.present);
    ck_assert_uint_eq(stale.freeable, 0);

    /* Where there is nothing to do, nothing is done. */
    writes = memory_file_count(file, MEMORY_FILE_WRITE);
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_FREE_STALE, NULL, NULL);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), writes);
}
END_TEST

/* A disk without stale VM state is not read, however large it is. */
START_TEST(looking_for_none_is_cheap)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&two_tables);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2StaleVmstate stale;

    memory_file_reset_records(file);
    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(!stale.present);
    /* The header and the snapshot table, no table of the disk. */
    ck_assert_uint_le(memory_file_count(file, MEMORY_FILE_READ), 3);
}
END_TEST

/* No cluster that is in use, and nothing before the header is stable. */
static void assert_discards(BlockFile *file, bool wanted)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);
    Qcow2FixtureHeader header;
    size_t count;
    const MemoryFileRecord *records = memory_file_records(file, &count);
    unsigned flushes = 0;
    unsigned discards = 0;
    size_t i;

    qcow2_fixture_header(image, &header);
    for (i = 0; i < count; i++) {
        uint64_t at = records[i].offset;
        uint64_t end = at + records[i].bytes;

        flushes += records[i].op == MEMORY_FILE_FLUSH;
        if (records[i].op != MEMORY_FILE_DISCARD) {
            continue;
        }
        discards++;
        ck_assert_uint_eq(flushes, 2);
        ck_assert_uint_eq(at % header.cluster_size, 0);
        ck_assert_uint_le(end, image->len);
        for (; at < end; at += header.cluster_size) {
            ck_assert_uint_eq(
                qcow2_fixture_refcount(image, at / header.cluster_size), 0);
        }
    }
    if (wanted) {
        ck_assert_uint_gt(discards, 0);
    } else {
        ck_assert_uint_eq(discards, 0);
    }
}

/* What is large and lies before something else that stays. */
static BlockFile *file_to_free(const Qcow2FixtureOptions *options)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    BlockFile *file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "large", .seed = 1, .bytes = 400000 };

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_must_create(file, "small", 2);
    memory_file_reset_records(file);
    return file;
}

START_TEST(what_is_freed_is_discarded)
{
    /* No free space in the middle, where "small" would find room. */
    const Qcow2FixtureOptions *options = &shapes[_i + 3];
    g_autoptr(BlockFile) deleted = file_to_free(options);
    g_autoptr(BlockFile) replaced = file_to_free(options);
    g_autoptr(BlockFile) kept = file_to_free(options);
    g_autoptr(BlockFile) failing = file_to_free(options);
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE,
        .name = "large",
        .keeps_freed = true,
    };

    qcow2_fixture_must_delete(deleted, "large");
    assert_discards(deleted, true);
    g_free(qcow2_fixture_describe_sound(deleted));
    qcow2_fixture_must_change(replaced, QCOW2_FIXTURE_REPLACE, "large", NULL);
    assert_discards(replaced, true);
    g_free(qcow2_fixture_describe_sound(replaced));
    ck_assert(qcow2_fixture_change(kept, &change, NULL));
    assert_discards(kept, false);
    /* That it cannot be done is no failure. */
    memory_file_fail(failing, MEMORY_FILE_DISCARD, -1, -1);
    qcow2_fixture_must_delete(failing, "large");
    assert_discards(failing, false);
}
END_TEST

/* Deleting and saving, or replacing, again and again: the file is as long. */
START_TEST(the_image_does_not_grow)
{
    g_autoptr(BlockFile) file = file_to_free(&shapes[_i]);
    Qcow2FixtureSave save = { .name = "large", .seed = 3, .bytes = 400000 };
    size_t longest = 0;
    size_t bytes;
    unsigned i;

    for (i = 0; i < 8; i++) {
        if (i % 2) {
            qcow2_fixture_must_delete(file, "large");
        }
        save.replace = i % 2 == 0;
        qcow2_fixture_must_save(file, &save);
        g_free(qcow2_fixture_describe_sound(file));
        memory_file_content(file, &bytes);
        if (i < 4) {
            longest = MAX(longest, bytes);
        }
        ck_assert_uint_le(bytes, longest);
    }
}
END_TEST

static Suite *apply_suite(void)
{
    Suite *suite = suite_create("qcow2-apply");
    TCase *tcase = tcase_create("qcow2-apply");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, apply_brings_the_disk_back, 0, SHAPES);
    tcase_add_loop_test(tcase, apply_shares_nothing_writable, 0, SHAPES);
    tcase_add_loop_test(tcase, apply_resizes, 0, 5);
    tcase_add_test(tcase, apply_keeps_an_odd_size);
    tcase_add_loop_test(tcase, rename_changes_a_name, 0, SHAPES);
    tcase_add_test(tcase, rename_keeps_unknown_extra_data);
    tcase_add_loop_test(tcase, rename_refuses_names, 0, 5);
    tcase_add_loop_test(tcase, replace_with_and_without_vm_state, 0, SHAPES);
    tcase_add_test(tcase, replace_one_of_several);
    tcase_add_loop_test(tcase, replace_that_is_given_up, 0, SHAPES);
    tcase_add_loop_test(tcase, stale_vm_state_is_freed, 0, 2);
    tcase_add_test(tcase, looking_for_none_is_cheap);
    tcase_add_loop_test(tcase, what_is_freed_is_discarded, 0, 3);
    tcase_add_loop_test(tcase, the_image_does_not_grow, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(apply_suite());
}
