/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What io_uring may do to the engine and rarely does when asked to: full rings,
 * partial submission, short and disturbed transfers. So this program has its
 * own versions of liburing's functions, which call the real ones with less, or
 * not at all, or change the result, as a test says.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine-cases.h"
#include "event-loop.h"
#include "run-suite.h"

#define FAULTS 8
#define RING   128 /* requests that the engine gives to the kernel at once */

/* What the next calls do. Each test begins with nothing wrong. */
static struct {
    int setup_error;
    int eventfd_error;

    int submit_errors[FAULTS]; /* 0: none; positive: accept so many */
    unsigned submit_step;
    int submit_error;     /* of all calls */
    bool waits_when_busy; /* EBUSY comes when there are completions */
    unsigned submit_calls;
    unsigned submit_most;      /* requests in one call */
    unsigned worker_calls;     /* requests that ask for a worker */
    unsigned registered_calls; /* requests into registered memory */
    unsigned plain_calls;
    unsigned exits;

    int results[FAULTS]; /* 0: the real one */
    unsigned result_step;
    unsigned transfer_most; /* bytes that a result says; 0: the real one */
} faults;

static void clear_faults(void)
{
    memset(&faults, 0, sizeof(faults));
}

static void set_submit_errors(const int *errors, unsigned count)
{
    clear_faults();
    memcpy(faults.submit_errors, errors, count * sizeof(*errors));
}

static void set_results(const int *results, unsigned count)
{
    clear_faults();
    memcpy(faults.results, results, count * sizeof(*results));
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    typeof(io_uring_queue_init) *real = dlsym(RTLD_NEXT, "io_uring_queue_init");

    return faults.setup_error ? faults.setup_error : real(entries, ring, flags);
}

void io_uring_queue_exit(struct io_uring *ring)
{
    typeof(io_uring_queue_exit) *real = dlsym(RTLD_NEXT, "io_uring_queue_exit");

    faults.exits++;
    real(ring);
}

int io_uring_register_eventfd(struct io_uring *ring, int fd)
{
    typeof(io_uring_register_eventfd) *real =
        dlsym(RTLD_NEXT, "io_uring_register_eventfd");

    return faults.eventfd_error ? faults.eventfd_error : real(ring, fd);
}

static void count_opcode(unsigned opcode)
{
    if (opcode == IORING_OP_READ_FIXED || opcode == IORING_OP_WRITE_FIXED) {
        faults.registered_calls++;
    } else if (opcode != IORING_OP_NOP) {
        faults.plain_calls++;
    }
}

static void count_submission(struct io_uring *ring)
{
    unsigned count = io_uring_sq_ready(ring);

    faults.submit_calls++;
    faults.submit_most = MAX(faults.submit_most, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (ring->sq.sqe_tail - 1 - i) & *ring->sq.kring_mask;

        if (ring->sq.sqes[at].flags & IOSQE_ASYNC) {
            faults.worker_calls++;
        }
        count_opcode(ring->sq.sqes[at].opcode);
    }
}

static void wait_for_completion(struct io_uring *ring)
{
    for (unsigned i = 0; io_uring_cq_ready(ring) == 0; i++) {
        ck_assert_uint_lt(i, 10000);
        g_usleep(1000);
    }
}

/* The real one publishes everything, but the kernel takes what it is told. */
static int submit_some(struct io_uring *ring, unsigned count)
{
    unsigned tail = ring->sq.sqe_tail;

    while (ring->sq.sqe_head != tail) {
        unsigned mask = *ring->sq.kring_mask;

        ring->sq.array[*ring->sq.ktail & mask] = ring->sq.sqe_head++ & mask;
        io_uring_smp_store_release(ring->sq.ktail, *ring->sq.ktail + 1);
    }
    return io_uring_enter(ring->ring_fd, count, 0, 0, NULL);
}

int io_uring_submit(struct io_uring *ring)
{
    typeof(io_uring_submit) *real = dlsym(RTLD_NEXT, "io_uring_submit");
    int fault = faults.submit_error;

    count_submission(ring);
    if (faults.submit_step < FAULTS && fault == 0) {
        fault = faults.submit_errors[faults.submit_step++];
    }
    if (fault == -EBUSY && faults.waits_when_busy) {
        wait_for_completion(ring);
    }
    if (fault < 0) {
        return fault;
    }
    return fault > 0 ? submit_some(ring, fault) : real(ring);
}

unsigned io_uring_peek_batch_cqe(struct io_uring *ring,
                                 struct io_uring_cqe **completions,
                                 unsigned count)
{
    typeof(io_uring_peek_batch_cqe) *real =
        dlsym(RTLD_NEXT, "io_uring_peek_batch_cqe");

    count = real(ring, completions, count);
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_cqe *completion = completions[i];

        if (faults.result_step < FAULTS) {
            int result = faults.results[faults.result_step++];

            completion->res = result ? result : completion->res;
        }
        if (faults.transfer_most > 0) {
            completion->res = MIN(completion->res, (int)faults.transfer_most);
        }
    }
    return count;
}

/* Each test is made with plain memory and with registered memory. */
static EngineKind buffered_kind(int is_registered)
{
    return is_registered ? ENGINE_URING_REGISTERED : ENGINE_URING;
}

static EngineKind direct_kind(int is_registered)
{
    return is_registered ? ENGINE_URING_REGISTERED_DIRECT : ENGINE_URING_DIRECT;
}

/* Requests of one element that lies in registered memory, and no others. */
static void assert_registered_calls(EngineKind kind)
{
    if (kind >= ENGINE_URING_REGISTERED) {
        ck_assert_uint_gt(faults.registered_calls, 0);
        ck_assert_uint_eq(faults.plain_calls, 0);
    } else {
        ck_assert_uint_eq(faults.registered_calls, 0);
    }
}

static void run_case(EngineKind kind, CoroutineFunc *func)
{
    EngineTest test;

    if (engine_test_open(&test, kind)) {
        event_loop_run(func, &test);
        engine_test_close(&test);
        assert_registered_calls(kind);
    }
}

START_TEST(short_transfers)
{
    EngineTest test;

    if (engine_test_open(&test, buffered_kind(_i))) {
        faults.transfer_most = BLOCK;
        event_loop_run(engine_check_whole_requests, &test);
        test.alignment = 1;
        faults.transfer_most = 1000;
        event_loop_run(engine_check_whole_requests, &test);
        engine_test_close(&test);
        ck_assert_int_eq(faults.registered_calls > 0, _i);
    }
}
END_TEST

/* A write that stops within a block goes on from the start of that block. */
static void coroutine_fn check_unaligned_stop(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov;

    engine_fill_vector(test, &iov, 1, 16 * BLOCK);
    faults.transfer_most = 3 * BLOCK + 17;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, &iov, 1), 0);
    engine_assert_file(test, 0, test->buffer, 16 * BLOCK);
    /* Less than one block is no way forward at all. */
    faults.transfer_most = BLOCK - 1;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, &iov, 1), -EIO);
}

START_TEST(short_writes_go_on_aligned)
{
    run_case(direct_kind(_i), check_unaligned_stop);
}
END_TEST

static void coroutine_fn check_results(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *engine = test->engine;
    const int disturbed[] = { -EINTR, -EINTR, -EAGAIN, -EINTR };
    const int would_wait[] = { -EAGAIN, -EAGAIN };
    const int final[] = { -ENOSPC, -EIO };
    struct iovec iov;

    engine_fill_vector(test, &iov, 1, BLOCK);
    set_results(disturbed, G_N_ELEMENTS(disturbed));
    ck_assert_int_eq(aio_engine_pwritev(engine, BLOCK, 0, &iov, 1), 0);
    ck_assert_uint_eq(faults.submit_calls, G_N_ELEMENTS(disturbed) + 1);
    /* From the EAGAIN on. */
    ck_assert_uint_eq(faults.worker_calls, 2);
    engine_assert_file(test, 0, test->buffer, BLOCK);
    set_results(would_wait, G_N_ELEMENTS(would_wait));
    ck_assert_int_eq(aio_engine_preadv(engine, BLOCK, 0, &iov, 1), -EAGAIN);
    ck_assert_uint_eq(faults.submit_calls, 2);
    set_results(final, G_N_ELEMENTS(final));
    ck_assert_int_eq(aio_engine_pwritev(engine, BLOCK, 0, &iov, 1), -ENOSPC);
    ck_assert_int_eq(aio_engine_preadv(engine, BLOCK, 0, &iov, 1), -EIO);
}

START_TEST(results_that_are_errors)
{
    run_case(direct_kind(_i), check_results);
}
END_TEST

static void coroutine_fn check_one_turn_one_call(void *opaque)
{
    engine_write_blocks(opaque, 20);
    ck_assert_uint_eq(faults.submit_calls, 1);
    ck_assert_uint_eq(faults.submit_most, 20);
}

START_TEST(requests_of_one_turn_go_out_together)
{
    run_case(direct_kind(_i), check_one_turn_one_call);
}
END_TEST

static void coroutine_fn check_full_ring(void *opaque)
{
    engine_write_blocks(opaque, 5 * RING);
    ck_assert_uint_eq(faults.submit_most, RING);
}

START_TEST(more_requests_than_the_ring_holds)
{
    run_case(_i % 2 ? direct_kind(_i / 2) : buffered_kind(_i / 2),
             check_full_ring);
}
END_TEST

static void coroutine_fn check_partial_submission(void *opaque)
{
    EngineTest *test = opaque;
    const int partial[] = { 1, 3, -EINTR, -EINTR, 2 };
    const int full[] = { 4, -EAGAIN, 1, -EBUSY, 5, -EAGAIN };

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
    run_case(direct_kind(_i), check_partial_submission);
}
END_TEST

static void coroutine_fn check_full_completion_ring(void *opaque)
{
    EngineTest *test = opaque;
    const int busy[] = { 4, -EBUSY, 4, -EBUSY };

    set_submit_errors(busy, G_N_ELEMENTS(busy));
    faults.waits_when_busy = true;
    engine_write_blocks(test, 20);
    ck_assert_uint_eq(faults.submit_calls, G_N_ELEMENTS(busy) + 1);
}

/* What fills it is taken, and all the rest goes out. */
START_TEST(full_completion_ring)
{
    run_case(direct_kind(_i), check_full_completion_ring);
}
END_TEST

static void coroutine_fn check_submit_errors(void *opaque)
{
    EngineTest *test = opaque;
    BlockRequest requests[7];
    /*
     * With nothing in flight EAGAIN and EBUSY are final, like anything else.
     * The four that are then accepted are the no-ops of the first three, and
     * one request.
     */
    const int errors[] = { -EAGAIN, -EBADF, -EBUSY, 4, -EINVAL };
    const int expected[] = { -EAGAIN, -EBADF, -EBUSY, 0, -EINVAL, 0, 0 };

    set_submit_errors(errors, G_N_ELEMENTS(errors));
    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        requests[i] = (BlockRequest){ test, i, i % 2, expected[i] };
    }
    engine_run_block_requests(requests, G_N_ELEMENTS(requests));
}

/* Each request gets its own error, and the others go on. */
START_TEST(errors_of_submission)
{
    run_case(direct_kind(_i), check_submit_errors);
}
END_TEST

static void coroutine_fn fail_many(EngineTest *test)
{
    BlockRequest requests[2 * RING];

    faults.submit_error = -ENXIO;
    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        requests[i] = (BlockRequest){ test, i, false, -ENXIO };
    }
    engine_run_block_requests(requests, G_N_ELEMENTS(requests));
    faults.submit_error = 0;
}

static void coroutine_fn check_going_on(void *opaque)
{
    fail_many(opaque);
    /* The ring is full of no-ops, which go out first. */
    engine_write_blocks(opaque, 2 * RING);
    fail_many(opaque);
    fail_many(opaque);
    engine_write_blocks(opaque, 10);
}

START_TEST(going_on_after_errors)
{
    run_case(direct_kind(_i), check_going_on);
}
END_TEST

static void coroutine_fn check_closing(void *opaque)
{
    fail_many(opaque);
}

START_TEST(closing_after_errors)
{
    run_case(direct_kind(_i), check_closing);
    ck_assert_uint_eq(faults.exits, engine_uring_refusal() == 0);
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
    ck_assert_int_eq(aio_uring_new(test->fd, &test->engine), 0);
    for (unsigned i = 0; i < 3; i++) {
        event_loop_yield();
    }
    set_submit_errors(&error, 1);
    engine_do_block_request(&request);
    aio_engine_close(test->engine);
    test->engine = first;
}

START_TEST(failed_submission_wakes_the_loop)
{
    engine_run_case(ENGINE_URING_DIRECT, check_failing_alone);
}
END_TEST

typedef struct RegionCase {
    int start; /* from that of the buffer; in blocks */
    int blocks;
    bool is_inside;
} RegionCase;

/* With the blocks from 8 to 16 registered. */
static const RegionCase region_cases[] = {
    { 8, 8, true },  { 8, 1, true },   { 15, 1, true },
    { 10, 3, true }, { 7, 1, false },  { 16, 1, false },
    { 7, 2, false }, { 15, 2, false }, { 6, 12, false },
};

static void coroutine_fn check_region(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *engine = test->engine;
    g_autofree uint8_t *before = g_memdup2(test->buffer, BUFFER_BYTES);

    ck_assert_int_eq(aio_engine_register_buffers(
                         engine, test->buffer + 8 * BLOCK, 8 * BLOCK),
                     0);
    for (unsigned i = 0; i < G_N_ELEMENTS(region_cases); i++) {
        const RegionCase *region = &region_cases[i];
        struct iovec iov = {
            .iov_base = test->buffer + region->start * BLOCK,
            .iov_len = region->blocks * BLOCK,
        };

        clear_faults();
        ck_assert_int_eq(aio_engine_pwritev(engine, BLOCK, 0, &iov, 1), 0);
        engine_assert_file(test, 0, iov.iov_base, iov.iov_len);
        memset(iov.iov_base, 0xee, iov.iov_len);
        ck_assert_int_eq(aio_engine_preadv(engine, BLOCK, 0, &iov, 1), 0);
        ck_assert_mem_eq(test->buffer, before, BUFFER_BYTES);
        ck_assert_uint_eq(faults.registered_calls, region->is_inside ? 2 : 0);
        ck_assert_uint_eq(faults.plain_calls, region->is_inside ? 0 : 2);
    }
    aio_engine_unregister_buffers(engine);
}

START_TEST(only_requests_within_the_region)
{
    engine_run_case(_i ? ENGINE_URING_DIRECT : ENGINE_URING, check_region);
}
END_TEST

static void coroutine_fn check_two_elements(void *opaque)
{
    EngineTest *test = opaque;
    struct iovec iov[2];

    engine_fill_vector(test, iov, 2, BLOCK);
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), 0);
    engine_assert_file(test, 0, test->buffer, 2 * BLOCK);
    ck_assert_uint_eq(faults.registered_calls, 0);
    /* What a short transfer leaves over is a single one. */
    faults.transfer_most = BLOCK;
    ck_assert_int_eq(aio_engine_pwritev(test->engine, BLOCK, 0, iov, 2), 0);
    ck_assert_uint_eq(faults.registered_calls, 1);
}

START_TEST(only_requests_of_one_element)
{
    engine_run_case(ENGINE_URING_REGISTERED_DIRECT, check_two_elements);
}
END_TEST

static void coroutine_fn check_registering_again(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *engine = test->engine;

    aio_engine_unregister_buffers(engine);
    engine_write_blocks(test, 20);
    ck_assert_uint_eq(faults.registered_calls, 0);
    ck_assert_int_eq(
        aio_engine_register_buffers(engine, test->buffer, BUFFER_BYTES), 0);
    engine_write_blocks(test, 20);
    ck_assert_uint_eq(faults.registered_calls, 20);
    aio_engine_unregister_buffers(engine);
    /* Too long for one buffer of the kernel; nothing is touched. */
    ck_assert_int_eq(aio_engine_register_buffers(engine, test->buffer,
                                                 ((size_t)1 << 30) + 1),
                     -E2BIG);
    /* Nobody's memory. */
    ck_assert_int_eq(
        aio_engine_register_buffers(engine, (void *)(uintptr_t)BLOCK, BLOCK),
        -EFAULT);
    aio_engine_unregister_buffers(engine);
    clear_faults();
    engine_write_blocks(test, 20);
    ck_assert_uint_eq(faults.registered_calls, 0);
}

START_TEST(registering_again_and_in_vain)
{
    engine_run_case(ENGINE_URING_REGISTERED_DIRECT, check_registering_again);
}
END_TEST

static void coroutine_fn check_no_use(void *opaque)
{
    EngineTest *test = opaque;

    ck_assert_int_eq(
        aio_engine_register_buffers(test->engine, test->buffer, BUFFER_BYTES),
        -ENOTSUP);
    aio_engine_unregister_buffers(test->engine);
}

START_TEST(other_engines_have_no_use_for_buffers)
{
    engine_run_case(_i ? ENGINE_NATIVE : ENGINE_THREADS, check_no_use);
}
END_TEST

static void coroutine_fn check_bad_files(void *opaque)
{
    EngineTest *test = opaque;
    AioEngine *engine;
    struct iovec iov;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    engine_fill_vector(test, &iov, 1, BLOCK);
    ck_assert_int_eq(aio_uring_new(fd, &engine), 0);
    ck_assert_int_eq(aio_engine_pwritev(engine, 1, 0, &iov, 1), -EBADF);
    ck_assert_int_eq(aio_engine_preadv(engine, 1, 0, &iov, 1), 0);
    aio_engine_close(engine);
    close(fd);
    /* No such descriptor. */
    ck_assert_int_eq(aio_uring_new(1000000, &engine), 0);
    ck_assert_int_eq(aio_engine_pwritev(engine, 1, 0, &iov, 1), -EBADF);
    ck_assert_int_eq(aio_engine_preadv(engine, 1, 0, &iov, 1), -EBADF);
    aio_engine_close(engine);
}

START_TEST(bad_files)
{
    engine_run_case(ENGINE_URING, check_bad_files);
}
END_TEST

START_TEST(setup_fails)
{
    AioEngine *engine = NULL;
    const int errors[] = { -ENOSYS, -EPERM, -ENOMEM };

    for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
        faults.setup_error = errors[i];
        ck_assert_int_eq(aio_uring_new(0, &engine), errors[i]);
        ck_assert_ptr_null(engine);
    }
    ck_assert_uint_eq(faults.exits, 0);
}
END_TEST

START_TEST(registering_the_eventfd_fails)
{
    AioEngine *engine = NULL;

    if (engine_uring_refusal() == 0) {
        faults.eventfd_error = -ENOMEM;
        ck_assert_int_eq(aio_uring_new(0, &engine), -ENOMEM);
        ck_assert_ptr_null(engine);
        ck_assert_uint_eq(faults.exits, 1);
    }
}
END_TEST

static Suite *aio_uring_suite(void)
{
    Suite *suite = suite_create("aio-uring");
    TCase *tcase = tcase_create("aio-uring");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, clear_faults, NULL);
    tcase_add_loop_test(tcase, short_transfers, 0, 2);
    tcase_add_loop_test(tcase, short_writes_go_on_aligned, 0, 2);
    tcase_add_loop_test(tcase, results_that_are_errors, 0, 2);
    tcase_add_loop_test(tcase, requests_of_one_turn_go_out_together, 0, 2);
    tcase_add_loop_test(tcase, more_requests_than_the_ring_holds, 0, 4);
    tcase_add_loop_test(tcase, partial_submission_and_full_queue, 0, 2);
    tcase_add_loop_test(tcase, full_completion_ring, 0, 2);
    tcase_add_loop_test(tcase, errors_of_submission, 0, 2);
    tcase_add_loop_test(tcase, going_on_after_errors, 0, 2);
    tcase_add_loop_test(tcase, closing_after_errors, 0, 2);
    tcase_add_test(tcase, failed_submission_wakes_the_loop);
    tcase_add_loop_test(tcase, only_requests_within_the_region, 0, 2);
    tcase_add_test(tcase, only_requests_of_one_element);
    tcase_add_test(tcase, registering_again_and_in_vain);
    tcase_add_loop_test(tcase, other_engines_have_no_use_for_buffers, 0, 2);
    tcase_add_test(tcase, bad_files);
    tcase_add_test(tcase, setup_fails);
    tcase_add_test(tcase, registering_the_eventfd_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(aio_uring_suite());
}
