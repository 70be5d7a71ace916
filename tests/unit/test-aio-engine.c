/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the engines make of short transfers, interruptions and full queues. The
 * kernel rarely does these things when asked to, so this program has its own
 * io_setup(), io_submit(), io_getevents(), preadv() and pwritev(), which call
 * the real ones with less, or not at all, or change a result, as a test says.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine-cases.h"
#include "event-loop.h"
#include "run-suite.h"

/* What the next calls do. Each test begins with nothing wrong. */
static struct {
    int setup_error;
    int submit_errors[8]; /* 0: none; a positive number: accept so many */
    unsigned submit_step;
    unsigned submit_calls;
    unsigned submit_most; /* requests in one call */
    int results[4];       /* of requests; 0: the real one */
    unsigned result_step;
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

int io_getevents(io_context_t context, long least, long most,
                 struct io_event *events, struct timespec *timeout)
{
    typeof(io_getevents) *real = dlsym(RTLD_NEXT, "io_getevents");
    int count = real(context, least, most, events, timeout);

    for (int i = 0; i < count; i++) {
        int result = 0;

        if (faults.result_step < G_N_ELEMENTS(faults.results)) {
            result = faults.results[faults.result_step++];
        }
        if (result) {
            events[i].res = result;
        }
    }
    return count;
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

static void clear_faults(void)
{
    memset(&faults, 0, sizeof(faults));
}

START_TEST(whole_requests)
{
    engine_run_case(_i, engine_check_whole_requests);
}
END_TEST

/* Each transfer stops early; the request does not. */
START_TEST(short_transfers_of_threads)
{
    EngineTest test;

    engine_test_open(&test, ENGINE_THREADS);
    faults.transfer_most = BLOCK;
    event_loop_run(engine_check_whole_requests, &test);
    test.alignment = 1;
    faults.transfer_most = 1000;
    event_loop_run(engine_check_whole_requests, &test);
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

    engine_fill_vector(test, iov, 2, 8 * BLOCK);
    faults.transfer_most = 3 * BLOCK + 17;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), 0);
    engine_assert_file(test, 0, test->buffer, 16 * BLOCK);
    /* Less than one block is no way forward at all. */
    faults.transfer_most = BLOCK - 1;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), -EIO);
}

START_TEST(short_writes_go_on_aligned)
{
    engine_run_case(ENGINE_THREADS, check_unaligned_stop);
}
END_TEST

/* A read that stops within an alignment block has met the end. */
static void coroutine_fn check_unaligned_end(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov[2];

    ck_assert_int_eq(pwrite(test->fd, "end", 3, 0), 3);
    engine_fill_vector(test, iov, 2, BLOCK);
    ck_assert_int_eq(aio_engine_preadv(test->engine, BLOCK, 0, iov, 2), 0);
    ck_assert_mem_eq(test->buffer, "end\0\0\0", 6);
    for (unsigned i = 3; i < 2 * BLOCK; i++) {
        ck_assert_uint_eq(test->buffer[i], 0);
    }
}

START_TEST(short_read_at_an_unaligned_end)
{
    engine_run_case(ENGINE_THREADS, check_unaligned_end);
}
END_TEST

static void coroutine_fn check_errors(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;

    engine_fill_vector(test, &iov, 1, BLOCK);
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
    engine_run_case(ENGINE_THREADS, check_errors);
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
    engine_assert_file(test, 0, blocks, IOV_MAX * (size_t)BLOCK);
    memset(blocks, 0xee, IOV_MAX * (size_t)BLOCK);
    ck_assert_int_eq(aio_engine_preadv(test->engine, BLOCK, 0, iov, COUNT), 0);
    engine_assert_file(test, 0, blocks, IOV_MAX * (size_t)BLOCK);
    ck_assert_uint_eq(blocks[BLOCK], (uint8_t)(IOV_MAX + 2));
    free(blocks);
}

START_TEST(vectors_beyond_iov_max)
{
    engine_run_case(_i, check_long_vector);
}
END_TEST

/* Far more than the kernel's queue or the pool holds. */
static void coroutine_fn check_many_requests(void *opaque)
{
    engine_write_blocks(opaque, 1000);
}

START_TEST(more_requests_than_fit)
{
    engine_run_case(_i, check_many_requests);
}
END_TEST

static void coroutine_fn check_one_turn_one_call(void *opaque)
{
    EngineTest *test = opaque;

    engine_write_blocks(test, 20);
    ck_assert_uint_eq(faults.submit_calls, 1);
    ck_assert_uint_eq(faults.submit_most, 20);
}

START_TEST(requests_of_one_turn_go_out_together)
{
    engine_run_case(ENGINE_NATIVE, check_one_turn_one_call);
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
    engine_write_blocks(test, 20);
    /* The last call takes all that is left. */
    ck_assert_uint_eq(faults.submit_calls, G_N_ELEMENTS(partial) + 1);
    set_submit_errors(full, G_N_ELEMENTS(full));
    engine_write_blocks(test, 20);
    ck_assert_uint_ge(faults.submit_calls, G_N_ELEMENTS(full) + 1);
}

START_TEST(partial_submission_and_full_queue)
{
    engine_run_case(ENGINE_NATIVE, check_partial_submission);
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
    engine_run_block_requests(requests, G_N_ELEMENTS(requests));
}

/* Each request gets its own error, and the others go on. */
START_TEST(errors_of_submission)
{
    engine_run_case(ENGINE_NATIVE, check_submit_errors);
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
    engine_do_block_request(&request);
    aio_engine_close(test->engine);
    test->engine = first;
}

START_TEST(failed_submission_wakes_the_loop)
{
    engine_run_case(ENGINE_NATIVE, check_failing_alone);
}
END_TEST

static void coroutine_fn check_native_errors(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    engine_fill_vector(test, &iov, 1, BLOCK);
    test->engine->fd = null_fd;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), -EBADF);
    close(null_fd);
    ck_assert_int_eq(aio_engine_preadv(test->engine, 1, 0, &iov, 1), -EBADF);
    test->engine->fd = test->fd;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, 1, 0, &iov, 1), 0);
}

START_TEST(errors_of_the_kernel)
{
    engine_run_case(ENGINE_NATIVE, check_native_errors);
}
END_TEST

/* A request that a signal has disturbed is made again. */
static void coroutine_fn check_disturbed_requests(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;

    engine_fill_vector(test, &iov, 1, BLOCK);
    for (unsigned i = 0; i < 3; i++) {
        faults.results[i] = -EINTR;
    }
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, &iov, 1), 0);
    ck_assert_uint_eq(faults.submit_calls, 4);
    engine_assert_file(test, 0, test->buffer, BLOCK);
}

START_TEST(disturbed_requests)
{
    engine_run_case(ENGINE_NATIVE, check_disturbed_requests);
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
    tcase_add_checked_fixture(tcase, clear_faults, NULL);
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
    tcase_add_test(tcase, disturbed_requests);
    tcase_add_test(tcase, native_setup_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(aio_engine_suite());
}
