/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Looking into the page cache of real files.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../block/page-cache.h"
#include "event-loop.h"
#include "residency.h"
#include "run-suite.h"
#include "scratch.h"

#define MIB   (1024 * 1024)
#define BYTES (2 * MIB + 1234)
#define PAGES (BYTES / PAGE + 1)

/* Our own open(), for the names in /proc. */
static struct {
    int error;
    const char *instead;
} faults;

int open64(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    mode_t mode;
    va_list args;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (g_str_has_prefix(path, "/proc/self/fd/")) {
        if (faults.error) {
            errno = faults.error;
            return -1;
        }
        path = faults.instead ? faults.instead : path;
    }
    return real(path, flags, mode);
}

typedef struct CacheTest {
    Scratch *scratch;
    const char *path;
    int fd;
    ThreadPool *pool;
    PageCache *cache;
    uint8_t *content;
} CacheTest;

static void cache_test_open(CacheTest *test)
{
    memset(&faults, 0, sizeof(faults));
    test->scratch = scratch_new();
    test->path = scratch_path(test->scratch, "file");
    test->content = g_malloc(BYTES);
    residency_write(test->path, test->content, BYTES);
    test->fd = open(test->path, O_RDONLY | O_CLOEXEC);
    test->pool = thread_pool_new();
    ck_assert_int_eq(page_cache_new(test->fd, test->pool, &test->cache), 0);
}

static void cache_test_close(CacheTest *test)
{
    page_cache_free(test->cache);
    thread_pool_free(test->pool);
    close(test->fd);
    g_free(test->content);
    scratch_free(test->scratch);
}

static void assert_query(CacheTest *test, int64_t offset, uint64_t bytes,
                         const char *expected)
{
    g_autofree char *answer = g_malloc(strlen(expected) + 2);

    memset(answer, 'x', strlen(expected) + 2);
    ck_assert_int_eq(
        page_cache_query(test->cache, offset, bytes, (uint8_t *)answer), 0);
    for (size_t i = 0; i < strlen(expected); i++) {
        answer[i] += '0';
    }
    /* Nothing behind it has been touched. */
    ck_assert_int_eq(answer[strlen(expected)], 'x');
    answer[strlen(expected)] = '\0';
    ck_assert_str_eq(answer, expected);
}

START_TEST(query)
{
    CacheTest test;

    cache_test_open(&test);
    if (residency_drop(test.path)) {
        residency_load(test.path, 10 * PAGE, 3 * PAGE);
        residency_load(test.path, BYTES - 1, 1);
        assert_query(&test, 8 * PAGE, 7 * PAGE, "0011100");
        assert_query(&test, 10 * PAGE, 1, "1");
        assert_query(&test, 10 * PAGE - 512, 1024, "01");
        assert_query(&test, 13 * PAGE - 512, PAGE, "10");
        assert_query(&test, 10 * PAGE + 512, 3 * PAGE - 1024, "111");
        /* The last page is one in part; behind it there is nothing. */
        assert_query(&test, (PAGES - 2) * PAGE, 4 * PAGE, "0100");
        assert_query(&test, (int64_t)100 * PAGES * PAGE, 2 * PAGE, "00");
        /* To ask is not to read. */
        ck_assert_uint_eq(residency_count(test.path), 4);
    }
    cache_test_close(&test);
}
END_TEST

START_TEST(query_fails)
{
    CacheTest test;
    uint8_t resident;

    cache_test_open(&test);
    /* More than there are addresses for. */
    ck_assert_int_lt(
        page_cache_query(test.cache, 0, (uint64_t)1 << 60, &resident), 0);
    cache_test_close(&test);
}
END_TEST

static void coroutine_fn check_reading(void *opaque)
{
    CacheTest *test = opaque;
    g_autofree uint8_t *buffer = g_malloc(MIB);
    struct iovec iov[2] = {
        { .iov_base = buffer, .iov_len = 1000 },
        { .iov_base = buffer + 1000, .iov_len = MIB - 1000 },
    };

    ck_assert_int_eq(page_cache_preadv(test->cache, 333, iov, 2), 0);
    ck_assert_mem_eq(buffer, test->content + 333, MIB);
    /* Across the end. */
    ck_assert_int_eq(page_cache_preadv(test->cache, 2 * MIB, iov, 2), 0);
    ck_assert_mem_eq(buffer, test->content + 2 * MIB, 1234);
    for (unsigned i = 1234; i < MIB; i++) {
        ck_assert_uint_eq(buffer[i], 0);
    }
}

START_TEST(reading)
{
    CacheTest test;

    cache_test_open(&test);
    event_loop_run(check_reading, &test);
    cache_test_close(&test);
}
END_TEST

static void coroutine_fn read_one_page(void *opaque)
{
    CacheTest *test = opaque;
    uint8_t buffer[PAGE];
    struct iovec iov = { .iov_base = buffer, .iov_len = PAGE };

    ck_assert_int_eq(page_cache_preadv(test->cache, 0, &iov, 1), 0);
    ck_assert_mem_eq(buffer, test->content, PAGE);
}

START_TEST(reading_does_not_read_ahead)
{
    CacheTest test;

    cache_test_open(&test);
    if (residency_drop(test.path)) {
        event_loop_run(read_one_page, &test);
        ck_assert_uint_eq(residency_count(test.path), 1);
    }
    cache_test_close(&test);
}
END_TEST

static void assert_refused(CacheTest *test, int expected)
{
    PageCache *cache = NULL;
    int fd = dup(STDIN_FILENO);

    close(fd);
    ck_assert_int_eq(page_cache_new(test->fd, test->pool, &cache), expected);
    ck_assert_ptr_null(cache);
    /* Nothing is left open. */
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}

START_TEST(without_proc)
{
    CacheTest test;

    cache_test_open(&test);
    faults.error = ENOENT;
    assert_refused(&test, -ENOENT);
    faults.error = EACCES;
    assert_refused(&test, -EACCES);
    faults.error = 0;
    /* Somebody else's idea of /proc. */
    faults.instead = "/etc/passwd";
    assert_refused(&test, -ESTALE);
    cache_test_close(&test);
}
END_TEST

START_TEST(unmappable_file)
{
    CacheTest test;
    int fd;

    cache_test_open(&test);
    fd = test.fd;
    test.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_refused(&test, -ENODEV);
    close(test.fd);
    test.fd = fd;
    cache_test_close(&test);
}
END_TEST

/* The exit status of a process that is nobody special, but has the file. */
static int look_as_nobody(const char *path)
{
    ThreadPool *pool = thread_pool_new();
    PageCache *cache = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int ret;

    if (fd < 0 || (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)) {
        return 1;
    }
    ret = page_cache_new(fd, pool, &cache);
    page_cache_free(cache);
    thread_pool_free(pool);
    return -ret;
}

static int run_as_nobody(const char *path)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(look_as_nobody(path));
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* To others, a file looks as if all of it were cached. */
START_TEST(files_of_others)
{
    CacheTest test;

    ck_assert_int_eq(run_as_nobody("/etc/passwd"), EACCES);
    cache_test_open(&test);
    ck_assert_int_eq(chmod(test.path, 0644), 0);
    ck_assert_int_eq(run_as_nobody(test.path), geteuid() == 0 ? EACCES : 0);
    /* May write. */
    ck_assert_int_eq(chmod(test.path, 0666), 0);
    ck_assert_int_eq(run_as_nobody(test.path), 0);
    cache_test_close(&test);
}
END_TEST

static int find_lock(const char *path)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = 100,
        .l_len = 1,
    };
    int fd = open(path, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    close(fd);
    return lock.l_type;
}

START_TEST(locks_stay)
{
    CacheTest test;
    PageCache *cache;
    struct flock lock = {
        .l_type = F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = 100,
        .l_len = 1,
    };

    cache_test_open(&test);
    ck_assert_int_eq(fcntl(test.fd, F_OFD_SETLK, &lock), 0);
    ck_assert_int_eq(page_cache_new(test.fd, test.pool, &cache), 0);
    ck_assert_int_eq(find_lock(test.path), F_RDLCK);
    page_cache_free(cache);
    ck_assert_int_eq(find_lock(test.path), F_RDLCK);
    cache_test_close(&test);
}
END_TEST

START_TEST(flags_stay)
{
    CacheTest test;
    PageCache *cache;
    int flags;

    cache_test_open(&test);
    /* Where O_DIRECT is refused, it goes without. */
    fcntl(test.fd, F_SETFL, O_DIRECT);
    flags = fcntl(test.fd, F_GETFL);
    ck_assert_int_eq(page_cache_new(test.fd, test.pool, &cache), 0);
    ck_assert_int_eq(fcntl(test.fd, F_GETFL), flags);
    page_cache_free(cache);
    cache_test_close(&test);
}
END_TEST

/* A file that has no name any more is still the same file. */
START_TEST(removed_file)
{
    CacheTest test;
    PageCache *cache;

    cache_test_open(&test);
    ck_assert_int_eq(unlink(test.path), 0);
    ck_assert_int_eq(page_cache_new(test.fd, test.pool, &cache), 0);
    page_cache_free(cache);
    cache_test_close(&test);
}
END_TEST

static Suite *page_cache_suite(void)
{
    Suite *suite = suite_create("page-cache");
    TCase *tcase = tcase_create("page-cache");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, query);
    tcase_add_test(tcase, query_fails);
    tcase_add_test(tcase, reading);
    tcase_add_test(tcase, reading_does_not_read_ahead);
    tcase_add_test(tcase, without_proc);
    tcase_add_test(tcase, unmappable_file);
    tcase_add_test(tcase, files_of_others);
    tcase_add_test(tcase, locks_stay);
    tcase_add_test(tcase, flags_stay);
    tcase_add_test(tcase, removed_file);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(page_cache_suite());
}
