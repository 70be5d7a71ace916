/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Calls from coroutines into worker threads, and what happens when there are
 * none to be had.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "event-loop.h"
#include "../../block/thread-pool.h"
#include "run-suite.h"

static bool threads_are_used_up;

/* GLib's calls come here, too. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*func)(void *), void *opaque)
{
    typeof(pthread_create) *real = dlsym(RTLD_NEXT, "pthread_create");

    return threads_are_used_up ? EAGAIN
                               : real(thread, attributes, func, opaque);
}

static unsigned count_threads(void)
{
    GDir *tasks = g_dir_open("/proc/self/task", 0, NULL);
    unsigned count = 0;

    ck_assert_ptr_nonnull(tasks);
    while (g_dir_read_name(tasks)) {
        count++;
    }
    g_dir_close(tasks);
    return count;
}

static void run_with(CoroutineFunc *func)
{
    ThreadPool *pool = thread_pool_new();

    event_loop_run(func, pool);
    thread_pool_free(pool);
}

typedef struct Call {
    ThreadPool *pool;
    pthread_t caller;
    unsigned number;
    unsigned *left;
    bool is_elsewhere; /* it ran in another thread */
} Call;

static int64_t do_call(void *opaque)
{
    Call *call = opaque;

    call->is_elsewhere = !pthread_equal(pthread_self(), call->caller);
    if (call->number % 7 == 0) {
        g_usleep(1000);
    }
    return -(int64_t)call->number;
}

static void coroutine_fn run_call(void *opaque)
{
    Call *call = opaque;

    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(thread_pool_run(call->pool, do_call, call),
                         -(int64_t)call->number);
    }
    (*call->left)--;
}

static void coroutine_fn check_many_calls(void *opaque)
{
    enum {
        CALLS = 300
    };
    Call calls[CALLS];
    unsigned left = CALLS;

    for (unsigned i = 0; i < CALLS; i++) {
        calls[i] = (Call){ opaque, pthread_self(), i, &left, false };
        event_loop_start(run_call, &calls[i]);
    }
    while (left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    for (unsigned i = 0; i < CALLS; i++) {
        ck_assert(calls[i].is_elsewhere);
    }
}

START_TEST(many_calls)
{
    run_with(check_many_calls);
}
END_TEST

static int64_t sleep_a_little(void *opaque)
{
    g_usleep(20 * 1000);
    return 5;
}

static void coroutine_fn check_waiting(void *opaque)
{
    /* Nothing but the completion wakes the loop up here. */
    ck_assert_int_eq(thread_pool_run(opaque, sleep_a_little, NULL), 5);
    ck_assert_int_eq(thread_pool_run(opaque, sleep_a_little, NULL), 5);
}

START_TEST(completion_wakes_the_loop)
{
    run_with(check_waiting);
}
END_TEST

START_TEST(no_thread_without_a_call)
{
    unsigned before = count_threads();
    ThreadPool *pool = thread_pool_new();

    ck_assert_uint_eq(count_threads(), before);
    thread_pool_free(pool);
}
END_TEST

static void coroutine_fn check_no_threads(void *opaque)
{
    ThreadPool *pool = opaque;
    unsigned left = 1;
    Call call = { pool, pthread_self(), 1, &left, true };

    threads_are_used_up = true;
    ck_assert_int_eq(thread_pool_run(pool, do_call, &call), -1);
    ck_assert(!call.is_elsewhere);
    ck_assert_int_eq(thread_pool_run(pool, do_call, &call), -1);
    ck_assert(!call.is_elsewhere);
    /* And when there is room again. */
    threads_are_used_up = false;
    ck_assert_int_eq(thread_pool_run(pool, do_call, &call), -1);
    ck_assert(call.is_elsewhere);
    ck_assert_int_eq(thread_pool_run(pool, do_call, &call), -1);
    ck_assert(call.is_elsewhere);
}

START_TEST(without_threads_the_call_is_made_here)
{
    run_with(check_no_threads);
}
END_TEST

static void coroutine_fn check_never_threads(void *opaque)
{
    unsigned left = 1;
    Call call = { opaque, pthread_self(), 1, &left, true };

    threads_are_used_up = true;
    ck_assert_int_eq(thread_pool_run(opaque, do_call, &call), -1);
    ck_assert(!call.is_elsewhere);
    threads_are_used_up = false;
}

/* What is left in GLib's queue does not keep the pool from being freed. */
START_TEST(without_threads_the_pool_can_be_freed)
{
    run_with(check_never_threads);
}
END_TEST

static void coroutine_fn check_no_descriptors(void *opaque)
{
    struct rlimit before;
    struct rlimit none;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(thread_pool_run(opaque, sleep_a_little, NULL), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(thread_pool_run(opaque, sleep_a_little, NULL), 5);
}

START_TEST(without_descriptors_the_call_fails)
{
    run_with(check_no_descriptors);
}
END_TEST

static Suite *thread_pool_suite(void)
{
    Suite *suite = suite_create("thread-pool");
    TCase *tcase = tcase_create("thread-pool");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, many_calls);
    tcase_add_test(tcase, completion_wakes_the_loop);
    tcase_add_test(tcase, no_thread_without_a_call);
    tcase_add_test(tcase, without_threads_the_call_is_made_here);
    tcase_add_test(tcase, without_threads_the_pool_can_be_freed);
    tcase_add_test(tcase, without_descriptors_the_call_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    /* No thread of one test is left for the next. */
    g_thread_pool_set_max_unused_threads(0);
    return run_suite(thread_pool_suite());
}
