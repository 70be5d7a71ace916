/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Snapshots that are saved and read back, on images of every shape. After each
 * commit the image must be sound, without a leak, and show the old snapshots,
 * the new one and an unchanged disk.
 */
#include <check.h>
#include <stdlib.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

typedef struct Create {
    BlockFile *file;
    uint64_t disk_size;
    uint32_t cluster_bits;
    bool created;
    GError *error;
} Create;

static void coroutine_fn create_entry(void *opaque)
{
    Create *create = opaque;

    create->created = qcow2_create(create->file, create->disk_size,
                                   create->cluster_bits, &create->error);
}

static GByteArray *create_image(uint64_t disk_size, uint32_t cluster_bits)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Create create = { file, disk_size, cluster_bits };

    event_loop_run(create_entry, &create);
    ck_assert_msg(create.created, "%s",
                  create.error ? create.error->message : "no error");
    return qcow2_fixture_content(file);
}

static void assert_loads(BlockFile *file, const Qcow2FixtureSave *save)
{
    g_autofree uint8_t *expected = g_malloc(save->bytes);
    g_autofree uint8_t *loaded = g_malloc(save->bytes);
    GError *error = NULL;

    qcow2_fixture_fill(save->seed, 0, expected, save->bytes);
    memset(loaded, 0x77, save->bytes);
    ck_assert_msg(
        qcow2_fixture_load(file, save->name, 0, loaded, save->bytes, &error),
        "%s", error ? error->message : "");
    ck_assert_mem_eq(loaded, expected, save->bytes);
}

/*
 * Save each of @saves into @image, which has no snapshot yet, and judge after
 * each. @disk_digest is what all snapshots must hold. Returns the image.
 */
static GByteArray *save_all(const GByteArray *image, Qcow2FixtureSave *saves,
                            unsigned count, const char *disk_digest)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GString) expected = g_string_new(NULL);
    GByteArray *content = NULL;
    Qcow2FixtureHeader header;
    unsigned i;
    unsigned j;

    qcow2_fixture_header(image, &header);
    g_string_printf(expected, "disk %" PRIu64 " bytes %s\n", header.disk_size,
                    disk_digest);
    for (i = 0; i < count; i++) {
        g_autofree char *line = qcow2_fixture_expected(
            &saves[i], i + 1, header.disk_size, disk_digest);
        g_autofree char *text = NULL;

        qcow2_fixture_must_save(file, &saves[i]);
        g_clear_pointer(&content, g_byte_array_unref);
        content = qcow2_fixture_content(file);
        qcow2_fixture_assert_sound(content);
        g_string_append(expected, line);
        text = qcow2_fixture_describe(content);
        ck_assert_str_eq(text, expected->str);
        for (j = 0; j <= i; j++) {
            assert_loads(file, &saves[j]);
        }
    }
    return content;
}

/* The digest of a disk on which nothing is allocated. */
static char *empty_digest(uint32_t cluster_bits)
{
    Qcow2FixtureOptions options = { .cluster_bits = cluster_bits };

    return qcow2_fixture_disk_digest(&options);
}

static void check_created(uint32_t cluster_bits, uint64_t disk_size)
{
    g_autoptr(GByteArray) image = create_image(disk_size, cluster_bits);
    g_autofree char *digest = empty_digest(cluster_bits);
    Qcow2FixtureSave saves[] = {
        { .name = "first",
          .seed = cluster_bits,
          .bytes = MAX(100001, (1u << cluster_bits) + 777) },
        { .name = "second", .seed = 99, .bytes = 512 },
    };
    g_autoptr(GByteArray) saved = NULL;
    Qcow2FixtureHeader header;

    qcow2_fixture_assert_sound(image);
    qcow2_fixture_header(image, &header);
    ck_assert_uint_eq(header.disk_size, (disk_size + 511) / 512 * 512);
    saved = save_all(image, saves, G_N_ELEMENTS(saves), digest);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(saved), 0);
}

START_TEST(created_image_without_a_disk)
{
    check_created(_i, 0);
}
END_TEST

/* The VM state begins at the L1 entry behind the last byte of the disk. */
START_TEST(created_image_of_one_l1_span)
{
    check_created(_i, 1ULL << (2 * _i - 3));
}
END_TEST

START_TEST(created_image_of_an_odd_size)
{
    check_created(_i, (1ULL << (2 * _i - 3)) + 1);
}
END_TEST

/* Every kind of cluster, several L2 tables, stale VM state in the active L1. */
static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .cluster_bits = 9,
      .disk_size = 32768 + 1,
      .spare_l1_entries = 3,
      .l2 = { "dd", "z", NULL, "dZc" } },
    { .cluster_bits = 10, .disk_size = 77777, .l2 = { "zzz.z" } },
    { .cluster_bits = 12,
      .disk_size = 3 << 21,
      .l2 = { "cccccccccccccccccccc", NULL, ".....d" } },
    { .version = 2,
      .cluster_bits = 12,
      .disk_size = 100000,
      .l2 = { "dc..cd" } },
    { .cluster_bits = 16,
      .disk_size = 1 << 20,
      .header_length = 104,
      .l2 = { "dZzcd" } },
    { .cluster_bits = 16,
      .disk_size = (1ULL << 29) + 100,
      .l2 = { NULL, "d" } },
    { .cluster_bits = 12, .disk_size = 511 },
    { .cluster_bits = 9,
      .disk_size = 3 * 32768,
      .free_clusters = 140,
      .l2 = { "dcZ", "d", "dd" } },
    { .cluster_bits = 14,
      .refcount_bits = 32,
      .disk_size = 3 << 25,
      .free_clusters = 65,
      .l2 = { "dcZ", "d", "dd" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .spare_l1_entries = 1,
      .l2 = { "pqd.Zzcp", "dp" } },
};

/*
 * The first save finds COPIED flags to clear, the second shares tables that
 * nobody shares yet, the third those that are shared already.
 */
static void check_built(const Qcow2FixtureOptions *options, unsigned saved)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    g_autofree char *digest = qcow2_fixture_disk_digest(options);
    Qcow2FixtureSave saves[] = {
        { .name = "one", .seed = 1, .bytes = 70001, .piece = 512 * 17 },
        { .name = "two", .seed = 2, .bytes = 1 },
        { .name = "three", .seed = 3, .bytes = 65536, .writers = 3 },
        { .name = "four", .seed = 4, .bytes = 40000, .piece = 512 },
    };
    g_autoptr(GByteArray) result = NULL;

    ck_assert_uint_le(saved, G_N_ELEMENTS(saves));
    result = save_all(image, saves, saved, digest);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(result), 0);
    ck_assert_int_eq(qcow2_fixture_qemu_img_apply(result, "one"), 0);
}

START_TEST(built_image)
{
    check_built(&shapes[_i], 4);
}
END_TEST

/* Two bits have room for one snapshot of what is shared. */
START_TEST(refcount_width)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 10,
        .refcount_bits = 2u << _i,
        .disk_size = 300000,
        .l2 = { "dZc.zd", NULL, "dd" },
    };

    check_built(&options, _i == 0 ? 1 : 4);
}
END_TEST

/* Disk space that was taken and not needed is given back. */
START_TEST(file_ends_with_its_last_cluster)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[0]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) content = NULL;
    Qcow2FixtureSave save = { .name = "s", .bytes = 10000 };

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    qcow2_fixture_must_save(file, &save);
    ck_assert_uint_ge(memory_file_count(file, MEMORY_FILE_ALLOCATE), 1);
    content = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(content);
    ck_assert_uint_eq(content->len, qcow2_fixture_first_fresh(content) * 512);
}
END_TEST

/* What lies behind all that has a refcount is nobody's and written over. */
START_TEST(garbage_behind_the_end_is_ignored)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[0]);
    g_autofree char *digest = qcow2_fixture_disk_digest(&shapes[0]);
    Qcow2FixtureSave saves[] = { { .name = "s", .seed = 1, .bytes = 10000 } };
    g_autoptr(GByteArray) result = NULL;
    size_t before = image->len;

    g_byte_array_set_size(image, before + 100001);
    memset(image->data + before, 0xee, 100001);
    result = save_all(image, saves, 1, digest);
    ck_assert_uint_lt(result->len, image->len);
}
END_TEST

static Suite *save_suite(void)
{
    Suite *suite = suite_create("qcow2-save");
    TCase *tcase = tcase_create("qcow2-save");

    tcase_set_timeout(tcase, 120);
    /* Large clusters take their time, and differ in nothing else. */
    tcase_add_loop_test(tcase, created_image_without_a_disk, 9, 17);
    tcase_add_loop_test(tcase, created_image_of_one_l1_span, 9, 17);
    tcase_add_loop_test(tcase, created_image_of_an_odd_size, 9, 22);
    tcase_add_loop_test(tcase, built_image, 0, G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tcase, refcount_width, 0, 6);
    tcase_add_test(tcase, file_ends_with_its_last_cluster);
    tcase_add_test(tcase, garbage_behind_the_end_is_ignored);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(save_suite());
}
