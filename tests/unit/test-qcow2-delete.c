/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Snapshots that are made and deleted, in any order, on images of every shape.
 * After each change the image must be sound, without a leak and with the right
 * COPIED flags, and show the snapshots that are left and an unchanged disk.
 */
#include <check.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"

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
    { .cluster_bits = 10,
      .disk_size = 200000,
      .refcount_bits = 8,
      .l2 = { "dddddddddddddddddd", "ccccccccc" } },
    { .cluster_bits = 12,
      .refcount_bits = 4,
      .disk_size = 1 << 20,
      .l2 = { "d.d.Zzdd" } },
    { .cluster_bits = 12,
      .refcount_bits = 32,
      .disk_size = 4 << 20,
      .l2 = { "dd", "ddcc" } },
    /* Only VM state, or nothing at all. */
    { .cluster_bits = 12 },
    { .cluster_bits = 16, .disk_size = 1 << 20 },
    { .cluster_bits = 16, .disk_size = 1 << 20, .l2 = { "dcZd" } },
    /* VM state that QEMU left in the active L1. */
    { .cluster_bits = 9,
      .disk_size = 32768,
      .spare_l1_entries = 2,
      .l2 = { "dd", "dddc", "d" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .spare_l1_entries = 1,
      .l2 = { "pqd.Zzcp", "dp" } },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))

static void delete_and_judge(BlockFile *file, const char *name)
{
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *expected = qcow2_fixture_without(before, name);
    g_autofree char *after = NULL;

    ck_assert_str_ne(before, expected);
    qcow2_fixture_must_delete(file, name);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(after, expected);
}

/* Odd ones with VM state, even ones without. */
static void add(BlockFile *file, unsigned number)
{
    g_autofree char *name = g_strdup_printf("s%u", number);
    Qcow2FixtureSave save = {
        .name = name,
        .seed = number,
        .bytes = 3001 * number,
    };

    if (number % 2) {
        qcow2_fixture_must_save(file, &save);
    } else {
        qcow2_fixture_must_create(file, name, number);
    }
}

/* The disk that was built, and nothing else; the file as long as needed. */
static void assert_no_snapshots(BlockFile *file, const GByteArray *image)
{
    g_autofree char *text = qcow2_fixture_describe_sound(file);
    g_autofree char *built = qcow2_fixture_describe(image);
    g_autoptr(GByteArray) content = qcow2_fixture_content(file);
    Qcow2FixtureHeader header;

    ck_assert_str_eq(text, built);
    qcow2_fixture_header(content, &header);
    ck_assert_uint_eq(header.snapshot_count, 0);
    ck_assert_uint_eq(header.snapshots_offset, 0);
    ck_assert_uint_eq(content->len,
                      qcow2_fixture_first_fresh(content) * header.cluster_size);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(content), 0);
}

START_TEST(create_shows_the_disk)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autofree char *digest = qcow2_fixture_disk_digest(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) content = NULL;
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;
    Qcow2FixtureSave nothing = { .name = "new", .seed = 3 };

    qcow2_fixture_must_create(file, "new", 3);
    text = qcow2_fixture_describe_sound(file);
    line = qcow2_fixture_expected(&nothing, 1, shapes[_i].disk_size, digest);
    ck_assert_msg(g_str_has_suffix(text, line), "%s has no line %s", text,
                  line);
    content = qcow2_fixture_content(file);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(content), 0);
    ck_assert_int_eq(qcow2_fixture_qemu_img_apply(content, "new"), 0);
}
END_TEST

START_TEST(delete_the_only_one)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    qcow2_fixture_must_create(file, "disk", 1);
    delete_and_judge(file, "disk");
    assert_no_snapshots(file, image);
    add(file, 1);
    delete_and_judge(file, "s1");
    assert_no_snapshots(file, image);
}
END_TEST

/* All orders of deleting three. */
START_TEST(delete_in_any_order)
{
    const char *const orders[] = { "123", "132", "213", "231", "312", "321" };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    unsigned order;
    unsigned i;

    for (order = 0; order < G_N_ELEMENTS(orders); order++) {
        g_autoptr(BlockFile) file = qcow2_fixture_file(image);

        /* With disk-only ones first as well as last. */
        for (i = 1; i <= 3; i++) {
            add(file, i + order % 2);
        }
        for (i = 0; i < 3; i++) {
            g_autofree char *name =
                g_strdup_printf("s%u", orders[order][i] - '0' + order % 2);

            delete_and_judge(file, name);
        }
        assert_no_snapshots(file, image);
    }
}
END_TEST

/*
 * A guest overwrites its disk where COPIED allows it and puts new clusters
 * where not: here, the entries of the active disk are swapped with fresh
 * clusters, as a copy on write does it.
 */
static void write_guest_cluster(BlockFile **file, uint64_t guest_cluster)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(*file);
    Qcow2FixtureHeader header;
    uint64_t at;
    uint64_t entry;
    uint64_t cluster;

    qcow2_fixture_header(image, &header);
    at = qcow2_fixture_l2_entry_at(image, header.l1_offset, guest_cluster);
    entry = qcow2_fixture_peek(image, at, 8);
    ck_assert_msg(qcow2_fixture_peek(image,
                                     header.l1_offset +
                                         guest_cluster / header.l2_entries * 8,
                                     8) >>
                      63,
                  "the active L2 table must be alone");
    cluster = image->len / header.cluster_size;
    ck_assert_uint_lt(cluster, header.refcounts_per_block);
    g_byte_array_set_size(image, image->len + header.cluster_size);
    qcow2_fixture_fill_cluster(guest_cluster + 1000, 'd',
                               image->data + cluster * header.cluster_size,
                               header.cluster_size);
    qcow2_fixture_poke(image, at, 8,
                       cluster * header.cluster_size | 1ULL << 63);
    qcow2_fixture_set_refcount(image, cluster, 1);
    cluster = (entry & 0x00fffffffffffe00ULL) / header.cluster_size;
    qcow2_fixture_set_refcount(image, cluster,
                               qcow2_fixture_refcount(image, cluster) - 1);
    block_file_close(*file);
    *file = qcow2_fixture_file(image);
}

/* The snapshot's former L2 table does not fit any more, or only one does. */
START_TEST(delete_after_the_disk_changed)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 65536,
        .l2 = { "ddd", "ddd" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureHeader header;
    g_autoptr(GByteArray) after = NULL;
    uint64_t old_first = qcow2_fixture_peek(image, 40, 8);
    uint64_t old_second;

    old_second = qcow2_fixture_peek(image, old_first + 8, 8);
    old_first = qcow2_fixture_peek(image, old_first, 8);
    qcow2_fixture_must_create(file, "s", 1);
    write_guest_cluster(&file, 1);
    delete_and_judge(file, "s");
    after = qcow2_fixture_content(file);
    qcow2_fixture_header(after, &header);
    ck_assert_uint_ne(qcow2_fixture_peek(after, header.l1_offset, 8),
                      old_first);
    ck_assert_uint_eq(qcow2_fixture_peek(after, header.l1_offset + 8, 8),
                      old_second);
}
END_TEST

/*
 * What QEMU does: the snapshot shares the active L2 tables, and the flags are
 * gone from them.
 */
START_TEST(delete_with_shared_l2_tables)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    unsigned i;

    /* The second one shares what the first one left without flags. */
    for (i = 1; i <= 4; i++) {
        add(file, i);
    }
    delete_and_judge(file, "s1");
    delete_and_judge(file, "s4");
    delete_and_judge(file, "s2");
    delete_and_judge(file, "s3");
    assert_no_snapshots(file, image);
}
END_TEST

/* The file does not grow when the space of a deleted snapshot is there. */
START_TEST(space_is_used_again)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave first = { .name = "first", .seed = 1, .bytes = 3000000 };
    Qcow2FixtureSave last = { .name = "last", .seed = 2, .bytes = 5000 };
    size_t before;
    size_t after;

    qcow2_fixture_must_save(file, &first);
    qcow2_fixture_must_save(file, &last);
    delete_and_judge(file, "first");
    memory_file_content(file, &before);
    first.name = "again";
    first.bytes -= 500000;
    qcow2_fixture_must_save(file, &first);
    memory_file_content(file, &after);
    ck_assert_uint_le(after, before);
    delete_and_judge(file, "last");
    delete_and_judge(file, "again");
    assert_no_snapshots(file, image);
}
END_TEST

/* Other entries are kept byte for byte, whatever is in their extra data. */
START_TEST(other_entries_are_kept)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[0]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(BlockFile) changed = NULL;
    g_autoptr(GByteArray) before = NULL;
    g_autoptr(GByteArray) after = NULL;
    unsigned kept = _i ? 0 : 1;
    g_auto(Qcow2FixtureEntry) old = { 0 };
    g_auto(Qcow2FixtureEntry) new = { 0 };

    add(file, 1);
    add(file, 3);
    before = qcow2_fixture_content(file);
    qcow2_fixture_entry(before, kept, &old);
    /* An icount, a date and a clock. */
    qcow2_fixture_poke(before, old.at + 56, 8, 0x123456789);
    qcow2_fixture_poke(before, old.at + 16, 8, 0xfedcba9876543210);
    changed = qcow2_fixture_file(before);
    delete_and_judge(changed, _i ? "s3" : "s1");
    after = qcow2_fixture_content(changed);
    qcow2_fixture_entry(after, 0, &new);
    ck_assert_uint_eq(new.bytes, old.bytes);
    ck_assert_mem_eq(after->data + new.at, before->data + old.at, old.bytes);
}
END_TEST

static Suite *delete_suite(void)
{
    Suite *suite = suite_create("qcow2-delete");
    TCase *tcase = tcase_create("qcow2-delete");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, create_shows_the_disk, 0, SHAPES);
    tcase_add_loop_test(tcase, delete_the_only_one, 0, SHAPES);
    tcase_add_loop_test(tcase, delete_in_any_order, 0, SHAPES);
    tcase_add_loop_test(tcase, delete_with_shared_l2_tables, 0, SHAPES);
    tcase_add_test(tcase, delete_after_the_disk_changed);
    tcase_add_loop_test(tcase, space_is_used_again, 0, SHAPES);
    tcase_add_loop_test(tcase, other_entries_are_kept, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(delete_suite());
}
