/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The AioBufferPool ring: who may have a buffer when, in what order results
 * are handed on, and what is left of all that after a failure. The work that
 * buffers are given to stands still until the test lets one of them go on.
 */
#include <check.h>
#include <string.h>
#include <unistd.h>

#include "event-loop.h"
#include "run-suite.h"
#include "snap-error.h"
#include "snap-io.h"

#define BUFFER_BYTES 8192

/* Let everybody else have a turn. */
static void coroutine_fn pass(void)
{
    event_loop_wake(coroutine_self());
    coroutine_yield();
}

/* What is done with a buffer; lies on the stack of its coroutine. */
typedef struct Work {
    AioBuffer *buffer;
    CoroutineQueue end;
    const char *failure; /* NULL: it succeeds */
} Work;

typedef struct Ring {
    AioBufferPool *pool;
    unsigned depth;
    GPtrArray *works; /* of Work, under way */
    unsigned most;    /* works under way at any one time */
    GRand *random;
} Ring;

static bool coroutine_fn work(AioBuffer *buffer, void *opaque, GError **errp)
{
    Ring *ring = opaque;
    Work self = { .buffer = buffer };

    g_ptr_array_add(ring->works, &self);
    ring->most = MAX(ring->most, ring->works->len);
    coroutine_queue_wait(&self.end);
    if (self.failure) {
        g_set_error_literal(errp, SNAP_ERROR, SNAP_ERROR_IO, self.failure);
        return false;
    }
    return true;
}

/* Let the work end that was begun after @index others still under way. */
static AioBuffer *end_work(Ring *ring, unsigned index, const char *failure)
{
    Work *ended = g_ptr_array_steal_index(ring->works, index);

    ended->failure = failure;
    coroutine_queue_wake_all(&ended->end);
    return ended->buffer;
}

static AioBuffer *end_any_work(Ring *ring)
{
    return end_work(ring, g_rand_int_range(ring->random, 0, ring->works->len),
                    NULL);
}

static void ring_run(unsigned depth, CoroutineFunc *func)
{
    Ring ring = {
        .pool = aio_buffer_pool_new(BUFFER_BYTES, depth, depth, NULL),
        .depth = depth,
        .works = g_ptr_array_new(),
        .random = g_rand_new_with_seed(depth),
    };

    ck_assert_ptr_nonnull(ring.pool);
    event_loop_run(func, &ring);
    ck_assert_uint_eq(ring.works->len, 0);
    aio_buffer_pool_free(ring.pool);
    g_ptr_array_free(ring.works, TRUE);
    g_rand_free(ring.random);
}

static void coroutine_fn assert_drains(Ring *ring)
{
    GError *error = NULL;

    ck_assert(aio_buffer_pool_drain(ring->pool, &error));
    ck_assert_ptr_null(error);
}

static void coroutine_fn assert_drains_with(Ring *ring, const char *failure)
{
    g_autoptr(GError) error = NULL;

    ck_assert(!aio_buffer_pool_drain(ring->pool, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert_str_eq(error->message, failure);
}

/* Start work on all buffers and see that all of it is under way at once. */
static void coroutine_fn fill_ring(Ring *ring, bool in_order)
{
    for (unsigned i = 0; i < ring->depth; i++) {
        AioBuffer *buffer = aio_buffer_pool_get(ring->pool);

        ck_assert_ptr_nonnull(buffer);
        buffer->position = i;
        if (in_order) {
            aio_buffer_pool_start_in_order(ring->pool, buffer, work, ring);
        } else {
            aio_buffer_pool_start(ring->pool, buffer, work, ring);
        }
    }
    pass();
    ck_assert_uint_eq(ring->works->len, ring->depth);
}

static const unsigned depths[] = { 1, 2, 3, 8, 32 };

static void coroutine_fn check_memory(void *opaque)
{
    Ring *ring = opaque;
    g_autofree AioBuffer **buffers = g_new(AioBuffer *, ring->depth);
    size_t page = sysconf(_SC_PAGESIZE);
    unsigned i;

    for (i = 0; i < ring->depth; i++) {
        buffers[i] = aio_buffer_pool_try_get(ring->pool);
        ck_assert_ptr_nonnull(buffers[i]);
        ck_assert_uint_eq((uintptr_t)buffers[i]->data % page, 0);
        memset(buffers[i]->data, i + 1, BUFFER_BYTES);
    }
    /* That is all there are, and none lies in another. */
    ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
    for (i = 0; i < ring->depth; i++) {
        uint8_t expected[BUFFER_BYTES];

        memset(expected, i + 1, BUFFER_BYTES);
        ck_assert_mem_eq(buffers[i]->data, expected, BUFFER_BYTES);
        aio_buffer_pool_put(ring->pool, buffers[i]);
    }
    /* A buffer that came back can be had again, once. */
    ck_assert_ptr_nonnull(buffers[0] = aio_buffer_pool_try_get(ring->pool));
    for (i = 1; i < ring->depth; i++) {
        ck_assert_ptr_nonnull(buffers[i] = aio_buffer_pool_get(ring->pool));
    }
    ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
    for (i = 0; i < ring->depth; i++) {
        aio_buffer_pool_put(ring->pool, buffers[i]);
    }
    assert_drains(ring);
}

START_TEST(buffers_are_as_many_as_asked_for)
{
    ring_run(depths[_i], check_memory);
}
END_TEST

START_TEST(no_memory_is_an_error)
{
    g_autoptr(GError) error = NULL;

    ck_assert_ptr_null(aio_buffer_pool_new(
        (size_t)1 << (8 * sizeof(size_t) - 8), 8, 8, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO));
    aio_buffer_pool_free(NULL);
}
END_TEST

/* Somebody who waits for a buffer, or for a result. */
typedef struct Waiter {
    Ring *ring;
    AioBuffer *coroutine_fn (*wait)(AioBufferPool *pool);
    AioBuffer *got;
    bool over;
} Waiter;

static void coroutine_fn run_waiter(void *opaque)
{
    Waiter *waiter = opaque;

    waiter->got = waiter->wait(waiter->ring->pool);
    waiter->over = true;
}

static void coroutine_fn check_get_waits(void *opaque)
{
    Ring *ring = opaque;
    Waiter waiters[2] = {
        { .ring = ring, .wait = aio_buffer_pool_get },
        { .ring = ring, .wait = aio_buffer_pool_get },
    };
    AioBuffer *first = aio_buffer_pool_get(ring->pool);
    AioBuffer *second = aio_buffer_pool_get(ring->pool);

    event_loop_start(run_waiter, &waiters[0]);
    event_loop_start(run_waiter, &waiters[1]);
    pass();
    pass();
    ck_assert(!waiters[0].over && !waiters[1].over);
    aio_buffer_pool_put(ring->pool, second);
    pass();
    ck_assert(waiters[0].over && !waiters[1].over);
    ck_assert_ptr_eq(waiters[0].got, second);
    aio_buffer_pool_put(ring->pool, first);
    pass();
    ck_assert(waiters[1].over);
    ck_assert_ptr_eq(waiters[1].got, first);
    aio_buffer_pool_put(ring->pool, first);
    aio_buffer_pool_put(ring->pool, second);
}

START_TEST(get_waits_for_a_free_buffer)
{
    ring_run(2, check_get_waits);
}
END_TEST

/* Work ends in any order, and each buffer is free again at once. */
static void coroutine_fn check_any_order(void *opaque)
{
    Ring *ring = opaque;
    unsigned oldest_ended_last = 0;

    fill_ring(ring, false);
    for (unsigned i = 0; i < 200; i++) {
        AioBuffer *oldest = ((Work *)ring->works->pdata[0])->buffer;
        AioBuffer *ended;
        AioBuffer *again;

        ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
        ended = end_any_work(ring);
        oldest_ended_last += ended != oldest;
        again = aio_buffer_pool_get(ring->pool);
        ck_assert_ptr_eq(again, ended);
        ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
        aio_buffer_pool_start(ring->pool, again, work, ring);
        pass();
        ck_assert_uint_eq(ring->works->len, ring->depth);
    }
    if (ring->depth > 1) {
        ck_assert_uint_gt(oldest_ended_last, 50);
    }
    ck_assert_uint_eq(ring->most, ring->depth);
    while (ring->works->len > 0) {
        end_any_work(ring);
    }
    assert_drains(ring);
}

START_TEST(buffers_come_back_in_any_order)
{
    ring_run(depths[_i], check_any_order);
}
END_TEST

/* One end of work every turn, until there is nothing to end any more. */
typedef struct Ender {
    Ring *ring;
    bool over;
} Ender;

static void coroutine_fn run_ender(void *opaque)
{
    Ender *ender = opaque;

    while (!ender->over) {
        if (ender->ring->works->len > 0) {
            end_any_work(ender->ring);
        }
        pass();
    }
    ender->ring = NULL;
}

/* A stream of results through the ring, as a pump would move it. */
static void coroutine_fn check_order(void *opaque)
{
    enum {
        RESULTS = 300
    };
    Ring *ring = opaque;
    Ender ender = { .ring = ring };
    uint64_t started = 0;
    AioBuffer *buffer;

    event_loop_start(run_ender, &ender);
    for (uint64_t expected = 0; expected < RESULTS; expected++) {
        while (started < RESULTS &&
               (buffer = aio_buffer_pool_try_get(ring->pool))) {
            buffer->position = started++;
            aio_buffer_pool_start_in_order(ring->pool, buffer, work, ring);
        }
        ck_assert_uint_le(started - expected, ring->depth);
        buffer = aio_buffer_pool_next(ring->pool);
        ck_assert_ptr_nonnull(buffer);
        ck_assert_uint_eq(buffer->position, expected);
        aio_buffer_pool_put(ring->pool, buffer);
    }
    ck_assert_uint_eq(ring->most, ring->depth);
    ender.over = true;
    while (ender.ring) {
        pass();
    }
    assert_drains(ring);
}

START_TEST(results_are_handed_on_in_order)
{
    ring_run(depths[_i], check_order);
}
END_TEST

/* The last one ends first: it waits for its turn and is nobody's until then. */
static void coroutine_fn check_backwards(void *opaque)
{
    Ring *ring = opaque;
    Waiter waiter = { .ring = ring, .wait = aio_buffer_pool_next };

    fill_ring(ring, true);
    event_loop_start(run_waiter, &waiter);
    for (unsigned i = ring->depth; i-- > 0;) {
        ck_assert(!waiter.over);
        end_work(ring, i, NULL);
        pass();
        ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
        pass();
    }
    ck_assert(waiter.over);
    ck_assert_uint_eq(waiter.got->position, 0);
    aio_buffer_pool_put(ring->pool, waiter.got);
    for (unsigned i = 1; i < ring->depth; i++) {
        AioBuffer *buffer = aio_buffer_pool_next(ring->pool);

        ck_assert_uint_eq(buffer->position, i);
        aio_buffer_pool_put(ring->pool, buffer);
    }
    assert_drains(ring);
}

START_TEST(results_wait_for_their_turn)
{
    ring_run(depths[_i], check_backwards);
}
END_TEST

/* Both kinds at once: only those started in order have a turn. */
static void coroutine_fn check_both_kinds(void *opaque)
{
    Ring *ring = opaque;
    AioBuffer *buffers[4];
    AioBuffer *got;

    for (unsigned i = 0; i < 4; i++) {
        buffers[i] = aio_buffer_pool_get(ring->pool);
    }
    aio_buffer_pool_start(ring->pool, buffers[0], work, ring);
    aio_buffer_pool_start_in_order(ring->pool, buffers[1], work, ring);
    aio_buffer_pool_start(ring->pool, buffers[2], work, ring);
    aio_buffer_pool_start_in_order(ring->pool, buffers[3], work, ring);
    pass();
    end_work(ring, 3, NULL);
    end_work(ring, 2, NULL);
    end_work(ring, 1, NULL);
    got = aio_buffer_pool_next(ring->pool);
    ck_assert_ptr_eq(got, buffers[1]);
    ck_assert_ptr_eq(aio_buffer_pool_get(ring->pool), buffers[2]);
    ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
    aio_buffer_pool_put(ring->pool, got);
    got = aio_buffer_pool_next(ring->pool);
    ck_assert_ptr_eq(got, buffers[3]);
    aio_buffer_pool_put(ring->pool, got);
    aio_buffer_pool_put(ring->pool, buffers[2]);
    end_work(ring, 0, NULL);
    assert_drains(ring);
}

START_TEST(both_kinds_at_once)
{
    ring_run(4, check_both_kinds);
}
END_TEST

static bool coroutine_fn work_at_once(AioBuffer *buffer, void *opaque,
                                      GError **errp)
{
    unsigned *works = opaque;

    (*works)++;
    return true;
}

static void coroutine_fn check_at_once(void *opaque)
{
    Ring *ring = opaque;
    unsigned works = 0;

    for (unsigned i = 0; i < 100; i++) {
        AioBuffer *buffer = aio_buffer_pool_get(ring->pool);

        aio_buffer_pool_start(ring->pool, buffer, work_at_once, &works);
    }
    assert_drains(ring);
    ck_assert_uint_eq(works, 100);
    for (unsigned i = 0; i < 100; i++) {
        AioBuffer *buffer = aio_buffer_pool_get(ring->pool);

        buffer->position = i;
        aio_buffer_pool_start_in_order(ring->pool, buffer, work_at_once,
                                       &works);
        ck_assert_ptr_eq(aio_buffer_pool_next(ring->pool), buffer);
        aio_buffer_pool_put(ring->pool, buffer);
    }
    assert_drains(ring);
    ck_assert_uint_eq(works, 200);
}

START_TEST(work_need_not_yield)
{
    ring_run(depths[_i], check_at_once);
}
END_TEST

/* Draining takes what nobody asked for along. */
static void coroutine_fn check_drain(void *opaque)
{
    Ring *ring = opaque;
    Ender ender = { .ring = ring };

    assert_drains(ring);
    fill_ring(ring, true);
    event_loop_start(run_ender, &ender);
    assert_drains(ring);
    ck_assert_uint_eq(ring->works->len, 0);
    fill_ring(ring, false);
    assert_drains(ring);
    ck_assert_uint_eq(ring->works->len, 0);
    ender.over = true;
    while (ender.ring) {
        pass();
    }
}

START_TEST(drain_waits_for_all_in_flight)
{
    ring_run(depths[_i], check_drain);
}
END_TEST

/* Someone who drains, to see how long that takes. */
typedef struct Drainer {
    Ring *ring;
    const char *failure;
    bool over;
} Drainer;

static void coroutine_fn run_drainer(void *opaque)
{
    Drainer *drainer = opaque;

    assert_drains_with(drainer->ring, drainer->failure);
    drainer->over = true;
}

/* One fails in the middle; the device still writes to the other buffers. */
static void coroutine_fn check_failure(Ring *ring, bool in_order)
{
    Drainer drainer = { .ring = ring, .failure = "the first" };

    fill_ring(ring, in_order);
    end_work(ring, ring->depth / 2, "the first");
    pass();
    event_loop_start(run_drainer, &drainer);
    while (ring->works->len > 0) {
        pass();
        ck_assert(!drainer.over);
        ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
        ck_assert_ptr_null(aio_buffer_pool_get(ring->pool));
        if (in_order) {
            ck_assert_ptr_null(aio_buffer_pool_next(ring->pool));
        }
        end_work(ring, ring->works->len - 1,
                 ring->works->len % 2 ? "another" : NULL);
    }
    pass();
    pass();
    ck_assert(drainer.over);
}

static void coroutine_fn check_failure_in_any_order(void *opaque)
{
    check_failure(opaque, false);
}

static void coroutine_fn check_failure_in_order(void *opaque)
{
    check_failure(opaque, true);
}

START_TEST(first_failure_ends_the_lending)
{
    ring_run(depths[_i], check_failure_in_any_order);
    ring_run(depths[_i], check_failure_in_order);
}
END_TEST

/* Those who wait need not wait for more than the failure. */
static void coroutine_fn check_waiters(void *opaque)
{
    Ring *ring = opaque;
    Waiter get = { .ring = ring, .wait = aio_buffer_pool_get };
    Waiter next = { .ring = ring, .wait = aio_buffer_pool_next };

    fill_ring(ring, true);
    event_loop_start(run_waiter, &get);
    event_loop_start(run_waiter, &next);
    pass();
    end_work(ring, 2, "not the oldest");
    pass();
    pass();
    ck_assert(get.over && next.over);
    ck_assert_ptr_null(get.got);
    ck_assert_ptr_null(next.got);
    ck_assert_uint_eq(ring->works->len, 2);
    end_work(ring, 0, NULL);
    end_work(ring, 0, NULL);
    assert_drains_with(ring, "not the oldest");
}

START_TEST(failure_wakes_all_who_wait)
{
    ring_run(3, check_waiters);
}
END_TEST

/* A result that was there before a failure is not handed on after it. */
static void coroutine_fn check_late_result(void *opaque)
{
    Ring *ring = opaque;

    fill_ring(ring, true);
    end_work(ring, 0, NULL);
    pass();
    end_work(ring, 0, "the second");
    pass();
    ck_assert_ptr_null(aio_buffer_pool_next(ring->pool));
    assert_drains_with(ring, "the second");
}

START_TEST(no_result_after_a_failure)
{
    ring_run(2, check_late_result);
}
END_TEST

static GError *failure_new(const char *text)
{
    return g_error_new_literal(SNAP_ERROR, SNAP_ERROR_IO, text);
}

static void coroutine_fn check_own_failure(void *opaque)
{
    Ring *ring = opaque;
    Waiter waiter = { .ring = ring, .wait = aio_buffer_pool_next };

    fill_ring(ring, true);
    event_loop_start(run_waiter, &waiter);
    pass();
    aio_buffer_pool_fail(ring->pool, failure_new("mine"));
    aio_buffer_pool_fail(ring->pool, failure_new("mine again"));
    pass();
    ck_assert(waiter.over);
    ck_assert_ptr_null(waiter.got);
    end_work(ring, 1, "of the work");
    end_work(ring, 0, NULL);
    assert_drains_with(ring, "mine");
    /* With nothing in flight, and to somebody who does not want to know. */
    aio_buffer_pool_fail(ring->pool, failure_new("mine"));
    ck_assert_ptr_null(aio_buffer_pool_try_get(ring->pool));
    ck_assert(!aio_buffer_pool_drain(ring->pool, NULL));
}

START_TEST(failure_of_the_user)
{
    ring_run(2, check_own_failure);
}
END_TEST

static Suite *snap_io_suite(void)
{
    Suite *suite = suite_create("snap-io");
    TCase *tcase = tcase_create("ring");
    const int all = G_N_ELEMENTS(depths);

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, buffers_are_as_many_as_asked_for, 0, all);
    tcase_add_test(tcase, no_memory_is_an_error);
    tcase_add_test(tcase, get_waits_for_a_free_buffer);
    tcase_add_loop_test(tcase, buffers_come_back_in_any_order, 0, all);
    tcase_add_loop_test(tcase, results_are_handed_on_in_order, 0, all);
    tcase_add_loop_test(tcase, results_wait_for_their_turn, 0, all);
    tcase_add_test(tcase, both_kinds_at_once);
    tcase_add_loop_test(tcase, work_need_not_yield, 0, all);
    tcase_add_loop_test(tcase, drain_waits_for_all_in_flight, 0, all);
    tcase_add_loop_test(tcase, first_failure_ends_the_lending, 0, all);
    tcase_add_test(tcase, failure_wakes_all_who_wait);
    tcase_add_test(tcase, no_result_after_a_failure);
    tcase_add_test(tcase, failure_of_the_user);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snap_io_suite());
}
