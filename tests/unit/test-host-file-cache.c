/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which reads of a host file come from the page cache, with real files: what
 * is there is taken, what is not there is not brought there.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "event-loop.h"
#include "host-file-cases.h"
#include "residency.h"
#include "run-suite.h"

#define MIB       ((size_t)1024 * 1024)
#define MIBS      8
#define TAIL      (3 * PAGE + 1234) /* the file does not end with a page */
#define BYTES     (MIBS * MIB + TAIL)
#define IN_FLIGHT 8

typedef struct CacheTest {
    Scratch *scratch;
    const char *path;
    const char *trace_path;
    uint8_t *content; /* BYTES, and zeros up to a whole MiB */
    BlockFile *file;
    unsigned next; /* MiB to be read */
    unsigned left; /* readers */
} CacheTest;

/* Returns whether tests can be made with it. */
static bool cache_test_open(CacheTest *test)
{
    memset(test, 0, sizeof(*test));
    test->scratch = scratch_new();
    test->path = scratch_path(test->scratch, "file");
    test->trace_path = scratch_path(test->scratch, "trace");
    test->content = g_malloc0((MIBS + 1) * MIB);
    residency_write(test->path, test->content, BYTES);
    return residency_drop(test->path) && host_file_can_direct(test->path);
}

static void cache_test_close(CacheTest *test)
{
    g_free(test->content);
    scratch_free(test->scratch);
}

static void coroutine_fn read_mibs(void *opaque)
{
    CacheTest *test = opaque;
    uint8_t *buffer = block_file_alloc_buffer(MIB);

    while (test->next <= MIBS) {
        size_t at = test->next++ * MIB;

        ck_assert_int_eq(block_file_pread(test->file, at, buffer, MIB), 0);
        ck_assert_mem_eq(buffer, test->content + at, MIB);
    }
    free(buffer);
    test->left--;
}

static void coroutine_fn read_all(void *opaque)
{
    CacheTest *test = opaque;

    test->next = 0;
    test->left = IN_FLIGHT;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        event_loop_start(read_mibs, test);
    }
    while (test->left > 0) {
        event_loop_yield();
    }
}

/* Returns what is traced meanwhile; to be freed. */
static char *read_file(CacheTest *test, HostFileOptions options)
{
    g_autofree char *spec = g_strdup_printf("file=%s", test->trace_path);
    g_autoptr(GError) error = NULL;
    char *words;

    unlink(test->trace_path);
    options.trace = trace_new(spec, &error);
    ck_assert_msg(options.trace != NULL, "%s", error ? error->message : "");
    test->file = host_file_open(test->path, &options, &error);
    ck_assert_msg(test->file != NULL, "%s", error ? error->message : "");
    event_loop_run(read_all, test);
    block_file_close(test->file);
    trace_free(options.trace);
    ck_assert(g_file_get_contents(test->trace_path, &words, NULL, NULL));
    return words;
}

static char *read_automatic(CacheTest *test)
{
    return read_file(test, (HostFileOptions){ .lock = BLOCK_FILE_LOCK_READ });
}

static void assert_has(const char *words, const char *expected)
{
    ck_assert_msg(strstr(words, expected) != NULL, "'%s' is not in '%s'",
                  expected, words);
}

static void assert_lacks(const char *words, const char *unexpected)
{
    ck_assert_msg(!strstr(words, unexpected), "'%s' is in '%s'", unexpected,
                  words);
}

static void assert_cached_reads(const char *words, size_t bytes)
{
    g_autofree char *expected =
        g_strdup_printf("host_file_cached_reads cached_bytes=%zu "
                        "direct_bytes=%zu\n",
                        bytes, (MIBS + 1) * MIB - bytes);

    assert_has(words, expected);
}

/* What this process has had devices read. */
static size_t count_device_bytes(void)
{
    g_autofree char *words = NULL;
    const char *name = "\nread_bytes: ";

    ck_assert(g_file_get_contents("/proc/self/io", &words, NULL, NULL));
    return g_ascii_strtoull(strstr(words, name) + strlen(name), NULL, 10);
}

START_TEST(what_is_cached_is_taken)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        g_autofree char *words = NULL;
        size_t before;

        residency_load(test.path, 0, BYTES);
        before = count_device_bytes();
        words = read_automatic(&test);
        /* The tail is too short an island in what lies behind the end. */
        assert_cached_reads(words, MIBS * MIB);
        /* That, and metadata, and whoever else is in this process. */
        ck_assert_uint_lt(count_device_bytes() - before, MIB);
        /* The same bytes, from the device. */
        g_free(words);
        words = read_file(&test,
                          (HostFileOptions){ .cache = HOST_FILE_CACHE_NONE });
        ck_assert_uint_ge(count_device_bytes() - before, MIBS * MIB);
    }
    cache_test_close(&test);
}
END_TEST

START_TEST(what_is_not_cached_stays_so)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        g_autofree char *words = read_automatic(&test);

        assert_cached_reads(words, 0);
        ck_assert_uint_eq(residency_count(test.path), 0);
        assert_has(words, "host_file_open cache=none");
    }
    cache_test_close(&test);
}
END_TEST

/* What a test loads into the cache, and what is to be read from there. */
static const struct {
    size_t offset;
    size_t bytes;
    size_t taken;
} islands[] = {
    { MIB, MIB, MIB },
    { 3 * MIB - 64 * PAGE, 128 * PAGE, 128 * PAGE },
    { 4 * MIB + PAGE, 32 * PAGE, 32 * PAGE },
    /* Too short. */
    { 5 * MIB + 7 * PAGE, 31 * PAGE, 0 },
    { 6 * MIB, PAGE, 0 },
    /* Two with a gap of one page. */
    { 7 * MIB, 100 * PAGE, 100 * PAGE },
    { 7 * MIB + 101 * PAGE, 155 * PAGE, 155 * PAGE },
};

START_TEST(mixed)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        g_autofree uint8_t *before = NULL;
        g_autofree uint8_t *after = NULL;
        g_autofree char *words = NULL;
        size_t pages;
        size_t taken = 0;

        for (unsigned i = 0; i < G_N_ELEMENTS(islands); i++) {
            residency_load(test.path, islands[i].offset, islands[i].bytes);
            taken += islands[i].taken;
        }
        before = residency_look(test.path, &pages);
        words = read_automatic(&test);
        assert_cached_reads(words, taken);
        after = residency_look(test.path, &pages);
        ck_assert_mem_eq(before, after, pages);
    }
    cache_test_close(&test);
}
END_TEST

/* What was written and is not on the disk yet. */
START_TEST(dirty_pages)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        int fd = open(test.path, O_RDWR | O_CLOEXEC);
        g_autofree char *words = NULL;

        for (unsigned i = 0; i < MIBS; i++) {
            size_t at = i * MIB + i * 16 * PAGE + 7;

            memset(test.content + at, 'd', MIB / 2);
            ck_assert_int_eq(pwrite(fd, test.content + at, MIB / 2, at),
                             MIB / 2);
        }
        words = read_automatic(&test);
        assert_has(words, "host_file_cached_reads");
        close(fd);
    }
    cache_test_close(&test);
}
END_TEST

START_TEST(holes)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        int fd = open(test.path, O_RDWR | O_CLOEXEC);
        g_autofree char *words = NULL;

        ck_assert_int_eq(ftruncate(fd, 2 * MIB), 0);
        ck_assert_int_eq(ftruncate(fd, BYTES), 0);
        memset(test.content + 2 * MIB, 0, BYTES - 2 * MIB);
        residency_load(test.path, 3 * MIB, MIB);
        words = read_automatic(&test);
        assert_has(words, "host_file_cached_reads");
        close(fd);
    }
    cache_test_close(&test);
}
END_TEST

/* Who says how to read, and who may write, gets no mixture. */
START_TEST(only_for_readers_who_leave_it_to_us)
{
    CacheTest test;
    const HostFileOptions others[] = {
        { .cache = HOST_FILE_CACHE_NONE },
        { .cache = HOST_FILE_CACHE_DIRECTSYNC },
        { .cache = HOST_FILE_CACHE_AUTOMATIC, .writable = true },
    };

    if (cache_test_open(&test)) {
        residency_load(test.path, 0, BYTES);
        for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
            size_t before = count_device_bytes();
            g_autofree char *words = read_file(&test, others[i]);

            assert_lacks(words, "host_file_cached_reads");
            assert_has(words, "page_cache_reads=no");
            ck_assert_uint_ge(count_device_bytes() - before, MIBS * MIB);
        }
    }
    cache_test_close(&test);
}
END_TEST

START_TEST(buffered_is_buffered)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        g_autofree char *words = read_file(
            &test, (HostFileOptions){ .cache = HOST_FILE_CACHE_WRITEBACK });

        assert_lacks(words, "host_file_cached_reads");
        assert_has(words, "host_file_open cache=writeback");
        ck_assert_uint_eq(residency_count(test.path), BYTES / PAGE + 1);
    }
    cache_test_close(&test);
}
END_TEST

static void coroutine_fn read_little(void *opaque)
{
    CacheTest *test = opaque;
    uint8_t *buffer = block_file_alloc_buffer(15 * PAGE);

    ck_assert_int_eq(block_file_pread(test->file, 0, buffer, 15 * PAGE), 0);
    ck_assert_mem_eq(buffer, test->content, 15 * PAGE);
    /* Not aligned: goes another way. */
    ck_assert_int_eq(block_file_pread(test->file, 7, buffer, 15 * PAGE), 0);
    ck_assert_mem_eq(buffer, test->content + 7, 15 * PAGE);
    free(buffer);
}

/* The next descriptor shows whether there is one more. */
static int find_free_descriptor(void)
{
    int fd = dup(STDIN_FILENO);

    close(fd);
    return fd;
}

START_TEST(looking_at_metadata_opens_nothing)
{
    CacheTest test;

    if (cache_test_open(&test)) {
        HostFileOptions options = { 0 };
        int fd;

        test.file = host_file_open(test.path, &options, NULL);
        ck_assert_ptr_nonnull(test.file);
        event_loop_run(read_little, &test);
        fd = find_free_descriptor();
        event_loop_run(read_all, &test);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        block_file_close(test.file);
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    }
    cache_test_close(&test);
}
END_TEST

static void read_as_nobody(CacheTest *test)
{
    if (faccessat(AT_FDCWD, test->path, R_OK, AT_EACCESS) == 0) {
        g_autofree char *words = read_automatic(test);

        assert_has(words, "host_file_fallback wanted='O_DIRECT and page cache' "
                          "used='O_DIRECT' error='Permission denied'\n");
        assert_lacks(words, "host_file_cached_reads");
    }
}

/* For one who may read the file and no more. */
START_TEST(cache_that_cannot_be_seen)
{
    CacheTest test;

    if (cache_test_open(&test) && geteuid() == 0) {
        g_autofree char *directory = g_path_get_dirname(test.path);

        residency_load(test.path, 0, BYTES);
        ck_assert_int_eq(chmod(test.path, 0644), 0);
        ck_assert_int_eq(chmod(directory, 0777), 0);
        ck_assert_int_eq(seteuid(65534), 0);
        read_as_nobody(&test);
        ck_assert_int_eq(seteuid(0), 0);
    }
    cache_test_close(&test);
}
END_TEST

static Suite *host_file_cache_suite(void)
{
    Suite *suite = suite_create("host-file-cache");
    TCase *tcase = tcase_create("host-file-cache");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, what_is_cached_is_taken);
    tcase_add_test(tcase, what_is_not_cached_stays_so);
    tcase_add_test(tcase, mixed);
    tcase_add_test(tcase, dirty_pages);
    tcase_add_test(tcase, holes);
    tcase_add_test(tcase, only_for_readers_who_leave_it_to_us);
    tcase_add_test(tcase, buffered_is_buffered);
    tcase_add_test(tcase, looking_at_metadata_opens_nothing);
    tcase_add_test(tcase, cache_that_cannot_be_seen);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(host_file_cache_suite());
}
