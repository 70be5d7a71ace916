/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Coroutines by themselves, entered by hand where the program leaves that to
 * the event loop.
 */
#include <check.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coroutine.h"
#include "run-suite.h"

static void coroutine_fn note_twice(void *opaque)
{
    GString *story = opaque;

    g_string_append(story, "a");
    coroutine_yield();
    g_string_append(story, "b");
}

START_TEST(runs_only_when_entered)
{
    g_autoptr(GString) story = g_string_new("");
    Coroutine *co = coroutine_new(note_twice, story);

    g_string_append(story, "1");
    coroutine_enter(co);
    g_string_append(story, "2");
    coroutine_enter(co);
    g_string_append(story, "3");
    ck_assert_str_eq(story->str, "1a2b3");
}
END_TEST

static void coroutine_fn note_self(void *opaque)
{
    Coroutine **self = opaque;

    *self = coroutine_self();
    coroutine_yield();
    ck_assert_ptr_eq(*self, coroutine_self());
}

START_TEST(knows_itself)
{
    Coroutine *seen = NULL;
    Coroutine *co = coroutine_new(note_self, &seen);

    ck_assert_ptr_null(coroutine_self());
    coroutine_enter(co);
    ck_assert_ptr_eq(seen, co);
    ck_assert_ptr_null(coroutine_self());
    coroutine_enter(co);
    ck_assert_ptr_null(coroutine_self());
}
END_TEST

typedef struct Counter {
    unsigned step;
    unsigned sum;
} Counter;

#define COUNTER_ROUNDS 20

static void coroutine_fn count_up(void *opaque)
{
    Counter *counter = opaque;
    unsigned local[64];

    for (unsigned i = 0; i < G_N_ELEMENTS(local); i++) {
        local[i] = counter->step + i;
    }
    for (unsigned round = 0; round < COUNTER_ROUNDS; round++) {
        coroutine_yield();
        /* What lies on the stack is what this coroutine left there. */
        for (unsigned i = 0; i < G_N_ELEMENTS(local); i++) {
            assert_often(local[i] == counter->step + i);
        }
        counter->sum += counter->step;
    }
}

START_TEST(many_take_turns)
{
    enum {
        COROUTINES = 1000
    };
    g_autofree Counter *counters = g_new0(Counter, COROUTINES);
    Coroutine *co[COROUTINES];

    for (unsigned i = 0; i < COROUTINES; i++) {
        counters[i].step = i;
        co[i] = coroutine_new(count_up, &counters[i]);
    }
    for (unsigned round = 0; round <= COUNTER_ROUNDS; round++) {
        for (unsigned i = 0; i < COROUTINES; i++) {
            coroutine_enter(co[i]);
        }
    }
    for (unsigned i = 0; i < COROUTINES; i++) {
        ck_assert_uint_eq(counters[i].sum, i * COUNTER_ROUNDS);
    }
}
END_TEST

static size_t count_mappings(void)
{
    g_autofree char *maps = NULL;
    size_t lines = 0;

    ck_assert(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    for (const char *at = maps; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    return lines;
}

static void coroutine_fn do_nothing(void *opaque)
{
}

static void run_in_succession(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        coroutine_enter(coroutine_new(do_nothing, NULL));
    }
}

START_TEST(stacks_are_used_again)
{
    size_t before;

    run_in_succession(1);
    before = count_mappings();
    run_in_succession(5000);
    /* The allocator may have mapped something of its own meanwhile. */
    ck_assert_uint_le(count_mappings(), before + 8);
}
END_TEST

static void coroutine_fn yield_once(void *opaque)
{
    coroutine_yield();
}

START_TEST(stacks_beyond_the_cache_are_unmapped)
{
    enum {
        COROUTINES = 1000
    };
    Coroutine *co[COROUTINES];
    size_t before = count_mappings();
    size_t during;

    for (unsigned i = 0; i < COROUTINES; i++) {
        co[i] = coroutine_new(yield_once, NULL);
        coroutine_enter(co[i]);
    }
    during = count_mappings();
    ck_assert_uint_ge(during, before + COROUTINES);
    for (unsigned i = 0; i < COROUTINES; i++) {
        coroutine_enter(co[i]);
    }
    ck_assert_uint_lt(count_mappings(), before + COROUTINES / 2);
}
END_TEST

static void coroutine_fn use_much_stack(void *opaque)
{
    volatile char buffer[160 * 1024];
    int *sum = opaque;

    for (size_t i = 0; i < sizeof(buffer); i += 512) {
        buffer[i] = 1;
    }
    coroutine_yield();
    for (size_t i = 0; i < sizeof(buffer); i += 512) {
        *sum += buffer[i];
    }
}

START_TEST(stack_is_large)
{
    int sum = 0;
    Coroutine *co = coroutine_new(use_much_stack, &sum);

    coroutine_enter(co);
    coroutine_enter(co);
    ck_assert_int_eq(sum, 160 * 1024 / 512);
}
END_TEST

/* GLib tells of a failed assertion on both. */
static void silence(void)
{
    int null_fd = open("/dev/null", O_WRONLY);

    dup2(null_fd, STDOUT_FILENO);
    dup2(null_fd, STDERR_FILENO);
}

/* Returns the wait status of a child that runs @func. */
static int run_in_child(void (*func)(void))
{
    const struct rlimit no_core = { 0, 0 };
    pid_t child;
    int status;

    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        silence();
        func();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* Under AddressSanitizer a signal ends the process with an exit status. */
static void assert_dies(void (*func)(void), int signal)
{
    int status = run_in_child(func);

    if (WIFSIGNALED(status)) {
        ck_assert_int_eq(WTERMSIG(status), signal);
    } else {
        ck_assert_int_ne(WEXITSTATUS(status), 0);
    }
}

static int recurse(volatile char *above, unsigned depth)
{
    volatile char frame[1024];

    frame[0] = above[0];
    if (depth == 0) {
        return frame[0];
    }
    return recurse(frame, depth - 1) + frame[0];
}

static void coroutine_fn recurse_entry(void *opaque)
{
    volatile char first = 1;

    recurse(&first, 1000);
}

static void overflow(void)
{
    /* Two, so that one has the stack of another below it. */
    coroutine_new(do_nothing, NULL);
    coroutine_enter(coroutine_new(recurse_entry, NULL));
}

START_TEST(overflow_hits_the_guard_page)
{
    assert_dies(overflow, SIGSEGV);
}
END_TEST

static void coroutine_fn enter_another(void *opaque)
{
    coroutine_enter(coroutine_new(do_nothing, NULL));
}

static void nest(void)
{
    coroutine_enter(coroutine_new(enter_another, NULL));
}

START_TEST(nesting_is_refused)
{
    assert_dies(nest, SIGABRT);
}
END_TEST

static void yield_outside(void)
{
    coroutine_yield();
}

START_TEST(yield_outside_is_refused)
{
    assert_dies(yield_outside, SIGABRT);
}
END_TEST

static void *run_thread(void *opaque)
{
    Counter counter = { .step = 3 };
    Coroutine *co = coroutine_new(count_up, &counter);

    for (unsigned round = 0; round <= COUNTER_ROUNDS; round++) {
        ck_assert_ptr_null(coroutine_self());
        coroutine_enter(co);
    }
    return GUINT_TO_POINTER(counter.sum);
}

static void coroutine_fn run_threads(void *opaque)
{
    GThread *threads[4];

    /* That one runs here is nothing to the other threads. */
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("test", run_thread, NULL);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        ck_assert_uint_eq(GPOINTER_TO_UINT(g_thread_join(threads[i])),
                          3 * COUNTER_ROUNDS);
    }
}

START_TEST(threads_have_their_own)
{
    coroutine_enter(coroutine_new(run_threads, NULL));
}
END_TEST

static Suite *coroutine_suite(void)
{
    Suite *suite = suite_create("coroutine");
    TCase *tcase = tcase_create("coroutine");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, runs_only_when_entered);
    tcase_add_test(tcase, knows_itself);
    tcase_add_test(tcase, many_take_turns);
    tcase_add_test(tcase, stacks_are_used_again);
    tcase_add_test(tcase, stacks_beyond_the_cache_are_unmapped);
    tcase_add_test(tcase, stack_is_large);
    tcase_add_test(tcase, overflow_hits_the_guard_page);
    tcase_add_test(tcase, nesting_is_refused);
    tcase_add_test(tcase, yield_outside_is_refused);
    tcase_add_test(tcase, threads_have_their_own);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(coroutine_suite());
}
