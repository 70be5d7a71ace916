/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The memory file that other tests rest on, and with it the checks that
 * block-file.c makes for every kind of file.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "event-loop.h"
#include "memory-file.h"
#include "run-suite.h"

/*
 * What malloc() refuses it refuses to everybody alike; AddressSanitizer would
 * rather end the program.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void assert_content(BlockFile *file, const void *expected, size_t bytes)
{
    size_t present;
    const uint8_t *content = memory_file_content(file, &present);

    ck_assert_uint_eq(present, bytes);
    if (bytes > 0) {
        ck_assert_mem_eq(content, expected, bytes);
    }
}

/* Each test is a coroutine that gets a new file. */
static void run_with(BlockFile *file, CoroutineFunc *func)
{
    event_loop_run(func, file);
    block_file_close(file);
}

static void coroutine_fn check_round_trip(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[8];

    ck_assert_int_eq(block_file_size(file), 0);
    ck_assert_int_eq(block_file_pwrite(file, 3, "abc", 3), 0);
    assert_content(file, "\0\0\0abc", 6);
    ck_assert_int_eq(block_file_size(file), 6);
    ck_assert_int_eq(block_file_pwrite(file, 4, "XY", 2), 0);
    assert_content(file, "\0\0\0aXY", 6);
    ck_assert_int_eq(block_file_pread(file, 2, buffer, 3), 0);
    ck_assert_mem_eq(buffer, "\0aX", 3);
    ck_assert_int_eq(block_file_flush(file), 0);
}

START_TEST(round_trip)
{
    run_with(memory_file_new(), check_round_trip);
}
END_TEST

static void coroutine_fn check_reads_behind_the_end(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[6];

    memset(buffer, 'x', sizeof(buffer));
    ck_assert_int_eq(block_file_pread(file, 2, buffer, 4), 0);
    ck_assert_mem_eq(buffer, "e\0\0\0xx", 6);
    memset(buffer, 'x', sizeof(buffer));
    ck_assert_int_eq(block_file_pread(file, 3, buffer, 2), 0);
    ck_assert_mem_eq(buffer, "\0\0xxxx", 6);
    ck_assert_int_eq(block_file_pread(file, INT64_MAX - 4, buffer, 4), 0);
    ck_assert_mem_eq(buffer, "\0\0\0\0xx", 6);
    ck_assert_int_eq(block_file_size(file), 3);
}

START_TEST(reads_behind_the_end_are_zeros)
{
    run_with(memory_file_new_from("one", 3), check_reads_behind_the_end);
}
END_TEST

static void coroutine_fn check_vectors(void *opaque)
{
    BlockFile *file = opaque;
    char a[2], b[3], c[4];
    struct iovec out[] = {
        { (void *)"12", 2 }, { NULL, 0 }, { (void *)"345", 3 },
        { NULL, 0 },         { NULL, 0 }, { (void *)"6", 1 },
    };
    struct iovec in[] = {
        { a, sizeof(a) }, { NULL, 0 }, { b, sizeof(b) },
        { c, sizeof(c) }, { NULL, 0 },
    };

    ck_assert_int_eq(block_file_pwritev(file, 1, out, G_N_ELEMENTS(out)), 0);
    assert_content(file, "\000123456", 7);
    ck_assert_int_eq(block_file_preadv(file, 0, in, G_N_ELEMENTS(in)), 0);
    ck_assert_mem_eq(a, "\0001", 2);
    ck_assert_mem_eq(b, "234", 3);
    ck_assert_mem_eq(c, "56\0\0", 4);
}

START_TEST(vectors)
{
    run_with(memory_file_new(), check_vectors);
}
END_TEST

static void coroutine_fn check_bad_requests(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[16];
    struct iovec huge[] = { { buffer, SIZE_MAX }, { buffer, 2 } };

    ck_assert_int_eq(block_file_pread(file, -1, buffer, 1), -EINVAL);
    ck_assert_int_eq(block_file_pread(file, INT64_MAX, buffer, 1), -EINVAL);
    ck_assert_int_eq(block_file_pread(file, INT64_MAX - 9, buffer, 10),
                     -EINVAL);
    ck_assert_int_eq(block_file_pwrite(file, -8, buffer, 8), -EINVAL);
    ck_assert_int_eq(block_file_pwrite(file, INT64_MAX - 1, buffer, 2),
                     -EINVAL);
    ck_assert_int_eq(block_file_preadv(file, 0, huge, 2), -EINVAL);
    ck_assert_int_eq(block_file_preadv(file, 1, huge, 1), -EINVAL);
    ck_assert_int_eq(block_file_pwritev(file, 0, huge, 2), -EINVAL);
    ck_assert_int_eq(block_file_preadv(file, 0, huge, -1), -EINVAL);
    ck_assert_int_eq(block_file_truncate(file, -1), -EINVAL);
    ck_assert_int_eq(block_file_allocate(file, -1, 1), -EINVAL);
    ck_assert_int_eq(block_file_allocate(file, 0, -1), -EINVAL);
    ck_assert_int_eq(block_file_allocate(file, INT64_MAX, 1), -EINVAL);
    /* What makes sense but is beyond what this file holds. */
    ck_assert_int_eq(block_file_pwrite(file, 1 << 30, buffer, 1), -EFBIG);
    ck_assert_int_eq(block_file_truncate(file, (1 << 30) + 1), -EFBIG);
    ck_assert_int_eq(block_file_allocate(file, 1 << 30, 1), -EFBIG);
    assert_content(file, "one", 3);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
}

START_TEST(bad_requests_are_refused)
{
    run_with(memory_file_new_from("one", 3), check_bad_requests);
}
END_TEST

static void coroutine_fn check_empty_requests(void *opaque)
{
    BlockFile *file = opaque;
    size_t records;

    ck_assert_int_eq(block_file_pread(file, 0, NULL, 0), 0);
    ck_assert_int_eq(block_file_pread(file, INT64_MAX, NULL, 0), 0);
    ck_assert_int_eq(block_file_preadv(file, 0, NULL, 0), 0);
    ck_assert_int_eq(block_file_pwrite(file, 100, NULL, 0), 0);
    ck_assert_int_eq(block_file_allocate(file, 100, 0), 0);
    assert_content(file, "one", 3);
    memory_file_records(file, &records);
    ck_assert_uint_eq(records, 0);
}

START_TEST(empty_requests_do_nothing)
{
    run_with(memory_file_new_from("one", 3), check_empty_requests);
}
END_TEST

static void coroutine_fn check_read_only(void *opaque)
{
    BlockFile *file = opaque;
    char byte;

    file->writable = false;
    ck_assert_int_eq(block_file_pwrite(file, 0, "x", 1), -EBADF);
    ck_assert_int_eq(block_file_pwrite(file, 0, NULL, 0), -EBADF);
    ck_assert_int_eq(block_file_truncate(file, 0), -EBADF);
    ck_assert_int_eq(block_file_allocate(file, 0, 1), -EBADF);
    ck_assert_int_eq(block_file_flush(file), 0);
    ck_assert_int_eq(block_file_pread(file, 0, &byte, 1), 0);
    ck_assert_int_eq(byte, 'o');
}

START_TEST(read_only_file_stays_as_it_is)
{
    run_with(memory_file_new_from("one", 3), check_read_only);
}
END_TEST

static void coroutine_fn check_sizes(void *opaque)
{
    BlockFile *file = opaque;

    ck_assert_int_eq(block_file_truncate(file, 5), 0);
    assert_content(file, "one\0\0", 5);
    ck_assert_int_eq(block_file_truncate(file, 2), 0);
    assert_content(file, "on", 2);
    /* What was cut off is gone. */
    ck_assert_int_eq(block_file_truncate(file, 4), 0);
    assert_content(file, "on\0\0", 4);
    ck_assert_int_eq(block_file_allocate(file, 1, 2), 0);
    assert_content(file, "on\0\0", 4);
    ck_assert_int_eq(block_file_allocate(file, 5, 1), 0);
    assert_content(file, "on\0\0\0\0", 6);
    file->fixed_size = true;
    ck_assert_int_eq(block_file_truncate(file, 2), -ENOTSUP);
}

START_TEST(truncate_and_allocate)
{
    run_with(memory_file_new_from("one", 3), check_sizes);
}
END_TEST

static void coroutine_fn check_limit(void *opaque)
{
    BlockFile *file = opaque;

    memory_file_limit(file, 5);
    ck_assert_int_eq(block_file_pwrite(file, 3, "xyz", 3), -ENOSPC);
    ck_assert_int_eq(block_file_truncate(file, 6), -ENOSPC);
    ck_assert_int_eq(block_file_allocate(file, 0, 6), -ENOSPC);
    assert_content(file, "one", 3);
    ck_assert_int_eq(block_file_pwrite(file, 3, "xy", 2), 0);
    ck_assert_int_eq(block_file_allocate(file, 0, 5), 0);
    assert_content(file, "onexy", 5);
    memory_file_limit(file, 0);
    ck_assert_int_eq(block_file_pwrite(file, 5, "z", 1), 0);
    /* What is there already stays. */
    memory_file_limit(file, 2);
    ck_assert_int_eq(block_file_pwrite(file, 0, "ONEXYZ", 6), 0);
}

START_TEST(disk_may_be_full)
{
    run_with(memory_file_new_from("one", 3), check_limit);
}
END_TEST

static void assert_record(const MemoryFileRecord *record, MemoryFileOp op,
                          int64_t offset, int64_t bytes)
{
    ck_assert_int_eq(record->op, op);
    ck_assert_int_eq(record->offset, offset);
    ck_assert_int_eq(record->bytes, bytes);
    ck_assert(!record->data == (op != MEMORY_FILE_WRITE));
}

static void coroutine_fn check_records(void *opaque)
{
    BlockFile *file = opaque;
    const MemoryFileRecord *records;
    size_t count;
    char buffer[4] = "abc";

    ck_assert_int_eq(block_file_pwrite(file, 7, buffer, 3), 0);
    memset(buffer, 0, sizeof(buffer));
    ck_assert_int_eq(block_file_flush(file), 0);
    ck_assert_int_eq(block_file_pread(file, 1, buffer, 2), 0);
    ck_assert_int_eq(block_file_truncate(file, 9), 0);
    ck_assert_int_eq(block_file_allocate(file, 20, 30), 0);

    records = memory_file_records(file, &count);
    ck_assert_uint_eq(count, 5);
    assert_record(&records[0], MEMORY_FILE_WRITE, 7, 3);
    ck_assert_mem_eq(g_bytes_get_data(records[0].data, NULL), "abc", 3);
    assert_record(&records[1], MEMORY_FILE_FLUSH, 0, 0);
    assert_record(&records[2], MEMORY_FILE_READ, 1, 2);
    assert_record(&records[3], MEMORY_FILE_TRUNCATE, 9, 0);
    assert_record(&records[4], MEMORY_FILE_ALLOCATE, 20, 30);

    memory_file_reset_records(file);
    memory_file_records(file, &count);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(block_file_flush(file), 0);
    ck_assert_int_eq(block_file_flush(file), 0);
    ck_assert_int_eq(block_file_pwrite(file, 0, "x", 1), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 2);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 1);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ), 0);
}

START_TEST(records_what_was_done)
{
    run_with(memory_file_new(), check_records);
}
END_TEST

static void coroutine_fn check_failures(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[4];

    memory_file_fail(file, MEMORY_FILE_WRITE, 2, -ENOSPC);
    memory_file_fail(file, MEMORY_FILE_FLUSH, -1, -EIO);
    ck_assert_int_eq(block_file_pwrite(file, 0, "a", 1), 0);
    ck_assert_int_eq(block_file_pread(file, 0, buffer, 1), 0);
    ck_assert_int_eq(block_file_pwrite(file, 1, "b", 1), -ENOSPC);
    ck_assert_int_eq(block_file_pwrite(file, 2, "c", 1), 0);
    assert_content(file, "a\0c", 3);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 2);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(block_file_flush(file), -EIO);
    }
    memory_file_fail(file, MEMORY_FILE_FLUSH, 0, 0);
    ck_assert_int_eq(block_file_flush(file), 0);

    memory_file_fail(file, MEMORY_FILE_READ, 1, -EIO);
    memory_file_fail(file, MEMORY_FILE_TRUNCATE, 1, -EPERM);
    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 1, -ENOTSUP);
    memset(buffer, 'x', sizeof(buffer));
    ck_assert_int_eq(block_file_pread(file, 0, buffer, 3), -EIO);
    ck_assert_mem_eq(buffer, "xxxx", 4);
    ck_assert_int_eq(block_file_truncate(file, 9), -EPERM);
    ck_assert_int_eq(block_file_allocate(file, 0, 9), -ENOTSUP);
    assert_content(file, "a\0c", 3);
}

START_TEST(fails_on_demand)
{
    run_with(memory_file_new(), check_failures);
}
END_TEST

/* One of several requests in flight. */
typedef struct Request {
    BlockFile *file;
    GString *story;
    unsigned *left;
    char letter;
    bool is_read;
} Request;

static void coroutine_fn do_request(void *opaque)
{
    Request *request = opaque;
    int64_t offset = request->letter - 'a';
    char byte;

    if (request->is_read) {
        ck_assert_int_eq(block_file_pread(request->file, offset, &byte, 1), 0);
    } else {
        ck_assert_int_eq(
            block_file_pwrite(request->file, offset, &request->letter, 1), 0);
    }
    g_string_append_c(request->story, request->letter);
    (*request->left)--;
}

static void coroutine_fn run_requests(Request *requests, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        event_loop_start(do_request, &requests[i]);
    }
    while (*requests->left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
}

static void assert_completion_order(BlockFile *file, const char *expected)
{
    g_autoptr(GString) story = g_string_new("");
    unsigned left = strlen(expected);
    g_autofree Request *requests = g_new(Request, left);

    for (unsigned i = 0; i < left; i++) {
        requests[i] = (Request){ file, story, &left, 'a' + i, i % 3 == 1 };
    }
    run_requests(requests, left);
    ck_assert_str_eq(story->str, expected);
}

static void coroutine_fn check_shuffle(void *opaque)
{
    BlockFile *file = opaque;
    char byte;

    assert_completion_order(file, "abcde");
    memory_file_shuffle(file, 3);
    assert_completion_order(file, "cbafedihg");
    /* The last ones never reach the window, and are not forgotten. */
    assert_completion_order(file, "cbafedhg");
    assert_completion_order(file, "ba");
    ck_assert_int_eq(block_file_pread(file, 0, &byte, 1), 0);
    memory_file_shuffle(file, 0);
    assert_completion_order(file, "abc");
}

START_TEST(shuffle_turns_the_order_around)
{
    run_with(memory_file_new(), check_shuffle);
}
END_TEST

/* The order of the records is that of taking effect, not of asking. */
static void coroutine_fn check_shuffled_records(void *opaque)
{
    BlockFile *file = opaque;
    const MemoryFileRecord *records;
    size_t count;

    memory_file_shuffle(file, 4);
    assert_completion_order(file, "dcba");
    records = memory_file_records(file, &count);
    ck_assert_uint_eq(count, 4);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(records[i].offset, 3 - i);
    }
}

START_TEST(shuffle_shows_in_the_records)
{
    run_with(memory_file_new(), check_shuffled_records);
}
END_TEST

static void coroutine_fn write_and_note(void *opaque)
{
    Request *request = opaque;

    g_string_append(request->story, "<");
    do_request(request);
    g_string_append(request->story, ">");
}

static void coroutine_fn check_yields(void *opaque)
{
    BlockFile *file = opaque;
    g_autoptr(GString) story = g_string_new("");
    unsigned left = 2;
    Request a = { file, story, &left, 'a', false };
    Request b = { file, story, &left, 'b', true };

    event_loop_start(write_and_note, &a);
    event_loop_start(write_and_note, &b);
    while (left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    ck_assert_str_eq(story->str, "<<a>b>");
}

START_TEST(requests_overlap_in_time)
{
    run_with(memory_file_new(), check_yields);
}
END_TEST

/* What is in the buffer when the request ends is what is written. */
static void coroutine_fn scribble(void *opaque)
{
    *(char *)opaque = '!';
}

static void coroutine_fn check_early_reuse(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[] = "data";

    memory_file_shuffle(file, 2);
    event_loop_start(scribble, buffer);
    ck_assert_int_eq(block_file_pwrite(file, 0, buffer, 4), 0);
    assert_content(file, "!ata", 4);
}

START_TEST(early_reuse_of_a_buffer_shows)
{
    run_with(memory_file_new(), check_early_reuse);
}
END_TEST

static void assert_replay(BlockFile *file, size_t count, const char *expected,
                          size_t bytes)
{
    size_t all;
    const MemoryFileRecord *records = memory_file_records(file, &all);
    g_autoptr(GByteArray) content = NULL;

    ck_assert_uint_le(count, all);
    content = memory_file_replay("one", 3, records, count);
    ck_assert_uint_eq(content->len, bytes);
    ck_assert_mem_eq(content->data, expected, bytes);
}

static void coroutine_fn check_replay(void *opaque)
{
    BlockFile *file = opaque;

    ck_assert_int_eq(block_file_pwrite(file, 1, "XYZ", 3), 0);
    ck_assert_int_eq(block_file_flush(file), 0);
    ck_assert_int_eq(block_file_truncate(file, 2), 0);
    ck_assert_int_eq(block_file_allocate(file, 2, 2), 0);
    ck_assert_int_eq(block_file_pwrite(file, 5, "!", 1), 0);

    assert_replay(file, 0, "one", 3);
    assert_replay(file, 1, "oXYZ", 4);
    assert_replay(file, 2, "oXYZ", 4);
    assert_replay(file, 3, "oX", 2);
    assert_replay(file, 4, "oX\0\0", 4);
    assert_replay(file, 5, "oX\0\0\0!", 6);
    assert_content(file, "oX\0\0\0!", 6);
}

START_TEST(replay_rebuilds_every_moment)
{
    run_with(memory_file_new_from("one", 3), check_replay);
}
END_TEST

START_TEST(locks_always_succeed)
{
    g_autoptr(BlockFile) file = memory_file_new();
    GError *error = NULL;

    ck_assert(block_file_lock(file, BLOCK_FILE_LOCK_WRITE, &error));
    ck_assert(block_file_lock(file, BLOCK_FILE_LOCK_NONE, &error));
    ck_assert_ptr_null(error);
}
END_TEST

START_TEST(buffers_are_aligned_and_zero)
{
    const size_t sizes[] = { 0, 1, 511, 4096, 100000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint8_t *buffer = block_file_alloc_buffer(sizes[i]);

        ck_assert_ptr_nonnull(buffer);
        ck_assert_uint_eq((uintptr_t)buffer % 4096, 0);
        for (size_t at = 0; at < sizes[i]; at++) {
            ck_assert_uint_eq(buffer[at], 0);
            buffer[at] = 0xff;
        }
        free(buffer);
    }
}
END_TEST

/* A size that an image may ask for and no machine has. */
START_TEST(absurd_buffer_is_refused)
{
    ck_assert_ptr_null(block_file_alloc_buffer((size_t)1 << 60));
}
END_TEST

START_TEST(registered_buffers_are_counted)
{
    g_autoptr(BlockFile) file = memory_file_new();
    char buffer[100];

    block_file_register_buffers(file, buffer, 0);
    ck_assert_uint_eq(memory_file_registrations(file), 0);
    block_file_register_buffers(file, buffer, sizeof(buffer));
    ck_assert_uint_eq(memory_file_registrations(file), 1);
    ck_assert_uint_eq(memory_file_registered_bytes(file), sizeof(buffer));
    block_file_unregister_buffers(file);
    ck_assert_uint_eq(memory_file_registered_bytes(file), 0);
    /* Without any, it does nothing. */
    block_file_unregister_buffers(file);
    ck_assert_uint_eq(memory_file_registrations(file), 1);
}
END_TEST

static Suite *memory_file_suite(void)
{
    Suite *suite = suite_create("memory-file");
    TCase *tcase = tcase_create("memory-file");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, reads_behind_the_end_are_zeros);
    tcase_add_test(tcase, vectors);
    tcase_add_test(tcase, bad_requests_are_refused);
    tcase_add_test(tcase, empty_requests_do_nothing);
    tcase_add_test(tcase, read_only_file_stays_as_it_is);
    tcase_add_test(tcase, truncate_and_allocate);
    tcase_add_test(tcase, disk_may_be_full);
    tcase_add_test(tcase, records_what_was_done);
    tcase_add_test(tcase, fails_on_demand);
    tcase_add_test(tcase, shuffle_turns_the_order_around);
    tcase_add_test(tcase, shuffle_shows_in_the_records);
    tcase_add_test(tcase, requests_overlap_in_time);
    tcase_add_test(tcase, early_reuse_of_a_buffer_shows);
    tcase_add_test(tcase, replay_rebuilds_every_moment);
    tcase_add_test(tcase, locks_always_succeed);
    tcase_add_test(tcase, buffers_are_aligned_and_zero);
    tcase_add_test(tcase, absurd_buffer_is_refused);
    tcase_add_test(tcase, registered_buffers_are_counted);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(memory_file_suite());
}
