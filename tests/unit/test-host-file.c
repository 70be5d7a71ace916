/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Requests to files of the host: the same behaviour with every cache mode and
 * engine.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "event-loop.h"
#include "host-file-cases.h"
#include "run-suite.h"

/* Our own fdatasync(), which can be made to fail. */
static struct {
    int flush_error;
    unsigned flushes;
} faults;

int fdatasync(int fd)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");

    faults.flushes++;
    if (faults.flush_error) {
        errno = faults.flush_error;
        return -1;
    }
    return real(fd);
}

static void clear_faults(void)
{
    memset(&faults, 0, sizeof(faults));
}

static void coroutine_fn check_small_requests(void *opaque)
{
    FileTest *test = opaque;
    BlockFile *file = test->file;
    char buffer[32];

    ck_assert_int_eq(block_file_size(file), 10);
    ck_assert_int_eq(block_file_pread(file, 3, buffer, 4), 0);
    ck_assert_mem_eq(buffer, "3456", 4);
    ck_assert_int_eq(block_file_pwrite(file, 4, "XY", 2), 0);
    ck_assert_int_eq(block_file_pread(file, 0, buffer, 20), 0);
    ck_assert_mem_eq(buffer, "0123XY6789\0\0\0\0\0\0\0\0\0\0", 20);
    /* Grows at least as far as was written, at most to a whole block. */
    ck_assert_int_eq(block_file_pwrite(file, 8, "abcd", 4), 0);
    ck_assert_int_ge(block_file_size(file), 12);
    ck_assert_int_lt(block_file_size(file), 12 + file->alignment);
    ck_assert_int_eq(block_file_flush(file), 0);
    assert_on_disk(test, 0, "0123XY67abcd", 12);
    /* Far behind the end: a gap of zeros. */
    ck_assert_int_eq(block_file_pwrite(file, 100000, "end", 3), 0);
    ck_assert_int_eq(block_file_pread(file, 99998, buffer, 8), 0);
    ck_assert_mem_eq(buffer, "\0\0end\0\0\0", 8);
    ck_assert_int_eq(block_file_pread(file, 50000, buffer, 4), 0);
    ck_assert_mem_eq(buffer, "\0\0\0\0", 4);
}

START_TEST(small_requests)
{
    host_file_run_case(_i, "0123456789", 10, check_small_requests);
}
END_TEST

static void coroutine_fn check_sizes(void *opaque)
{
    FileTest *test = opaque;
    BlockFile *file = test->file;
    char buffer[10];
    int ret;

    ck_assert_int_eq(block_file_truncate(file, 5), 0);
    ck_assert_int_eq(block_file_size(file), 5);
    ck_assert_int_eq(block_file_truncate(file, 70000), 0);
    ck_assert_int_eq(block_file_size(file), 70000);
    ck_assert_int_eq(block_file_pread(file, 0, buffer, 10), 0);
    ck_assert_mem_eq(buffer, "01234\0\0\0\0\0", 10);
    ret = block_file_allocate(file, 65536, 100000);
    /* Not every file system can, but it must not say yes and do nothing. */
    ck_assert(ret == 0 || ret == -ENOTSUP);
    if (ret == 0) {
        ck_assert_int_eq(block_file_size(file), 165536);
        ck_assert_int_eq(block_file_pread(file, 165530, buffer, 6), 0);
        ck_assert_mem_eq(buffer, "\0\0\0\0\0\0", 6);
    }
}

START_TEST(truncate_and_allocate)
{
    host_file_run_case(_i, "0123456789", 10, check_sizes);
}
END_TEST

/*
 * Many coroutines on one file, compared with a byte array. The file is made of
 * slots whose length is no multiple of anything; each worker has its own ones,
 * so that they meet in alignment blocks but not in bytes. Every fourth request
 * is an aligned one, in a part of the file where each worker has one chunk.
 */
enum {
    WORKERS = 64,
    ROUNDS = 16,
    SLOT = 777,
    SLOTS_OF_WORKER = 8,
    CHUNK = 16384,
    CHUNKS_START = 1024 * 1024,
    MODEL_BYTES = CHUNKS_START + WORKERS * CHUNK,
};

typedef struct Model {
    FileTest *test;
    uint8_t *bytes;
    unsigned left;
} Model;

typedef struct Worker {
    Model *model;
    unsigned id;
    GRand *random;
    uint8_t *buffer; /* aligned, CHUNK and a bit */
} Worker;

/* Write and note, or read and compare. @buffer is overwritten. */
static void coroutine_fn transfer_random(Worker *worker, int64_t offset,
                                         uint8_t *buffer, size_t bytes)
{
    BlockFile *file = worker->model->test->file;
    uint8_t *model = worker->model->bytes + offset;
    size_t first = bytes / 3;
    struct iovec iov[2] = {
        { .iov_base = buffer, .iov_len = first },
        { .iov_base = buffer + first, .iov_len = bytes - first },
    };

    if (g_rand_boolean(worker->random)) {
        memset(buffer, g_rand_int_range(worker->random, 1, 256), bytes);
        ck_assert_int_eq(block_file_pwritev(file, offset, iov, 2), 0);
        memcpy(model, buffer, bytes);
    } else {
        memset(buffer, 0xdb, bytes);
        ck_assert_int_eq(block_file_preadv(file, offset, iov, 2), 0);
        ck_assert_mem_eq(buffer, model, bytes);
    }
}

static void coroutine_fn worker_round(Worker *worker)
{
    GRand *random = worker->random;
    BlockFile *file = worker->model->test->file;
    unsigned slot = g_rand_int_range(random, 0, SLOTS_OF_WORKER);
    unsigned start = g_rand_int_range(random, 0, SLOT);
    unsigned bytes = g_rand_int_range(random, 1, SLOT - start + 1);
    int64_t chunk = CHUNKS_START + (int64_t)worker->id * CHUNK;

    switch (g_rand_int_range(random, 0, 4)) {
    case 0:
        bytes = g_rand_int_range(random, 1, CHUNK / 4096 + 1) * 4096;
        ck_assert_int_eq(block_file_pwrite(file, chunk, worker->buffer, bytes),
                         0);
        memcpy(worker->model->bytes + chunk, worker->buffer, bytes);
        break;
    case 1:
        /* Aligned but for the memory. */
        transfer_random(worker, chunk, worker->buffer + 1, CHUNK);
        break;
    default:
        transfer_random(
            worker, ((int64_t)slot * WORKERS + worker->id) * SLOT + start,
            worker->buffer + g_rand_int_range(random, 0, 100), bytes);
    }
}

static void coroutine_fn run_worker(void *opaque)
{
    Worker *worker = opaque;

    worker->buffer = block_file_alloc_buffer(CHUNK + 4096);
    for (unsigned round = 0; round < ROUNDS; round++) {
        worker_round(worker);
    }
    free(worker->buffer);
    g_rand_free(worker->random);
    worker->model->left--;
}

static void coroutine_fn check_random_requests(void *opaque)
{
    FileTest *test = opaque;
    g_autofree uint8_t *bytes = g_malloc0(MODEL_BYTES);
    Model model = { test, bytes, WORKERS };
    Worker workers[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (Worker){ &model, i, g_rand_new_with_seed(i), NULL };
        event_loop_start(run_worker, &workers[i]);
    }
    while (model.left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    ck_assert_int_eq(block_file_truncate(test->file, MODEL_BYTES), 0);
    ck_assert_int_eq(block_file_flush(test->file), 0);
    assert_on_disk(test, 0, bytes, MODEL_BYTES);
}

START_TEST(random_requests_in_flight)
{
    host_file_run_case(_i, "", 0, check_random_requests);
}
END_TEST

typedef struct EdgeWrite {
    FileTest *test;
    bool over;
} EdgeWrite;

static void coroutine_fn write_edge(void *opaque)
{
    EdgeWrite *write = opaque;

    ck_assert_int_eq(block_file_pwrite(write->test->file, 100, "!", 1), 0);
    write->over = true;
}

static void coroutine_fn check_truncate_beside_a_write(void *opaque)
{
    FileTest *test = opaque;
    char before[200];
    char after[200];
    const char zeros[50] = "";

    memset(before, 'x', sizeof(before));
    for (unsigned round = 0; round < 50; round++) {
        EdgeWrite write = { test, false };

        ck_assert_int_eq(block_file_pwrite(test->file, 0, before, 200), 0);
        event_loop_start(write_edge, &write);
        if (round % 2) {
            /* Either may be first. */
            event_loop_wake(coroutine_self());
            coroutine_yield();
        }
        ck_assert_int_eq(block_file_truncate(test->file, 50), 0);
        while (!write.over) {
            event_loop_wake(coroutine_self());
            coroutine_yield();
        }
        ck_assert_int_eq(block_file_pread(test->file, 0, after, 200), 0);
        ck_assert_mem_eq(after, before, 50);
        ck_assert_mem_eq(after + 50, zeros, 50);
    }
}

/* What was cut off does not come back with the rest of its block. */
START_TEST(truncate_beside_a_write)
{
    host_file_run_case(_i, "", 0, check_truncate_beside_a_write);
}
END_TEST

static void coroutine_fn check_flush(void *opaque)
{
    FileTest *test = opaque;

    ck_assert_int_eq(block_file_flush(test->file), 0);
    ck_assert_uint_eq(faults.flushes, 1);
    faults.flush_error = EIO;
    ck_assert_int_eq(block_file_flush(test->file), -EIO);
    /* The kernel has forgotten; the data is lost all the same. */
    faults.flush_error = 0;
    ck_assert_int_eq(block_file_flush(test->file), -EIO);
}

START_TEST(failed_flush_stays_failed)
{
    host_file_run_case(CASE_WRITEBACK, "", 0, check_flush);
}
END_TEST

static void coroutine_fn check_unsafe_flush(void *opaque)
{
    FileTest *test = opaque;

    ck_assert_int_eq(block_file_pwrite(test->file, 0, "x", 1), 0);
    ck_assert_int_eq(block_file_flush(test->file), 0);
    ck_assert_uint_eq(faults.flushes, 0);
    assert_on_disk(test, 0, "x", 1);
}

START_TEST(unsafe_does_not_flush)
{
    host_file_run_case(CASE_UNSAFE, "", 0, check_unsafe_flush);
}
END_TEST

static void coroutine_fn check_size_limit(void *opaque)
{
    FileTest *test = opaque;
    uint8_t *buffer = block_file_alloc_buffer(8192);
    struct rlimit before;
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 65536;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(block_file_pwrite(test->file, 57344, buffer, 8192), 0);
    ck_assert_int_eq(block_file_pwrite(test->file, 65536, buffer, 8192),
                     -EFBIG);
    /* One that could be written in part is an error as well. */
    ck_assert_int_eq(block_file_pwrite(test->file, 61440, buffer, 8192),
                     -EFBIG);
    ck_assert_int_eq(block_file_truncate(test->file, 65537), -EFBIG);
    ck_assert_int_eq(block_file_allocate(test->file, 65536, 1), -EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(block_file_pwrite(test->file, 65536, buffer, 8192), 0);
    free(buffer);
}

START_TEST(file_size_limit)
{
    host_file_run_case(_i, "", 0, check_size_limit);
}
END_TEST

static Suite *host_file_suite(void)
{
    Suite *suite = suite_create("host-file");
    TCase *tcase = tcase_create("host-file");

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, clear_faults, NULL);
    tcase_add_loop_test(tcase, small_requests, 0, HOST_FILE_CASES);
    tcase_add_loop_test(tcase, truncate_and_allocate, 0, HOST_FILE_CASES);
    tcase_add_loop_test(tcase, random_requests_in_flight, 0, HOST_FILE_CASES);
    tcase_add_loop_test(tcase, truncate_beside_a_write, 0, HOST_FILE_CASES);
    tcase_add_loop_test(tcase, file_size_limit, 0, HOST_FILE_CASES);
    tcase_add_test(tcase, failed_flush_stays_failed);
    tcase_add_test(tcase, unsafe_does_not_flush);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(host_file_suite());
}
