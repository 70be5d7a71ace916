/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Content that is taken over without copying it: between block files, and as
 * the VM state of a snapshot.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "host-file.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "scratch.h"
#include "snap-error.h"

#define BLOCK 65536

static BlockFile *new_host_file(Scratch *scratch, const char *name)
{
    HostFileOptions options = { .writable = true };
    BlockFile *file =
        host_file_open(scratch_write(scratch, name, "", 0), &options, NULL);

    ck_assert_ptr_nonnull(file);
    return file;
}

typedef struct Pair {
    BlockFile *to;
    BlockFile *from;
} Pair;

static void coroutine_fn fill(BlockFile *file)
{
    g_autofree uint8_t *content = g_malloc(3 * BLOCK);

    qcow2_fixture_fill(7, 0, content, 3 * BLOCK);
    ck_assert_int_eq(block_file_pwrite(file, 0, content, 3 * BLOCK), 0);
}

static void coroutine_fn assert_cloned(BlockFile *file)
{
    g_autofree uint8_t *expected = g_malloc(2 * BLOCK);
    g_autofree uint8_t *content = g_malloc(2 * BLOCK);

    qcow2_fixture_fill(7, BLOCK, expected, 2 * BLOCK);
    ck_assert_int_eq(block_file_pread(file, 3 * BLOCK, content, 2 * BLOCK), 0);
    ck_assert_mem_eq(content, expected, 2 * BLOCK);
}

static void coroutine_fn clone_in_memory(void *opaque)
{
    Pair *pair = opaque;

    fill(pair->from);
    ck_assert_int_eq(
        block_file_clone(pair->to, 3 * BLOCK, pair->from, BLOCK, 2 * BLOCK), 0);
    assert_cloned(pair->to);
}

START_TEST(memory_files)
{
    g_autoptr(BlockFile) to = memory_file_new();
    g_autoptr(BlockFile) from = memory_file_new();
    Pair pair = { to, from };

    event_loop_run(clone_in_memory, &pair);
}
END_TEST

/* Whether it can be done is the file system's affair. */
static void coroutine_fn clone_on_disk(void *opaque)
{
    Pair *pair = opaque;
    int ret;

    fill(pair->from);
    ret = block_file_clone(pair->to, 3 * BLOCK, pair->from, BLOCK, 2 * BLOCK);
    if (ret == 0) {
        assert_cloned(pair->to);
        /* What is written now is the clone's alone. */
        ck_assert_int_eq(block_file_pwrite(pair->from, BLOCK, "x", 1), 0);
        assert_cloned(pair->to);
    } else {
        ck_assert_int_eq(ret, -ENOTSUP);
    }
    /* Nobody has blocks of one byte. */
    ck_assert_int_eq(block_file_clone(pair->to, 1, pair->from, BLOCK, 3),
                     -ENOTSUP);
}

START_TEST(host_files)
{
    Scratch *scratch = scratch_new();
    Pair pair = { new_host_file(scratch, "to"),
                  new_host_file(scratch, "from") };

    event_loop_run(clone_on_disk, &pair);
    block_file_close(pair.to);
    block_file_close(pair.from);
    scratch_free(scratch);
}
END_TEST

static void coroutine_fn refuse(void *opaque)
{
    Pair *pair = opaque;

    fill(pair->from);
    ck_assert_int_eq(block_file_clone(pair->to, 0, pair->from, 0, BLOCK),
                     -ENOTSUP);
    ck_assert_int_eq(block_file_clone(pair->to, -1, pair->from, 0, BLOCK),
                     -EINVAL);
    ck_assert_int_eq(block_file_clone(pair->to, 0, pair->from, -1, BLOCK),
                     -EINVAL);
    ck_assert_int_eq(block_file_clone(pair->to, 0, pair->from, 0, -1), -EINVAL);
    ck_assert_int_eq(
        block_file_clone(pair->to, INT64_MAX, pair->from, 0, BLOCK), -EINVAL);
    ck_assert_int_eq(
        block_file_clone(pair->to, 0, pair->from, INT64_MAX, BLOCK), -EINVAL);
    ck_assert_int_eq(block_file_clone(pair->to, 0, pair->to, 0, 0), 0);
    pair->to->writable = false;
    ck_assert_int_eq(block_file_clone(pair->to, 0, pair->from, 0, BLOCK),
                     -EBADF);
}

START_TEST(files_of_two_kinds)
{
    Scratch *scratch = scratch_new();
    g_autoptr(BlockFile) memory = memory_file_new();
    Pair pair = { new_host_file(scratch, "to"), memory };

    event_loop_run(refuse, &pair);
    block_file_close(pair.to);
    scratch_free(scratch);
}
END_TEST

#define STATE_BYTES (5 * BLOCK + 512)

typedef struct Save {
    BlockFile *file;
    BlockFile *source;
    bool fail;
    bool done;
    GError *error;
} Save;

static bool coroutine_fn clone_state(Save *save, Qcow2SnapshotWriter *writer)
{
    uint8_t tail[512];

    qcow2_fixture_fill(3, 5 * BLOCK, tail, sizeof(tail));
    if (!qcow2_snapshot_writer_reserve(writer, STATE_BYTES, &save->error)) {
        return false;
    }
    if (save->fail) {
        memory_file_fail(save->file, MEMORY_FILE_WRITE, 1, -ENOSPC);
    }
    return qcow2_snapshot_writer_clone(writer, 0, save->source, BLOCK,
                                       2 * BLOCK, &save->error) &&
           qcow2_snapshot_writer_clone(writer, 2 * BLOCK, save->source,
                                       3 * BLOCK, 3 * BLOCK, &save->error) &&
           qcow2_snapshot_writer_pwrite(writer, 5 * BLOCK, tail, sizeof(tail),
                                        &save->error);
}

static void coroutine_fn save_by_clone(void *opaque)
{
    Save *save = opaque;
    Qcow2SnapshotStamp stamp = { .vm_state_size = STATE_BYTES };
    g_autoptr(Qcow2Image) image = qcow2_open(save->file, NULL);
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, "cloned", NULL, NULL);

    save->done = clone_state(save, writer) &&
                 qcow2_snapshot_writer_commit(writer, &stamp, &save->error);
    qcow2_snapshot_writer_end(writer);
}

/* The state begins at the second block of @source. */
static void run_save(Save *save, BlockFile *source)
{
    Qcow2FixtureOptions options = { .cluster_bits = 12, .disk_size = BLOCK };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);

    save->file = qcow2_fixture_file(image);
    save->source = source;
    event_loop_run(save_by_clone, save);
}

static BlockFile *new_source(void)
{
    g_autofree uint8_t *content = g_malloc0(6 * BLOCK);

    qcow2_fixture_fill(3, 0, content + BLOCK, 5 * BLOCK);
    return memory_file_new_from(content, 6 * BLOCK);
}

START_TEST(vm_state)
{
    g_autoptr(BlockFile) source = new_source();
    g_autofree uint8_t *expected = g_malloc(STATE_BYTES);
    g_autofree uint8_t *loaded = g_malloc(STATE_BYTES);
    g_autoptr(GByteArray) content = NULL;
    Save save = { 0 };

    run_save(&save, source);
    ck_assert_msg(save.done, "%s", save.error ? save.error->message : "");
    content = qcow2_fixture_content(save.file);
    qcow2_fixture_assert_sound(content);
    qcow2_fixture_fill(3, 0, expected, STATE_BYTES);
    ck_assert(
        qcow2_fixture_load(save.file, "cloned", 0, loaded, STATE_BYTES, NULL));
    ck_assert_mem_eq(loaded, expected, STATE_BYTES);
    block_file_close(save.file);
}
END_TEST

START_TEST(vm_state_on_a_full_disk)
{
    g_autoptr(BlockFile) source = new_source();
    g_autoptr(GByteArray) content = NULL;
    Save save = { .fail = true };

    run_save(&save, source);
    ck_assert(!save.done);
    qcow2_fixture_assert_error(&save.error, SNAP_ERROR_NO_SPACE,
                               "cannot clone 131072 bytes of VM state");
    content = qcow2_fixture_content(save.file);
    qcow2_fixture_assert_sound(content);
    block_file_close(save.file);
}
END_TEST

START_TEST(vm_state_that_must_be_written)
{
    Scratch *scratch = scratch_new();
    BlockFile *source = new_host_file(scratch, "source");
    Save save = { 0 };

    run_save(&save, source);
    ck_assert(!save.done);
    qcow2_fixture_assert_error(&save.error, SNAP_ERROR_UNSUPPORTED,
                               "cannot clone");
    block_file_close(save.file);
    block_file_close(source);
    scratch_free(scratch);
}
END_TEST

static Suite *clone_suite(void)
{
    Suite *suite = suite_create("clone");
    TCase *tcase = tcase_create("clone");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, memory_files);
    tcase_add_test(tcase, host_files);
    tcase_add_test(tcase, files_of_two_kinds);
    tcase_add_test(tcase, vm_state);
    tcase_add_test(tcase, vm_state_on_a_full_disk);
    tcase_add_test(tcase, vm_state_that_must_be_written);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(clone_suite());
}
