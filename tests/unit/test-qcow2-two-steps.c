/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Changes that are prepared long before they are committed, so that several
 * images can change together: until then nobody sees anything of them, VM state
 * is read from the image meanwhile, and the result is that of the same change
 * in one step.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define VM_STATE_BYTES 30001

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
    { .cluster_bits = 16, .disk_size = 1 << 20, .l2 = { "dcZd" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .l2 = { "pqd.Zzcp" } },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))

typedef Qcow2Change *coroutine_fn Begin(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot,
                                        GError **errp);

static void apply_at_once(BlockFile *file)
{
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "full", NULL);
}

static void delete_at_once(BlockFile *file)
{
    qcow2_fixture_must_delete(file, "full");
}

static const struct {
    Begin *begin;
    void (*at_once)(BlockFile *file);
} changes[] = {
    { qcow2_apply_begin, apply_at_once },
    { qcow2_delete_begin, delete_at_once },
};

#define CHANGES ((int)G_N_ELEMENTS(changes))

typedef struct Steps {
    BlockFile *file;
    Begin *begin;
    bool commits;
    char *between; /* what the image looks like when all is prepared */
} Steps;

static void coroutine_fn expect_vmstate(Qcow2Image *image,
                                        const Qcow2Snapshot *snapshot)
{
    Qcow2VmstateReader *reader =
        qcow2_vmstate_reader_open(image, snapshot, NULL);
    g_autofree uint8_t *read = g_malloc(VM_STATE_BYTES);
    g_autofree uint8_t *expected = g_malloc(VM_STATE_BYTES);

    ck_assert_ptr_nonnull(reader);
    ck_assert(qcow2_vmstate_pread(reader, 0, read, VM_STATE_BYTES, NULL));
    qcow2_vmstate_reader_close(reader);
    qcow2_fixture_fill(1, 0, expected, VM_STATE_BYTES);
    ck_assert_mem_eq(read, expected, VM_STATE_BYTES);
}

static void coroutine_fn change_entry(void *opaque)
{
    Steps *steps = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(steps->file, NULL);
    const Qcow2Snapshot *snapshot = qcow2_find_snapshot(image, "full");
    Qcow2Change *change = steps->begin(image, snapshot, NULL);

    ck_assert_ptr_nonnull(change);
    ck_assert(qcow2_change_reserve(change, NULL));
    ck_assert(!qcow2_change_may_be_committed(change));
    steps->between = qcow2_fixture_describe_sound(steps->file);
    expect_vmstate(image, snapshot);
    if (steps->commits) {
        ck_assert(qcow2_change_commit(change, NULL));
        ck_assert(qcow2_change_may_be_committed(change));
    }
    qcow2_change_end(change);
}

/* The disk as in the snapshot "full", then another one. */
static BlockFile *changed_disk(int shape)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[shape]);
    BlockFile *file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = {
        .name = "full",
        .seed = 1,
        .bytes = VM_STATE_BYTES,
    };

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_guest_discards(&file, 0);
    return file;
}

START_TEST(change_in_two_steps)
{
    g_autoptr(BlockFile) file = changed_disk(_i / CHANGES);
    g_autoptr(BlockFile) other = changed_disk(_i / CHANGES);
    Steps steps = {
        .file = file,
        .begin = changes[_i % CHANGES].begin,
        .commits = true,
    };
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *after = NULL;
    g_autofree char *expected = NULL;

    event_loop_run(change_entry, &steps);
    ck_assert_str_eq(steps.between, before);
    g_free(steps.between);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_ne(after, before);
    changes[_i % CHANGES].at_once(other);
    expected = qcow2_fixture_describe_sound(other);
    ck_assert_str_eq(after, expected);
}
END_TEST

START_TEST(change_that_is_given_up)
{
    g_autoptr(BlockFile) file = changed_disk(_i / CHANGES);
    Steps steps = { .file = file, .begin = changes[_i % CHANGES].begin };
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *after = NULL;
    int64_t size = block_file_size(file);

    event_loop_run(change_entry, &steps);
    g_free(steps.between);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(after, before);
    ck_assert_int_eq(block_file_size(file), size);
}
END_TEST

static void coroutine_fn no_vmstate_entry(void *opaque)
{
    Steps *steps = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(steps->file, NULL);
    Qcow2SnapshotStamp stamp = {
        .date_sec = 1002,
        .date_nsec = 5,
        .vm_clock_nsec = 14,
    };
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, "disk", NULL, NULL);

    ck_assert_ptr_nonnull(writer);
    ck_assert(qcow2_snapshot_writer_reserve(writer, 0, NULL));
    steps->between = qcow2_fixture_describe_sound(steps->file);
    ck_assert(qcow2_snapshot_writer_commit(writer, &stamp, NULL));
    qcow2_snapshot_writer_end(writer);
}

/* A writer that gets no VM state makes a snapshot of the disk alone. */
START_TEST(writer_without_vm_state)
{
    g_autoptr(BlockFile) file = changed_disk(_i);
    g_autoptr(BlockFile) other = changed_disk(_i);
    Steps steps = { .file = file };
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *after = NULL;
    g_autofree char *expected = NULL;

    event_loop_run(no_vmstate_entry, &steps);
    ck_assert_str_eq(steps.between, before);
    g_free(steps.between);
    after = qcow2_fixture_describe_sound(file);
    qcow2_fixture_must_create(other, "disk", 2);
    expected = qcow2_fixture_describe_sound(other);
    ck_assert_str_eq(after, expected);
}
END_TEST

static void coroutine_fn full_entry(void *opaque)
{
    Steps *steps = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(steps->file, NULL);
    g_autoptr(GError) error = NULL;
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, "disk", NULL, NULL);
    Qcow2Change *change;
    int i;

    ck_assert(!qcow2_snapshot_writer_reserve(writer, 0, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "space");
    qcow2_snapshot_writer_end(writer);
    for (i = 0; i < CHANGES; i++) {
        change =
            changes[i].begin(image, qcow2_find_snapshot(image, "full"), NULL);
        ck_assert(!qcow2_change_reserve(change, &error));
        qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "space");
        qcow2_change_end(change);
    }
}

START_TEST(full_disk_is_noticed_in_the_first_step)
{
    g_autoptr(BlockFile) file = changed_disk(_i);
    Steps steps = { .file = file };
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *after = NULL;

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, -1, -ENOSPC);
    event_loop_run(full_entry, &steps);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(after, before);
}
END_TEST

static Suite *two_steps_suite(void)
{
    Suite *suite = suite_create("qcow2-two-steps");
    TCase *tcase = tcase_create("two steps");

    tcase_add_loop_test(tcase, change_in_two_steps, 0, CHANGES * SHAPES);
    tcase_add_loop_test(tcase, change_that_is_given_up, 0, CHANGES * SHAPES);
    tcase_add_loop_test(tcase, writer_without_vm_state, 0, SHAPES);
    tcase_add_loop_test(tcase, full_disk_is_noticed_in_the_first_step, 0,
                        SHAPES);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(two_steps_suite());
}
