/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Running out of space. Who sends the stream cannot send it again, so a lack
 * of space shows while it passes and never in the commit.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .cluster_bits = 9,
      .refcount_bits = 64,
      .disk_size = 65536,
      .l2 = { "ddd", "dcZ" } },
    { .cluster_bits = 9,
      .disk_size = 65536,
      .free_clusters = 300,
      .l2 = { "d", "d" } },
    { .cluster_bits = 12,
      .disk_size = 1 << 20,
      .spare_l1_entries = 12000,
      .l2 = { "d" } },
    { .cluster_bits = 16 },
};

/* A block device of the image and @free bytes. */
static BlockFile *device_new(const GByteArray *image, size_t free_bytes)
{
    g_autoptr(GByteArray) content = qcow2_fixture_copy(image);
    BlockFile *file;

    g_byte_array_set_size(content, image->len + free_bytes);
    memset(content->data + image->len, 0, free_bytes);
    file = qcow2_fixture_file(content);
    file->fixed_size = true;
    /* Nobody needs to ask it for the space that it has. */
    memory_file_fail(file, MEMORY_FILE_ALLOCATE, -1, -ENOSPC);
    return file;
}

/*
 * Save into a device with so much room; returns whether that went well. What
 * does not must fail before the stream is over, and leave the image alone.
 */
static bool save_to_device(const GByteArray *image, size_t free_bytes,
                           uint64_t vm_bytes)
{
    g_autoptr(BlockFile) file = device_new(image, free_bytes);
    g_autoptr(GByteArray) after = NULL;
    g_autofree char *old_text = qcow2_fixture_describe(image);
    g_autofree char *new_text = NULL;
    Qcow2FixtureSave save = {
        .name = "new",
        .seed = 8,
        .bytes = vm_bytes,
        .piece = 2048,
    };
    GError *error = NULL;
    bool saved = qcow2_fixture_save(file, &save, &error);

    after = qcow2_fixture_content(file);
    new_text = qcow2_fixture_describe(after);
    ck_assert_uint_eq(after->len, image->len + free_bytes);
    qcow2_fixture_assert_sound(after);
    if (saved) {
        ck_assert(g_str_has_prefix(new_text, old_text));
        ck_assert_str_ne(new_text, old_text);
    } else {
        qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "is full");
        ck_assert_msg(!save.stream_taken, "%zu bytes free", free_bytes);
        ck_assert_str_eq(new_text, old_text);
    }
    return saved;
}

/* From a device that is full to one with more than enough room. */
static void fill_devices(const GByteArray *image, uint64_t cluster_size,
                         uint64_t vm_bytes)
{
    size_t least = vm_bytes + 100 * cluster_size;
    size_t step = MAX(cluster_size, least / 20);
    size_t free_bytes;
    unsigned changes = 0;
    bool before = false;

    for (free_bytes = 0; free_bytes < 2 * least; free_bytes += step) {
        bool saved = save_to_device(image, free_bytes, vm_bytes);

        changes += saved != before;
        before = saved;
    }
    ck_assert(before);
    ck_assert_uint_eq(changes, 1);
}

START_TEST(device_of_every_size)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    uint64_t cluster_size = 1ULL << shapes[_i].cluster_bits;

    fill_devices(image, cluster_size, 100001);
}
END_TEST

/* Old entries of the snapshot table can take more room than one expects. */
START_TEST(device_and_long_names)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[1]);
    uint64_t at = image->len;
    uint64_t i;

    g_byte_array_set_size(image, at + 40 + 1024 + 65535);
    memset(image->data + at, 0, image->len - at);
    qcow2_fixture_poke(image, at + 14, 2, 65535);
    qcow2_fixture_poke(image, at + 36, 4, 1024);
    qcow2_fixture_poke(image, 60, 4, 1);
    qcow2_fixture_poke(image, 64, 8, at);
    /* Two more refcount blocks, for clusters up to the 256th. */
    for (i = 1; i < 4; i++) {
        Qcow2FixtureHeader header;
        uint64_t block = (image->len + 511) / 512 * 512;

        qcow2_fixture_header(image, &header);
        g_byte_array_set_size(image, block + 512);
        memset(image->data + block, 0, 512);
        qcow2_fixture_poke(image, header.refcount_table_offset + i * 8, 8,
                           block);
    }
    for (i = at / 512; i < image->len / 512; i++) {
        qcow2_fixture_set_refcount(image, i, 1);
    }
    qcow2_fixture_assert_sound(image);
    fill_devices(image, 512, 20000);
}
END_TEST

/* What earlier snapshots had may be all the room that there is. */
START_TEST(device_with_room_in_the_middle)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 16,
        .disk_size = 1 << 20,
        .l2 = { "d" },
    };
    unsigned changes = 0;
    bool before = false;

    for (options.free_clusters = 0; options.free_clusters < 60;
         options.free_clusters++) {
        g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
        bool saved = save_to_device(image, 0, 1100000);

        changes += saved != before;
        before = saved;
    }
    ck_assert(before);
    ck_assert_uint_eq(changes, 1);
}
END_TEST

typedef struct Reserve {
    BlockFile *file;
    uint64_t end;
    unsigned steps; /* how many calls it takes */
    bool reserved;
    GError *error;
} Reserve;

static void coroutine_fn reserve_entry(void *opaque)
{
    Reserve *reserve = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(reserve->file, NULL);
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, "new", NULL, &reserve->error);
    unsigned i;

    ck_assert_ptr_nonnull(writer);
    reserve->reserved = true;
    for (i = 1; i <= reserve->steps && reserve->reserved; i++) {
        reserve->reserved = qcow2_snapshot_writer_reserve(
            writer, reserve->end / reserve->steps * i, &reserve->error);
    }
    qcow2_snapshot_writer_end(writer);
}

static Reserve run_reserve(BlockFile *file, uint64_t end, unsigned steps)
{
    Reserve reserve = { .file = file, .end = end, .steps = steps };

    event_loop_run(reserve_entry, &reserve);
    return reserve;
}

/* 512-byte clusters and 4194304 L1 entries map 128 GiB, less the disk. */
START_TEST(more_than_can_be_mapped)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 1 << 20,
    };
    const uint64_t limit = (128ULL << 30) - (1 << 20);
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Reserve reserve = run_reserve(file, limit, 1);

    ck_assert(reserve.reserved);
    reserve = run_reserve(file, limit + 1, 1);
    ck_assert(!reserve.reserved);
    qcow2_fixture_assert_error(&reserve.error, SNAP_ERROR_INVALID,
                               "cannot map more than 137437904896 bytes");
    reserve = run_reserve(file, UINT64_MAX, 1);
    ck_assert(!reserve.reserved);
    qcow2_fixture_assert_error(&reserve.error, SNAP_ERROR_INVALID,
                               "137437904896");
}
END_TEST

/* Small steps ask the file system as rarely as large ones. */
START_TEST(space_is_taken_in_large_steps)
{
    static const Qcow2FixtureOptions options = { .cluster_bits = 16 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Reserve reserve;

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    reserve = run_reserve(file, 60 << 20, 600);
    ck_assert(reserve.reserved);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_ALLOCATE), 1);
    ck_assert_int_eq(block_file_size(file), image->len);
}
END_TEST

/* A disk that is nearly full has room for what is needed, not for a step. */
START_TEST(step_that_does_not_fit)
{
    static const Qcow2FixtureOptions options = { .cluster_bits = 16 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Reserve reserve;

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 1, -ENOSPC);
    reserve = run_reserve(file, 1 << 20, 1);
    ck_assert(reserve.reserved);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_ALLOCATE), 1);
    memory_file_fail(file, MEMORY_FILE_ALLOCATE, -1, -EDQUOT);
    reserve = run_reserve(file, 1 << 20, 1);
    ck_assert(!reserve.reserved);
    qcow2_fixture_assert_error(&reserve.error, SNAP_ERROR_NO_SPACE,
                               "bytes of disk space at 0x");
    ck_assert_int_eq(block_file_size(file), image->len);
}
END_TEST

static Suite *space_suite(void)
{
    Suite *suite = suite_create("qcow2-space");
    TCase *tcase = tcase_create("qcow2-space");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, device_of_every_size, 0, 5);
    tcase_add_test(tcase, device_and_long_names);
    tcase_add_test(tcase, device_with_room_in_the_middle);
    tcase_add_test(tcase, more_than_can_be_mapped);
    tcase_add_test(tcase, space_is_taken_in_large_steps);
    tcase_add_test(tcase, step_that_does_not_fit);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(space_suite());
}
