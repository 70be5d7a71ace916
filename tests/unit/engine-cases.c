/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Engines of all kinds on files of their own, and the same requests to each.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine-cases.h"
#include "event-loop.h"

int engine_uring_refusal(void)
{
    struct io_uring_params params = { 0 };
    int fd = syscall(__NR_io_uring_setup, 1, &params);

    if (fd < 0) {
        return -errno;
    }
    close(fd);
    return 0;
}

static void engine_test_fill_buffer(EngineTest *test)
{
    for (unsigned i = 0; i < BUFFER_BYTES; i++) {
        test->buffer[i] = i / BLOCK + i;
    }
}

static bool engine_is_direct(EngineKind kind)
{
    return kind == ENGINE_NATIVE || kind == ENGINE_URING_DIRECT ||
           kind == ENGINE_URING_REGISTERED_DIRECT;
}

/* RLIMIT_MEMLOCK may be used up; then there is no engine. */
static void engine_test_register_buffer(EngineTest *test)
{
    int ret =
        aio_engine_register_buffers(test->engine, test->buffer, BUFFER_BYTES);

    if (ret < 0) {
        ck_assert_int_eq(ret, -ENOMEM);
        g_clear_pointer(&test->engine, aio_engine_close);
    }
}

static void engine_test_open_uring(EngineTest *test, EngineKind kind)
{
    int ret = aio_uring_new(test->fd, &test->engine);

    ck_assert_int_eq(ret, engine_uring_refusal());
    if (ret == 0 && kind >= ENGINE_URING_REGISTERED) {
        engine_test_register_buffer(test);
    }
}

static void engine_test_open_engine(EngineTest *test, EngineKind kind)
{
    if (engine_is_direct(kind)) {
        /* Where O_DIRECT is refused, it goes without. */
        fcntl(test->fd, F_SETFL, O_DIRECT);
    }
    if (kind == ENGINE_THREADS) {
        test->engine = aio_threads_new(test->fd, true, test->pool);
    } else if (kind == ENGINE_NATIVE) {
        ck_assert_int_eq(aio_native_new(test->fd, &test->engine), 0);
    } else {
        engine_test_open_uring(test, kind);
    }
}

bool engine_test_open(EngineTest *test, EngineKind kind)
{
    memset(test, 0, sizeof(*test));
    test->scratch = scratch_new();
    test->pool = thread_pool_new();
    test->alignment = BLOCK;
    test->buffer = aligned_alloc(BLOCK, BUFFER_BYTES);
    engine_test_fill_buffer(test);
    test->fd = open(scratch_path(test->scratch, "file"),
                    O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(test->fd, 0);
    engine_test_open_engine(test, kind);
    if (!test->engine) {
        engine_test_close(test);
    }
    return test->engine != NULL;
}

void engine_test_close(EngineTest *test)
{
    aio_engine_close(test->engine);
    thread_pool_free(test->pool);
    close(test->fd);
    free(test->buffer);
    scratch_free(test->scratch);
}

void engine_run_case(EngineKind kind, CoroutineFunc *func)
{
    EngineTest test;

    if (engine_test_open(&test, kind)) {
        event_loop_run(func, &test);
        engine_test_close(&test);
    }
}

void engine_assert_file(EngineTest *test, off_t offset, const void *expected,
                        size_t bytes)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", test->fd);
    g_autofree char *content = g_malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, content, bytes, offset), bytes);
    ck_assert_mem_eq(content, expected, bytes);
    close(fd);
}

void engine_fill_vector(EngineTest *test, struct iovec *iov, unsigned count,
                        size_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        iov[i].iov_base = test->buffer + i * bytes;
        iov[i].iov_len = bytes;
    }
}

/* Eight blocks, in @count elements. */
static void coroutine_fn engine_check_requests_of(EngineTest *test,
                                                  unsigned count)
{
    AioEngine *engine = test->engine;
    size_t alignment = test->alignment;
    struct iovec iov[8];
    g_autofree uint8_t *before = NULL;

    engine_test_fill_buffer(test);
    before = g_memdup2(test->buffer, BUFFER_BYTES);
    ck_assert_int_eq(ftruncate(test->fd, 0), 0);
    engine_fill_vector(test, iov, count, 8 * BLOCK / count);
    ck_assert_int_eq(aio_engine_pwritev(engine, alignment, BLOCK, iov, count),
                     0);
    engine_assert_file(test, BLOCK, before, 8 * BLOCK);
    memset(test->buffer, 0xee, BUFFER_BYTES);
    ck_assert_int_eq(aio_engine_preadv(engine, alignment, BLOCK, iov, count),
                     0);
    ck_assert_mem_eq(test->buffer, before, 8 * BLOCK);
    ck_assert_uint_eq(test->buffer[8 * BLOCK], 0xee);
    /* Half in the file, half behind its end; then all behind. */
    ck_assert_int_eq(
        aio_engine_preadv(engine, alignment, 5 * BLOCK, iov, count), 0);
    ck_assert_mem_eq(test->buffer, before + 4 * BLOCK, 4 * BLOCK);
    for (unsigned i = 4 * BLOCK; i < 8 * BLOCK; i++) {
        ck_assert_uint_eq(test->buffer[i], 0);
    }
    memset(test->buffer, 0xee, BUFFER_BYTES);
    engine_fill_vector(test, iov, 1, 2 * BLOCK);
    ck_assert_int_eq(aio_engine_preadv(engine, alignment, 50 * BLOCK, iov, 1),
                     0);
    ck_assert_uint_eq(test->buffer[0], 0);
    ck_assert_uint_eq(test->buffer[2 * BLOCK - 1], 0);
    ck_assert_uint_eq(test->buffer[2 * BLOCK], 0xee);
}

void coroutine_fn engine_check_whole_requests(void *opaque)
{
    engine_check_requests_of(opaque, 4);
    engine_check_requests_of(opaque, 1);
}

void coroutine_fn engine_do_block_request(void *opaque)
{
    BlockRequest *request = opaque;
    EngineTest *test = request->test;
    struct iovec iov = {
        .iov_base = test->buffer + request->block % 64 * BLOCK,
        .iov_len = BLOCK,
    };
    int64_t offset = (int64_t)request->block * BLOCK;
    int ret;

    if (request->is_read) {
        ret = aio_engine_preadv(test->engine, BLOCK, offset, &iov, 1);
    } else {
        ret = aio_engine_pwritev(test->engine, BLOCK, offset, &iov, 1);
    }
    ck_assert_int_eq(ret, request->expected);
    test->left--;
}

void coroutine_fn engine_run_block_requests(BlockRequest *requests,
                                            unsigned count)
{
    requests->test->left = count;
    for (unsigned i = 0; i < count; i++) {
        event_loop_start(engine_do_block_request, &requests[i]);
    }
    while (requests->test->left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
}

void coroutine_fn engine_write_blocks(EngineTest *test, unsigned count)
{
    g_autofree BlockRequest *requests = g_new0(BlockRequest, count);

    for (unsigned i = 0; i < count; i++) {
        requests[i].test = test;
        requests[i].block = i;
    }
    engine_run_block_requests(requests, count);
    for (unsigned i = 0; i < count; i++) {
        engine_assert_file(test, (off_t)i * BLOCK,
                           test->buffer + i % 64 * BLOCK, BLOCK);
    }
}
