/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * New images: QEMU must accept them, and a size that cannot be is refused.
 * Saving into them is in test-qcow2-save.c.
 */
#include <check.h>

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

/* The new image, or NULL with @errp set. */
static GByteArray *create_image(uint64_t disk_size, uint32_t cluster_bits,
                                GError **errp)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Create create = { file, disk_size, cluster_bits };

    event_loop_run(create_entry, &create);
    ck_assert_int_eq(create.created, !create.error);
    if (create.error) {
        ck_assert_int_eq(block_file_size(file), 0);
        g_propagate_error(errp, create.error);
        return NULL;
    }
    /* Stable when it returns. */
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 1);
    return qcow2_fixture_content(file);
}

START_TEST(header_fields)
{
    static const struct {
        uint64_t asked;
        uint64_t size;
        uint32_t l1_size;
    } cases[] = {
        { 0, 0, 0 },
        { 1, 512, 1 },
        { 512, 512, 1 },
        { 1ULL << 21, 1ULL << 21, 1 },
        { (1ULL << 21) + 1, (1ULL << 21) + 512, 2 },
        { 1ULL << 30, 1ULL << 30, 512 },
        { (1ULL << 30) + 511, (1ULL << 30) + 512, 513 },
    };
    g_autoptr(GByteArray) image = create_image(cases[_i].asked, 12, NULL);
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    ck_assert_uint_eq(header.version, 3);
    ck_assert_uint_eq(header.cluster_bits, 12);
    ck_assert_uint_eq(header.refcount_bits, 16);
    ck_assert_uint_eq(header.disk_size, cases[_i].size);
    ck_assert_uint_eq(header.l1_size, cases[_i].l1_size);
    ck_assert_uint_eq(header.snapshot_count, 0);
    ck_assert_uint_eq(header.snapshots_offset, 0);
    ck_assert_uint_eq(qcow2_fixture_peek(image, 72, 8), 0);
    ck_assert_uint_eq(qcow2_fixture_peek(image, 80, 8), 0);
    ck_assert_uint_eq(qcow2_fixture_peek(image, 88, 8), 0);
    ck_assert_uint_eq(qcow2_fixture_peek(image, 100, 4), 112);
    qcow2_fixture_assert_sound(image);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
}
END_TEST

START_TEST(cluster_sizes)
{
    g_autoptr(GByteArray) image = create_image(1000000, _i, NULL);

    qcow2_fixture_assert_sound(image);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
}
END_TEST

/* The last size that fits, and the first that does not. */
START_TEST(largest_disk)
{
    static const struct {
        unsigned cluster_bits;
        uint64_t size;
    } cases[] = {
        /* One refcount block of 256 clusters, 253 of them for the L1. */
        { 9, 253ULL * 64 << 15 },
        /* 4194304 L1 entries. */
        { 16, 1ULL << 51 },
        { 20, 1ULL << 59 },
        { 21, 1ULL << 61 },
    };
    uint64_t size = cases[_i].size;
    unsigned bits = cases[_i].cluster_bits;
    g_autoptr(GByteArray) image = create_image(size, bits, NULL);
    GError *error = NULL;

    ck_assert_ptr_nonnull(image);
    qcow2_fixture_assert_sound(image);
    ck_assert_ptr_null(create_image(size + 1, bits, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_INVALID, "too large");
    ck_assert_ptr_null(create_image(INT64_MAX, bits, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_INVALID, "too large");
    ck_assert_ptr_null(create_image(UINT64_MAX, bits, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_INVALID, "too large");
}
END_TEST

static Suite *create_suite(void)
{
    Suite *suite = suite_create("qcow2-create");
    TCase *tcase = tcase_create("qcow2-create");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, header_fields, 0, 7);
    tcase_add_loop_test(tcase, cluster_sizes, 9, 22);
    tcase_add_loop_test(tcase, largest_disk, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(create_suite());
}
