/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the engines make of short transfers, interruptions and full queues. The
 * kernel rarely does these things when asked to, so this program has its own
 * io_setup(), io_submit(), preadv() and pwritev(), which call the real ones
 * with less, or not at all, as a test says.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "event-loop.h"
#include "scratch.h"
#include "../../block/aio-engine.h"

#define BLOCK 4096

/* What the next calls do. A test that sets something finds it used up. */
static struct {
    int setup_error;
    int submit_errors[8]; /* 0: none; a positive number: accept so many */
    unsigned submit_step;
    unsigned submit_calls;
    unsigned submit_most; /* requests in one call */
    size_t transfer_most; /* bytes in one call; 0: no limit */
    unsigned interruptions;
    int transfer_error;
    bool transfers_nothing;
} faults;

int io_setup(int maxevents, io_context_t *context)
{
    int (*real)(int, io_context_t *) = dlsym(RTLD_NEXT, "io_setup");

    return faults.setup_error ? faults.setup_error : real(maxevents, context);
}

int io_submit(io_context_t context, long count, struct iocb *requests[])
{
    int (*real)(io_context_t, long, struct iocb *[]) =
        dlsym(RTLD_NEXT, "io_submit");
    int fault = 0;

    faults.submit_calls++;
    faults.submit_most = MAX(faults.submit_most, (unsigned)count);
    if (faults.submit_step < G_N_ELEMENTS(faults.submit_errors)) {
        fault = faults.submit_errors[faults.submit_step++];
    }
    if (fault < 0) {
        return fault;
    }
    return real(context, fault > 0 ? MIN(fault, count) : count, requests);
}

/* Only the first buffer, and of that no more than the fault allows. */
static int limit_vector(const struct iovec *iov, int iovcnt,
                        struct iovec *limited)
{
    if (faults.transfer_most == 0) {
        return iovcnt;
    }
    *limited = iov[0];
    limited->iov_len = MIN(limited->iov_len, faults.transfer_most);
    return 1;
}

typedef ssize_t VectorCall(int fd, const struct iovec *iov, int iovcnt,
                           off_t offset);

static ssize_t faulty_call(const char *name, int fd, const struct iovec *iov,
                           int iovcnt, off_t offset)
{
    VectorCall *real = dlsym(RTLD_NEXT, name);
    struct iovec limited;

    if (faults.interruptions > 0) {
        faults.interruptions--;
        errno = EINTR;
        return -1;
    }
    if (faults.transfer_error) {
        errno = -faults.transfer_error;
        return -1;
    }
    if (faults.transfers_nothing) {
        return 0;
    }
    iovcnt = limit_vector(iov, iovcnt, &limited);
    return real(fd, faults.transfer_most ? &limited : iov, iovcnt, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int iovcnt, off64_t offset)
{
    return faulty_call("preadv64", fd, iov, iovcnt, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int iovcnt, off64_t offset)
{
    return faulty_call("pwritev64", fd, iov, iovcnt, offset);
}

/* So that reads come to preadv64(). */
ssize_t preadv64v2(int fd, const struct iovec *iov, int iovcnt, off64_t offset,
                   int flags)
{
    errno = EOPNOTSUPP;
    return -1;
}

typedef enum EngineKind {
    ENGINE_THREADS,
    ENGINE_NATIVE,
    ENGINES,
} EngineKind;

/* An engine on a fresh file, buffered for threads and O_DIRECT for native. */
typedef struct EngineTest {
    Scratch *scratch;
    ThreadPool *pool;
    AioEngine *engine;
    int fd;
    size_t alignment; /* of the requests of check_whole_requests() */
    uint8_t *buffer;  /* aligned */
    unsigned left;    /* coroutines that are not done */
} EngineTest;

#define BUFFER_BYTES (64 * BLOCK)

static void engine_test_open(EngineTest *test, EngineKind kind)
{
    const char *path;

    memset(&faults, 0, sizeof(faults));
    test->scratch = scratch_new();
    test->pool = thread_pool_new();
    test->buffer = aligned_alloc(BLOCK, BUFFER_BYTES);
    test->alignment = BLOCK;
    test->left = 0;
    for (unsigned i = 0; i < BUFFER_BYTES; i++) {
        test->buffer[i] = i / BLOCK + i;
    }
    path = scratch_path(test->scratch, "file");
    test->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(test->fd, 0);
    if (kind == ENGINE_THREADS) {
        test->engine = aio_threads_new(test->fd, true, test->pool);
    } else {
        /* Where O_DIRECT is refused, the kernel does it while submitting. */
        fcntl(test->fd, F_SETFL, O_DIRECT);
        ck_assert_int_eq(aio_native_new(test->fd, &test->engine), 0);
    }
}

static void engine_test_close(EngineTest *test)
{
    aio_engine_close(test->engine);
    thread_pool_free(test->pool);
    close(test->fd);
    free(test->buffer);
    scratch_free(test->scratch);
}

static void run_with(EngineKind kind, CoroutineFunc *func)
{
    EngineTest test;

    engine_test_open(&test, kind);
    event_loop_run(func, &test);
    engine_test_close(&test);
}

static void assert_file(EngineTest *test, off_t offset, const void *expected,
                        size_t bytes)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", test->fd);
    g_autofree char *content = g_malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, content, bytes, offset), bytes);
    ck_assert_mem_eq(content, expected, bytes);
    close(fd);
}

static void fill_vector(EngineTest *test, struct iovec *iov, unsigned count,
                        size_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        iov[i].iov_base = test->buffer + i * bytes;
        iov[i].iov_len = bytes;
    }
}

static void coroutine_fn check_whole_requests(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *engine = test->engine;
    size_t alignment = test->alignment;
    struct iovec iov[4];
    g_autofree uint8_t *before = g_memdup2(test->buffer, BUFFER_BYTES);

    fill_vector(test, iov, 4, 2 * BLOCK);
    ck_assert_int_eq(aio_engine_pwritev(engine, alignment, BLOCK, iov, 4), 0);
    assert_file(test, BLOCK, before, 8 * BLOCK);
    memset(test->buffer, 0xee, BUFFER_BYTES);
    ck_assert_int_eq(aio_engine_preadv(engine, alignment, BLOCK, iov, 4), 0);
    ck_assert_mem_eq(test->buffer, before, 8 * BLOCK);
    ck_assert_uint_eq(test->buffer[8 * BLOCK], 0xee);
    /* Half in the file, half behind its end; then all behind. */
    ck_assert_int_eq(aio_engine_preadv(engine, alignment, 5 * BLOCK, iov, 4),
                     0);
    ck_assert_mem_eq(test->buffer, before + 4 * BLOCK, 4 * BLOCK);
    for (unsigned i = 4 * BLOCK; i < 8 * BLOCK; i++) {
        ck_assert_uint_eq(test->buffer[i], 0);
    }
    memset(test->buffer, 0xee, BUFFER_BYTES);
    ck_assert_int_eq(aio_engine_preadv(engine, alignment, 50 * BLOCK, iov, 1),
                     0);
    ck_assert_uint_eq(test->buffer[0], 0);
    ck_assert_uint_eq(test->buffer[2 * BLOCK - 1], 0);
    ck_assert_uint_eq(test->buffer[2 * BLOCK], 0xee);
}

START_TEST(whole_requests)
{
    run_with(_i, check_whole_requests);
}
END_TEST

/* Each transfer stops early; the request does not. */
START_TEST(short_transfers_of_threads)
{
    EngineTest test;

    engine_test_open(&test, ENGINE_THREADS);
    faults.transfer_most = BLOCK;
    event_loop_run(check_whole_requests, &test);
    test.alignment = 1;
    faults.transfer_most = 1000;
    event_loop_run(check_whole_requests, &test);
    engine_test_close(&test);
}
END_TEST

/*
 * A write that stops within an alignment block goes on from the start of that
 * block, so that no transfer is unaligned.
 */
static void coroutine_fn check_unaligned_stop(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov[2];

    fill_vector(test, iov, 2, 8 * BLOCK);
    faults.transfer_most = 3 * BLOCK + 17;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), 0);
    assert_file(test, 0, test->buffer, 16 * BLOCK);
    /* Less than one block is no way forward at all. */
    faults.transfer_most = BLOCK - 1;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), -EIO);
}

START_TEST(short_writes_go_on_aligned)
{
    run_with(ENGINE_THREADS, check_unaligned_stop);
}
END_TEST

/* A read that stops within an alignment block has met the end. */
static void coroutine_fn check_unaligned_end(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov[2];

    ck_assert_int_eq(pwrite(test->fd, "end", 3, 0), 3);
    fill_vector(test, iov, 2, BLOCK);
    ck_assert_int_eq(aio_engine_preadv(test->engine, BLOCK, 0, iov, 2), 0);
    ck_assert_mem_eq(test->buffer, "end\0\0\0", 6);
    for (unsigned i = 3; i < 2 * BLOCK; i++) {
        ck_assert_uint_eq(test->buffer[i], 0);
    }
}

START_TEST(short_read_at_an_unaligned_end)
{
    run_with(ENGINE_THREADS, check_unaligned_end);
}
END_TEST

static void coroutine_fn check_errors(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;

    fill_vector(test, &iov, 1, BLOCK);
    faults.interruptions = 3;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), 0);
    ck_assert_uint_eq(faults.interruptions, 0);
    faults.interruptions = 2;
    ck_assert_int_eq(aio_engine_preadv(test->engine, 1, 0, &iov, 1), 0);
    ck_assert_uint_eq(faults.interruptions, 0);
    faults.transfers_nothing = true;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), -EIO);
    faults.transfers_nothing = false;
    faults.transfer_error = -ENOSPC;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), -ENOSPC);
    faults.transfer_error = -EIO;
    ck_assert_int_eq(aio_engine_preadv(test->engine, 1, 0, &iov, 1), -EIO);
}

START_TEST(errors_of_threads)
{
    run_with(ENGINE_THREADS, check_errors);
}
END_TEST

/* More buffers than one system call takes, empty ones among them. */
static void coroutine_fn check_long_vector(void *opaque)
{
    EngineTest *test = opaque;
    enum {
        COUNT = 3 * IOV_MAX
    };
    g_autofree struct iovec *iov = g_new0(struct iovec, COUNT);
    uint8_t *blocks = aligned_alloc(BLOCK, IOV_MAX * (size_t)BLOCK);
    unsigned used = 0;

    memset(blocks, 0, IOV_MAX * (size_t)BLOCK);
    /* Nothing at all in the first IOV_MAX, then every second one. */
    for (unsigned i = IOV_MAX; i < COUNT; i += 2) {
        uint8_t *block = blocks + used++ * BLOCK;

        memset(block, i, BLOCK);
        iov[i].iov_base = block;
        iov[i].iov_len = BLOCK;
    }
    ck_assert_uint_eq(used, IOV_MAX);
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, COUNT), 0);
    assert_file(test, 0, blocks, IOV_MAX * (size_t)BLOCK);
    memset(blocks, 0xee, IOV_MAX * (size_t)BLOCK);
    ck_assert_int_eq(aio_engine_preadv(test->engine, BLOCK, 0, iov, COUNT), 0);
    assert_file(test, 0, blocks, IOV_MAX * (size_t)BLOCK);
    ck_assert_uint_eq(blocks[BLOCK], (uint8_t)(IOV_MAX + 2));
    free(blocks);
}

START_TEST(vectors_beyond_iov_max)
{
    run_with(_i, check_long_vector);
}
END_TEST

/* One block each of the file and of the buffer, for many at once. */
typedef struct BlockRequest {
    EngineTest *test;
    unsigned block;
    bool is_read;
    int expected;
} BlockRequest;

static void coroutine_fn do_block_request(void *opaque)
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

static void coroutine_fn run_block_requests(BlockRequest *requests,
                                            unsigned count)
{
    requests->test->left = count;
    for (unsigned i = 0; i < count; i++) {
        event_loop_start(do_block_request, &requests[i]);
    }
    while (requests->test->left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
}

static void coroutine_fn write_blocks(EngineTest *test, unsigned count)
{
    g_autofree BlockRequest *requests = g_new0(BlockRequest, count);

    for (unsigned i = 0; i < count; i++) {
        requests[i].test = test;
        requests[i].block = i;
    }
    run_block_requests(requests, count);
    for (unsigned i = 0; i < count; i++) {
        assert_file(test, (off_t)i * BLOCK, test->buffer + i % 64 * BLOCK,
                    BLOCK);
    }
}

/* Far more than the kernel's queue or the pool holds. */
static void coroutine_fn check_many_requests(void *opaque)
{
    write_blocks(opaque, 1000);
}

START_TEST(more_requests_than_fit)
{
    run_with(_i, check_many_requests);
}
END_TEST

static void coroutine_fn check_one_turn_one_call(void *opaque)
{
    EngineTest *test = opaque;

    write_blocks(test, 20);
    ck_assert_uint_eq(faults.submit_calls, 1);
    ck_assert_uint_eq(faults.submit_most, 20);
}

START_TEST(requests_of_one_turn_go_out_together)
{
    run_with(ENGINE_NATIVE, check_one_turn_one_call);
}
END_TEST

static void set_submit_errors(const int *errors, unsigned count)
{
    memset(faults.submit_errors, 0, sizeof(faults.submit_errors));
    memcpy(faults.submit_errors, errors, count * sizeof(*errors));
    faults.submit_step = 0;
    faults.submit_calls = 0;
}

static void coroutine_fn check_partial_submission(void *opaque)
{
    EngineTest *test = opaque;
    const int partial[] = { 1, 3, -EINTR, -EINTR, 2 };
    const int full[] = { 4, -EAGAIN, 1, -EAGAIN, 5, -EAGAIN };

    set_submit_errors(partial, G_N_ELEMENTS(partial));
    write_blocks(test, 20);
    /* The last call takes all that is left. */
    ck_assert_uint_eq(faults.submit_calls, G_N_ELEMENTS(partial) + 1);
    set_submit_errors(full, G_N_ELEMENTS(full));
    write_blocks(test, 20);
    ck_assert_uint_ge(faults.submit_calls, G_N_ELEMENTS(full) + 1);
}

START_TEST(partial_submission_and_full_queue)
{
    run_with(ENGINE_NATIVE, check_partial_submission);
}
END_TEST

static void coroutine_fn check_submit_errors(void *opaque)
{
    EngineTest *test = opaque;
    BlockRequest requests[6];
    /* With nothing in flight EAGAIN is final, like anything else. */
    const int errors[] = { -EAGAIN, -EBADF, 2, -EINVAL };
    const int expected[] = { -EAGAIN, -EBADF, 0, 0, -EINVAL, 0 };

    set_submit_errors(errors, G_N_ELEMENTS(errors));
    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        requests[i] = (BlockRequest){ test, i, i % 2, expected[i] };
    }
    run_block_requests(requests, G_N_ELEMENTS(requests));
}

/* Each request gets its own error, and the others go on. */
START_TEST(errors_of_submission)
{
    run_with(ENGINE_NATIVE, check_submit_errors);
}
END_TEST

static void coroutine_fn check_failing_alone(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *first = test->engine;
    BlockRequest request = { test, 0, false, -EAGAIN };
    const int error = -EAGAIN;

    /*
     * Nobody else keeps the loop turning while this one fails. The loop asks
     * this engine, which is younger, after its ready queue; and it has turned
     * often enough to have nothing left to do.
     */
    ck_assert_int_eq(aio_native_new(test->fd, &test->engine), 0);
    for (unsigned i = 0; i < 3; i++) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    set_submit_errors(&error, 1);
    do_block_request(&request);
    aio_engine_close(test->engine);
    test->engine = first;
}

START_TEST(failed_submission_wakes_the_loop)
{
    run_with(ENGINE_NATIVE, check_failing_alone);
}
END_TEST

static void coroutine_fn check_native_errors(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    fill_vector(test, &iov, 1, BLOCK);
    test->engine->fd = null_fd;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), -EBADF);
    close(null_fd);
    ck_assert_int_eq(aio_engine_preadv(test->engine, 1, 0, &iov, 1), -EBADF);
    test->engine->fd = test->fd;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), 0);
}

START_TEST(errors_of_the_kernel)
{
    run_with(ENGINE_NATIVE, check_native_errors);
}
END_TEST

START_TEST(native_setup_fails)
{
    AioEngine *engine = NULL;

    faults.setup_error = -EAGAIN;
    ck_assert_int_eq(aio_native_new(0, &engine), -EAGAIN);
    ck_assert_ptr_null(engine);
    faults.setup_error = 0;
}
END_TEST

static Suite *aio_engine_suite(void)
{
    Suite *suite = suite_create("aio-engine");
    TCase *tcase = tcase_create("aio-engine");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, whole_requests, 0, ENGINES);
    tcase_add_test(tcase, short_transfers_of_threads);
    tcase_add_test(tcase, short_writes_go_on_aligned);
    tcase_add_test(tcase, short_read_at_an_unaligned_end);
    tcase_add_test(tcase, errors_of_threads);
    tcase_add_loop_test(tcase, vectors_beyond_iov_max, 0, ENGINES);
    tcase_add_loop_test(tcase, more_requests_than_fit, 0, ENGINES);
    tcase_add_test(tcase, requests_of_one_turn_go_out_together);
    tcase_add_test(tcase, partial_submission_and_full_queue);
    tcase_add_test(tcase, errors_of_submission);
    tcase_add_test(tcase, failed_submission_wakes_the_loop);
    tcase_add_test(tcase, errors_of_the_kernel);
    tcase_add_test(tcase, native_setup_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(aio_engine_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
