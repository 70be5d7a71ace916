/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Signals that ask to stop: heard once, and only while somebody listens.
 */
#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"
#include "run-suite.h"
#include "signal-delivery.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

/* Check has handlers of its own for some of them. */
static void reset_signals(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        signal(signals[i], SIG_DFL);
    }
}

static void count(void *opaque)
{
    unsigned *calls = opaque;

    (*calls)++;
}

static bool is_default(int number)
{
    struct sigaction action;

    ck_assert_int_eq(sigaction(number, NULL, &action), 0);
    return action.sa_handler == SIG_DFL;
}

START_TEST(signal_is_heard)
{
    unsigned calls = 0;
    g_autoptr(Interrupt) interrupt = interrupt_new(count, &calls);

    ck_assert_int_eq(interrupt_signal(interrupt), 0);
    ck_assert_uint_eq(calls, 0);
    signal_deliver(signals[_i]);
    ck_assert_uint_eq(calls, 1);
    ck_assert_int_eq(interrupt_signal(interrupt), signals[_i]);
}
END_TEST

START_TEST(first_signal_counts)
{
    unsigned calls = 0;
    g_autoptr(Interrupt) interrupt = interrupt_new(count, &calls);

    signal_deliver(signals[_i]);
    /* The same again would kill, if it were not still caught. */
    ck_assert(!is_default(signals[_i]));
    signal_deliver(signals[_i]);
    signal_deliver(signals[(_i + 1) % G_N_ELEMENTS(signals)]);
    signal_deliver(signals[(_i + 2) % G_N_ELEMENTS(signals)]);
    signal_deliver(signals[_i]);
    ck_assert_uint_eq(calls, 1);
    ck_assert_int_eq(interrupt_signal(interrupt), signals[_i]);
}
END_TEST

/* The function is called from the event loop, not from wherever we are. */
START_TEST(nothing_happens_outside_the_loop)
{
    unsigned calls = 0;
    g_autoptr(Interrupt) interrupt = interrupt_new(count, &calls);

    ck_assert_int_eq(kill(getpid(), signals[_i]), 0);
    g_usleep(1000);
    ck_assert_uint_eq(calls, 0);
    ck_assert_int_eq(interrupt_signal(interrupt), 0);
    while (calls == 0) {
        g_main_context_iteration(NULL, TRUE);
    }
    ck_assert_int_eq(interrupt_signal(interrupt), signals[_i]);
}
END_TEST

START_TEST(heard_again_by_the_next)
{
    for (unsigned i = 0; i < 3; i++) {
        unsigned calls = 0;
        g_autoptr(Interrupt) interrupt = interrupt_new(count, &calls);

        ck_assert(!is_default(signals[i]));
        signal_deliver(signals[i]);
        ck_assert_uint_eq(calls, 1);
        ck_assert_int_eq(interrupt_signal(interrupt), signals[i]);
    }
}
END_TEST

/* How a child ends that is signalled when nobody listens any more. */
static int run_signalled_child(int number)
{
    const struct rlimit no_core = { 0, 0 };
    unsigned calls = 0;
    int status;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        interrupt_free(interrupt_new(count, &calls));
        raise(number);
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

START_TEST(signal_kills_afterwards)
{
    int status = run_signalled_child(signals[_i]);
    unsigned calls = 0;
    Interrupt *interrupt = interrupt_new(count, &calls);

    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), signals[_i]);
    ck_assert(!is_default(signals[_i]));
    interrupt_free(interrupt);
    ck_assert(is_default(signals[_i]));
}
END_TEST

/* What the caller had ignored, as nohup does, is not for us to hear. */
START_TEST(ignored_signal_stays_ignored)
{
    int ignored = signals[_i];
    int other = signals[(_i + 1) % G_N_ELEMENTS(signals)];
    unsigned calls = 0;
    Interrupt *interrupt;
    int status;

    signal(ignored, SIG_IGN);
    interrupt = interrupt_new(count, &calls);
    ck_assert_int_eq(kill(getpid(), ignored), 0);
    signal_deliver(other);
    ck_assert_uint_eq(calls, 1);
    ck_assert_int_eq(interrupt_signal(interrupt), other);
    interrupt_free(interrupt);
    status = run_signalled_child(ignored);
    signal(ignored, SIG_DFL);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    ck_assert(is_default(other));
}
END_TEST

static Suite *interrupt_suite(void)
{
    Suite *suite = suite_create("interrupt");
    TCase *tcase = tcase_create("interrupt");
    const int all = G_N_ELEMENTS(signals);

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, reset_signals, NULL);
    tcase_add_loop_test(tcase, signal_is_heard, 0, all);
    tcase_add_loop_test(tcase, first_signal_counts, 0, all);
    tcase_add_loop_test(tcase, nothing_happens_outside_the_loop, 0, all);
    tcase_add_test(tcase, heard_again_by_the_next);
    tcase_add_loop_test(tcase, signal_kills_afterwards, 0, all);
    tcase_add_loop_test(tcase, ignored_signal_stays_ignored, 0, all);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(interrupt_suite());
}
