/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Disk space that is given back: what lies around it stays, and so does the
 * length of the file.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "event-loop.h"
#include "host-file.h"
#include "memory-file.h"
#include "run-suite.h"
#include "scratch.h"

#define BYTES (1024 * 1024)
#define FROM  (256 * 1024)
#define TO    (768 * 1024)

typedef struct Discard {
    BlockFile *file;
    int64_t offset;
    int64_t bytes;
    int ret;
    uint8_t *content;
} Discard;

static void coroutine_fn fill_entry(void *opaque)
{
    Discard *discard = opaque;

    memset(discard->content, 0x5a, BYTES);
    ck_assert_int_eq(
        block_file_pwrite(discard->file, 0, discard->content, BYTES), 0);
}

static void coroutine_fn discard_entry(void *opaque)
{
    Discard *discard = opaque;

    discard->ret =
        block_file_discard(discard->file, discard->offset, discard->bytes);
    ck_assert_int_eq(
        block_file_pread(discard->file, 0, discard->content, BYTES), 0);
}

static void assert_all(const uint8_t *content, size_t from, size_t to,
                       uint8_t value)
{
    while (from < to && content[from] == value) {
        from++;
    }
    ck_assert_uint_eq(from, to);
}

static void assert_filled(const uint8_t *content, size_t from, size_t to)
{
    assert_all(content, from, to, 0x5a);
}

/* Zeros are what both implementations happen to leave. */
static void assert_hole(const uint8_t *content, size_t from, size_t to)
{
    assert_all(content, from, to, 0);
}

static void discard_and_judge(BlockFile *file)
{
    Discard discard = { .file = file, .offset = FROM, .bytes = TO - FROM };

    discard.content = block_file_alloc_buffer(BYTES);
    event_loop_run(fill_entry, &discard);
    event_loop_run(discard_entry, &discard);
    if (discard.ret != -ENOTSUP) {
        ck_assert_int_eq(discard.ret, 0);
        assert_hole(discard.content, FROM, TO);
    }
    assert_filled(discard.content, 0, FROM);
    assert_filled(discard.content, TO, BYTES);

    /* Behind the end there is nothing to give back, nor to be made. */
    discard.offset = BYTES;
    event_loop_run(discard_entry, &discard);
    ck_assert(discard.ret == 0 || discard.ret == -ENOTSUP);
    ck_assert_int_eq(block_file_size(file), BYTES);
    discard.bytes = 0;
    event_loop_run(discard_entry, &discard);
    ck_assert(discard.ret == 0 || discard.ret == -ENOTSUP);
    discard.bytes = -1;
    event_loop_run(discard_entry, &discard);
    ck_assert_int_eq(discard.ret, -EINVAL);
    discard.offset = -1;
    discard.bytes = 1;
    event_loop_run(discard_entry, &discard);
    ck_assert_int_eq(discard.ret, -EINVAL);
    free(discard.content);
}

START_TEST(host_file)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "discard", "", 0);
    HostFileOptions options = {
        .writable = true,
        .cache = _i ? HOST_FILE_CACHE_AUTOMATIC : HOST_FILE_CACHE_WRITEBACK,
    };
    BlockFile *file = host_file_open(path, &options, NULL);
    Discard read_only = { .offset = 0, .bytes = BYTES };

    ck_assert_ptr_nonnull(file);
    discard_and_judge(file);
    block_file_close(file);
    options.writable = false;
    read_only.file = host_file_open(path, &options, NULL);
    read_only.content = block_file_alloc_buffer(BYTES);
    ck_assert_ptr_nonnull(read_only.file);
    event_loop_run(discard_entry, &read_only);
    ck_assert_int_eq(read_only.ret, -EBADF);
    assert_filled(read_only.content, 0, FROM);
    free(read_only.content);
    block_file_close(read_only.file);
    scratch_free(scratch);
}
END_TEST

START_TEST(memory_file)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Discard failing = { .file = file, .offset = 0, .bytes = FROM };

    discard_and_judge(file);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_DISCARD), 2);
    memory_file_fail(file, MEMORY_FILE_DISCARD, 1, -EIO);
    failing.content = block_file_alloc_buffer(BYTES);
    event_loop_run(discard_entry, &failing);
    ck_assert_int_eq(failing.ret, -EIO);
    assert_filled(failing.content, 0, FROM);
    free(failing.content);
}
END_TEST

static Suite *discard_suite(void)
{
    Suite *suite = suite_create("discard");
    TCase *tcase = tcase_create("discard");

    tcase_add_loop_test(tcase, host_file, 0, 2);
    tcase_add_test(tcase, memory_file);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(discard_suite());
}
