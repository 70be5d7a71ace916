/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where the pieces of a read come from. This program has its own mincore(), so
 * a test says itself what is cached.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../block/cached-read.h"
#include "event-loop.h"
#include "residency.h"
#include "run-suite.h"
#include "scratch.h"

#define FILE_PAGES 256
#define FILE_BYTES (FILE_PAGES * PAGE)
#define RUNS       8

/* What mincore() says: so many pages not cached, so many cached, and so on. */
static struct {
    unsigned runs[RUNS];
    int error;
    int read_error; /* of the page cache */
} faults;

static bool fault_is_cached(size_t page)
{
    unsigned run = 0;

    while (run < RUNS && page >= faults.runs[run]) {
        page -= faults.runs[run++];
    }
    return run < RUNS && run % 2;
}

int mincore(void *start, size_t bytes, unsigned char *resident)
{
    if (faults.error) {
        errno = faults.error;
        return -1;
    }
    for (size_t i = 0; i < bytes / PAGE; i++) {
        /* The reserved bits, too. */
        resident[i] = 0xfe | fault_is_cached(i);
    }
    return 0;
}

ssize_t preadv64(int fd, const struct iovec *iov, int iovcnt, off64_t offset)
{
    ssize_t (*real)(int, const struct iovec *, int, off64_t) =
        dlsym(RTLD_NEXT, "preadv64");

    if (faults.read_error) {
        errno = faults.read_error;
        return -1;
    }
    return real(fd, iov, iovcnt, offset);
}

typedef struct ReadTest {
    Scratch *scratch;
    int fd;
    ThreadPool *pool;
    CachedRead read;
    uint8_t *content;
    GString *direct; /* the pieces read so */
    int direct_error;
} ReadTest;

static int coroutine_fn read_direct(void *opaque, int64_t offset,
                                    const struct iovec *iov, int iovcnt)
{
    ReadTest *test = opaque;
    size_t bytes = 0;

    for (int i = 0; i < iovcnt; i++) {
        memcpy(iov[i].iov_base, test->content + offset + bytes, iov[i].iov_len);
        bytes += iov[i].iov_len;
    }
    g_string_append_printf(test->direct, "%g+%g ", offset / (double)PAGE,
                           bytes / (double)PAGE);
    return test->direct_error;
}

static void read_test_open(ReadTest *test)
{
    const char *path;

    memset(&faults, 0, sizeof(faults));
    memset(test, 0, sizeof(*test));
    test->scratch = scratch_new();
    test->content = g_malloc(FILE_BYTES);
    test->direct = g_string_new("");
    path = scratch_path(test->scratch, "file");
    residency_write(path, test->content, FILE_BYTES);
    test->fd = open(path, O_RDONLY | O_CLOEXEC);
    test->pool = thread_pool_new();
    test->read.read_direct = read_direct;
    test->read.opaque = test;
    ck_assert_int_eq(page_cache_new(test->fd, test->pool, &test->read.cache),
                     0);
}

static void read_test_close(ReadTest *test)
{
    page_cache_free(test->read.cache);
    thread_pool_free(test->pool);
    close(test->fd);
    g_string_free(test->direct, TRUE);
    g_free(test->content);
    scratch_free(test->scratch);
}

static void run_read_case(CoroutineFunc *func)
{
    ReadTest test;

    read_test_open(&test);
    event_loop_run(func, &test);
    read_test_close(&test);
}

/* Into one buffer, or into elements of odd lengths, an empty one among them. */
static int coroutine_fn read_into(ReadTest *test, int64_t offset,
                                  uint8_t *buffer, size_t bytes, bool is_odd)
{
    struct iovec iov[4] = {
        { .iov_base = buffer, .iov_len = is_odd ? 5000 : bytes },
        { .iov_base = buffer },
        { .iov_base = buffer + 5000, .iov_len = 40 * PAGE - 4990 },
        { .iov_base = buffer + 40 * PAGE + 10,
          .iov_len = bytes - 40 * PAGE - 10 },
    };

    g_string_truncate(test->direct, 0);
    test->read.cached_bytes = 0;
    test->read.direct_bytes = 0;
    return cached_read_preadv(&test->read, offset, iov, is_odd ? 4 : 1);
}

static void coroutine_fn assert_pieces(ReadTest *test, int64_t offset,
                                       size_t bytes, const char *expected)
{
    uint8_t *buffer = g_malloc(bytes + 1);

    for (unsigned is_odd = 0; is_odd < 2; is_odd++) {
        if (is_odd && bytes < 41 * PAGE) {
            continue;
        }
        memset(buffer, 0xee, bytes + 1);
        ck_assert_int_eq(read_into(test, offset, buffer, bytes, is_odd), 0);
        ck_assert_mem_eq(buffer, test->content + offset, bytes);
        ck_assert_uint_eq(buffer[bytes], 0xee);
        ck_assert_str_eq(test->direct->str, expected);
        ck_assert_uint_eq(test->read.cached_bytes + test->read.direct_bytes,
                          bytes);
    }
    g_free(buffer);
}

/* An island is at least 32 pages, unless it is the whole request. */
static const struct {
    unsigned runs[RUNS]; /* as in @faults */
    unsigned pages;
    const char *direct; /* pieces: first page + number of pages */
} pieces[] = {
    { { 0, 200 }, 200, "" },
    { { 200 }, 200, "8+200 " },
    { { 0, 16 }, 16, "" },
    { { 1, 15 }, 16, "8+16 " },
    { { 0, 15 }, 16, "8+16 " },
    { { 40, 31, 40 }, 111, "8+111 " },
    { { 40, 32, 40 }, 112, "8+40 80+40 " },
    { { 0, 40, 1, 40 }, 81, "48+1 " },
    { { 0, 32, 1, 32, 1 }, 66, "40+1 73+1 " },
    { { 0, 10, 40 }, 50, "8+50 " },
    { { 40, 10 }, 50, "8+50 " },
    { { 40, 32 }, 72, "8+40 " },
    { { 0, 32, 40 }, 72, "40+40 " },
    { { 0, 10, 1, 10, 1, 40 }, 62, "8+22 " },
    { { 0, 10, 1, 40, 1, 10 }, 62, "8+11 59+11 " },
    { { 0, 31, 1, 31, 1, 31, 1, 31 }, 127, "8+127 " },
};

static void coroutine_fn check_pieces(void *opaque)
{
    ReadTest *test = opaque;

    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        memcpy(faults.runs, pieces[i].runs, sizeof(faults.runs));
        assert_pieces(test, 8 * PAGE, (size_t)pieces[i].pages * PAGE,
                      pieces[i].direct);
    }
}

START_TEST(pieces_are_those_that_pay)
{
    run_read_case(check_pieces);
}
END_TEST

static void coroutine_fn check_within_pages(void *opaque)
{
    ReadTest *test = opaque;
    const unsigned gap[RUNS] = { 0, 40, 1, 40 };
    const unsigned ends[RUNS] = { 1, 60, 1 };
    const unsigned island[RUNS] = { 1, 33, 1, 33 };

    /* Cuts are at pages, whatever the request begins and ends with. */
    memcpy(faults.runs, gap, sizeof(gap));
    assert_pieces(test, 8 * PAGE + 512, 81 * PAGE - 1024, "48+1 ");
    memcpy(faults.runs, ends, sizeof(ends));
    assert_pieces(test, 8 * PAGE + 1024, 62 * PAGE - 2048,
                  "8.25+0.75 69+0.75 ");
    /* The last island lacks half a page. */
    memcpy(faults.runs, island, sizeof(island));
    assert_pieces(test, 8 * PAGE + 2048, 66 * PAGE - 1024, "8.5+0.5 42+32.25 ");
}

START_TEST(requests_that_begin_and_end_within_pages)
{
    run_read_case(check_within_pages);
}
END_TEST

static void coroutine_fn check_errors(void *opaque)
{
    ReadTest *test = opaque;
    const unsigned mixed[RUNS] = { 40, 40, 40 };
    g_autofree uint8_t *buffer = g_malloc(120 * PAGE);

    memcpy(faults.runs, mixed, sizeof(mixed));
    test->direct_error = -EIO;
    ck_assert_int_eq(read_into(test, 0, buffer, 120 * PAGE, false), -EIO);
    ck_assert_str_eq(test->direct->str, "0+40 ");
    test->direct_error = 0;
    faults.read_error = ENOMEM;
    ck_assert_int_eq(read_into(test, 0, buffer, 120 * PAGE, false), -ENOMEM);
    ck_assert_str_eq(test->direct->str, "0+40 ");
    faults.read_error = 0;
    /* Not to know is no error. */
    faults.error = EAGAIN;
    ck_assert_int_eq(read_into(test, 0, buffer, 120 * PAGE, false), 0);
    ck_assert_str_eq(test->direct->str, "0+120 ");
}

START_TEST(errors)
{
    run_read_case(check_errors);
}
END_TEST

static Suite *cached_read_suite(void)
{
    Suite *suite = suite_create("cached-read");
    TCase *tcase = tcase_create("cached-read");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, pieces_are_those_that_pay);
    tcase_add_test(tcase, requests_that_begin_and_end_within_pages);
    tcase_add_test(tcase, errors);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(cached_read_suite());
}
