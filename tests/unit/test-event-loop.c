/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Who runs when: the ready queue, waiting for descriptors, queues and mutexes.
 */
#include <check.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event-loop.h"
#include "run-suite.h"

/* One that writes its letter into the story, with a turn between. */
typedef struct Narrator {
    GString *story;
    char letter;
    unsigned times;
} Narrator;

static void coroutine_fn narrate(void *opaque)
{
    Narrator *narrator = opaque;

    for (unsigned i = 0; i < narrator->times; i++) {
        g_string_append_c(narrator->story, narrator->letter);
        event_loop_yield();
    }
}

static void coroutine_fn run_narrators(void *opaque)
{
    Narrator *narrators = opaque;

    for (unsigned i = 0; i < 3; i++) {
        event_loop_start(narrate, &narrators[i]);
    }
    g_string_append_c(narrators->story, '(');
    for (unsigned i = 0; i < 5; i++) {
        event_loop_yield();
    }
    g_string_append_c(narrators->story, ')');
}

START_TEST(runs_in_order_of_waking)
{
    g_autoptr(GString) story = g_string_new("");
    Narrator narrators[] = {
        { story, 'a', 3 },
        { story, 'b', 1 },
        { story, 'c', 2 },
    };

    event_loop_run(run_narrators, narrators);
    ck_assert_str_eq(story->str, "(abcaca)");
    /* And once more, in a loop that has run before. */
    g_string_truncate(story, 0);
    event_loop_run(run_narrators, narrators);
    ck_assert_str_eq(story->str, "(abcaca)");
}
END_TEST

START_TEST(started_before_the_loop_runs)
{
    g_autoptr(GString) story = g_string_new("");
    Narrator narrator = { story, 'x', 2 };

    event_loop_start(narrate, &narrator);
    ck_assert_str_eq(story->str, "");
    event_loop_run(narrate, &narrator);
    ck_assert_str_eq(story->str, "xxxx");
}
END_TEST

typedef struct Crowd {
    CoroutineQueue start;
    unsigned waiting;
    unsigned finished;
} Crowd;

static void coroutine_fn crowd_member(void *opaque)
{
    Crowd *crowd = opaque;

    crowd->waiting++;
    coroutine_queue_wait(&crowd->start);
    crowd->waiting--;
    for (unsigned i = 0; i < 10; i++) {
        event_loop_yield();
    }
    crowd->finished++;
}

static void coroutine_fn run_crowd(void *opaque)
{
    enum {
        MEMBERS = 2000
    };
    Crowd crowd = { 0 };

    for (unsigned i = 0; i < MEMBERS; i++) {
        event_loop_start(crowd_member, &crowd);
    }
    event_loop_yield();
    ck_assert_uint_eq(crowd.waiting, MEMBERS);
    coroutine_queue_wake_all(&crowd.start);
    ck_assert_uint_eq(crowd.waiting, MEMBERS);
    event_loop_yield();
    ck_assert_uint_eq(crowd.waiting, 0);
    while (crowd.finished < MEMBERS) {
        event_loop_yield();
    }
}

START_TEST(many_coroutines)
{
    event_loop_run(run_crowd, NULL);
}
END_TEST

/* A pipe, and what came of waiting for it. */
typedef struct PipeTest {
    int read_fd;
    int write_fd;
    unsigned turns;
    bool over;
} PipeTest;

static PipeTest pipe_test_new(void)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    return (PipeTest){ .read_fd = fds[0], .write_fd = fds[1] };
}

static void pipe_test_close(PipeTest *test)
{
    close(test->read_fd);
    if (test->write_fd >= 0) {
        close(test->write_fd);
    }
}

static void coroutine_fn write_later(void *opaque)
{
    PipeTest *test = opaque;

    for (unsigned i = 0; i < 3; i++) {
        event_loop_yield();
        test->turns++;
    }
    ck_assert_int_eq(write(test->write_fd, "x", 1), 1);
}

static void coroutine_fn wait_for_data(void *opaque)
{
    PipeTest *test = opaque;
    char byte;

    event_loop_start(write_later, test);
    ck_assert(event_loop_wait_fd(test->read_fd, G_IO_IN, -1));
    ck_assert_uint_eq(test->turns, 3);
    ck_assert_int_eq(read(test->read_fd, &byte, 1), 1);
    /* Something that is there already. */
    ck_assert(event_loop_wait_fd(test->write_fd, G_IO_OUT, -1));
    ck_assert(event_loop_wait_fd(test->write_fd, G_IO_OUT, 0));
}

START_TEST(fd_becomes_ready)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_for_data, &test);
    pipe_test_close(&test);
}
END_TEST

static void coroutine_fn wait_in_vain(void *opaque)
{
    PipeTest *test = opaque;
    gint64 start = g_get_monotonic_time();

    ck_assert(!event_loop_wait_fd(test->read_fd, G_IO_IN, 0));
    ck_assert_int_lt(g_get_monotonic_time() - start, 5 * G_TIME_SPAN_SECOND);
    ck_assert(!event_loop_wait_fd(test->read_fd, G_IO_IN, 30));
    ck_assert_int_ge(g_get_monotonic_time() - start,
                     30 * G_TIME_SPAN_MILLISECOND);
}

START_TEST(fd_wait_ends_with_the_time)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_in_vain, &test);
    pipe_test_close(&test);
}
END_TEST

static void coroutine_fn wait_within_time(void *opaque)
{
    PipeTest *test = opaque;
    gint64 start = g_get_monotonic_time();

    event_loop_start(write_later, test);
    ck_assert(event_loop_wait_fd(test->read_fd, G_IO_IN, 60 * 1000));
    ck_assert_int_lt(g_get_monotonic_time() - start, 30 * G_TIME_SPAN_SECOND);
}

START_TEST(fd_is_ready_before_the_time)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_within_time, &test);
    pipe_test_close(&test);
}
END_TEST

static void coroutine_fn wait_for_hang_up(void *opaque)
{
    PipeTest *test = opaque;
    int closed_fd;

    close(test->write_fd);
    test->write_fd = -1;
    ck_assert(event_loop_wait_fd(test->read_fd, G_IO_IN, -1));
    /* The write end of a pipe that nobody reads: an error, so ready. */
    closed_fd = dup(test->read_fd);
    close(closed_fd);
    ck_assert(event_loop_wait_fd(closed_fd, G_IO_IN, -1));
}

START_TEST(hang_up_counts_as_ready)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_for_hang_up, &test);
    pipe_test_close(&test);
}
END_TEST

static void coroutine_fn drain_later(void *opaque)
{
    PipeTest *test = opaque;
    char buffer[4096];

    test->over = true;
    while (read(test->read_fd, buffer, sizeof(buffer)) > 0) {
    }
}

static void coroutine_fn wait_for_room(void *opaque)
{
    PipeTest *test = opaque;
    static const char buffer[4096];

    while (write(test->write_fd, buffer, sizeof(buffer)) > 0) {
    }
    ck_assert(!event_loop_wait_fd(test->write_fd, G_IO_OUT, 0));
    event_loop_start(drain_later, test);
    ck_assert(event_loop_wait_fd(test->write_fd, G_IO_OUT, -1));
    ck_assert(test->over);
}

START_TEST(full_pipe_becomes_writable)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_for_room, &test);
    pipe_test_close(&test);
}
END_TEST

static void coroutine_fn stay_busy(void *opaque)
{
    PipeTest *test = opaque;

    while (!test->over) {
        event_loop_yield();
        test->turns++;
    }
}

static void coroutine_fn wait_beside_the_busy(void *opaque)
{
    PipeTest *test = opaque;

    event_loop_start(stay_busy, test);
    event_loop_start(stay_busy, test);
    for (unsigned i = 0; i < 10; i++) {
        unsigned turns = test->turns;

        ck_assert(event_loop_wait_fd(test->write_fd, G_IO_OUT, -1));
        ck_assert_uint_le(test->turns - turns, 10);
    }
    test->over = true;
    event_loop_yield();
    event_loop_yield();
}

/* Coroutines that are always ready do not keep a descriptor waiting. */
START_TEST(fds_are_not_starved)
{
    PipeTest test = pipe_test_new();

    event_loop_run(wait_beside_the_busy, &test);
    pipe_test_close(&test);
}
END_TEST

static gboolean tick(void *opaque)
{
    CoroutineQueue *ticks = opaque;

    coroutine_queue_wake_all(ticks);
    return G_SOURCE_CONTINUE;
}

static void coroutine_fn wait_for_ticks(void *opaque)
{
    CoroutineQueue *ticks = opaque;

    for (unsigned i = 0; i < 3; i++) {
        coroutine_queue_wait(ticks);
    }
}

/* Anything that hangs on GLib's main loop works beside coroutines. */
START_TEST(other_sources_are_served)
{
    CoroutineQueue ticks = { 0 };
    guint id = g_timeout_add(2, tick, &ticks);

    event_loop_run(wait_for_ticks, &ticks);
    g_source_remove(id);
}
END_TEST

static gboolean stop_after_idle(void *opaque)
{
    g_main_loop_quit(opaque);
    return G_SOURCE_REMOVE;
}

START_TEST(any_driver_of_the_context_will_do)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GString) story = g_string_new("");
    Narrator narrator = { story, 'y', 3 };

    event_loop_start(narrate, &narrator);
    g_idle_add(stop_after_idle, loop);
    g_main_loop_run(loop);
    ck_assert_str_eq(story->str, "yyy");
}
END_TEST

typedef struct Turnstile {
    CoroutineQueue queue;
    GString *story;
    char next;
} Turnstile;

static void coroutine_fn pass_turnstile(void *opaque)
{
    Turnstile *turnstile = opaque;
    char me = turnstile->next++;

    for (unsigned i = 0; i < 2; i++) {
        coroutine_queue_wait(&turnstile->queue);
        g_string_append_c(turnstile->story, me);
    }
}

static void coroutine_fn run_turnstile(void *opaque)
{
    Turnstile *turnstile = opaque;

    coroutine_queue_wake_all(&turnstile->queue);
    for (unsigned i = 0; i < 3; i++) {
        event_loop_start(pass_turnstile, turnstile);
    }
    event_loop_yield();
    coroutine_queue_wake_all(&turnstile->queue);
    event_loop_yield();
    /* Those who have come back to wait are not woken by the same call. */
    ck_assert_str_eq(turnstile->story->str, "abc");
    ck_assert_uint_eq(g_queue_get_length(&turnstile->queue.waiters), 3);
    coroutine_queue_wake_all(&turnstile->queue);
    event_loop_yield();
    ck_assert_str_eq(turnstile->story->str, "abcabc");
    ck_assert(g_queue_is_empty(&turnstile->queue.waiters));
}

START_TEST(queue_wakes_all_once)
{
    g_autoptr(GString) story = g_string_new("");
    Turnstile turnstile = { .story = story, .next = 'a' };

    event_loop_run(run_turnstile, &turnstile);
}
END_TEST

typedef struct Room {
    CoroutineMutex door;
    GString *story;
    char next;
    unsigned inside;
    unsigned left;
} Room;

static void coroutine_fn visit_room(void *opaque)
{
    Room *room = opaque;
    char me = room->next++;

    for (unsigned i = 0; i < 2; i++) {
        coroutine_mutex_lock(&room->door);
        ck_assert_uint_eq(room->inside, 0);
        room->inside++;
        g_string_append_c(room->story, me);
        event_loop_yield();
        event_loop_yield();
        room->inside--;
        coroutine_mutex_unlock(&room->door);
    }
    room->left++;
}

static void coroutine_fn run_room(void *opaque)
{
    Room *room = opaque;

    for (unsigned i = 0; i < 3; i++) {
        event_loop_start(visit_room, room);
    }
    while (room->left < 3) {
        event_loop_yield();
    }
    ck_assert(!room->door.locked);
}

/* One at a time, and in the order in which they came. */
START_TEST(mutex_excludes_and_is_fair)
{
    g_autoptr(GString) story = g_string_new("");
    Room room = { .story = story, .next = 'a' };

    event_loop_run(run_room, &room);
    ck_assert_str_eq(story->str, "abcabc");
}
END_TEST

/* GLib tells of a failed assertion on both. */
static void silence(void)
{
    int null_fd = open("/dev/null", O_WRONLY);

    dup2(null_fd, STDOUT_FILENO);
    dup2(null_fd, STDERR_FILENO);
}

static void assert_aborts(CoroutineFunc *func)
{
    const struct rlimit no_core = { 0, 0 };
    pid_t child;
    int status;

    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        silence();
        event_loop_run(func, NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void coroutine_fn wake_twice(void *opaque)
{
    event_loop_wake(coroutine_self());
    event_loop_wake(coroutine_self());
}

START_TEST(waking_twice_is_refused)
{
    assert_aborts(wake_twice);
}
END_TEST

static void coroutine_fn run_inside(void *opaque)
{
    event_loop_run(wake_twice, NULL);
}

START_TEST(running_inside_a_coroutine_is_refused)
{
    assert_aborts(run_inside);
}
END_TEST

static void *run_thread(void *opaque)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    g_autoptr(GString) story = g_string_new("");
    Narrator narrators[] = {
        { story, 'a', 3 },
        { story, 'b', 1 },
        { story, 'c', 2 },
    };

    g_main_context_push_thread_default(context);
    event_loop_run(run_narrators, narrators);
    g_main_context_pop_thread_default(context);
    return g_string_free(g_steal_pointer(&story), FALSE);
}

START_TEST(threads_have_their_own)
{
    GThread *threads[3];

    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("test", run_thread, NULL);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_autofree char *story = g_thread_join(threads[i]);

        ck_assert_str_eq(story, "(abcaca)");
    }
}
END_TEST

typedef struct Sleepers {
    GString *story;
    unsigned left;
} Sleepers;

static void coroutine_fn sleep_shortly(void *opaque)
{
    Sleepers *sleepers = opaque;

    event_loop_sleep(1);
    g_string_append_c(sleepers->story, 's');
    sleepers->left--;
}

static void coroutine_fn sleep_long(void *opaque)
{
    Sleepers *sleepers = opaque;
    gint64 start = g_get_monotonic_time();

    event_loop_start(sleep_shortly, sleepers);
    event_loop_sleep(200);
    ck_assert_int_ge(g_get_monotonic_time() - start, 200000);
    g_string_append_c(sleepers->story, 'l');
    while (sleepers->left > 0) {
        event_loop_yield();
    }
}

START_TEST(sleepers_wake_in_time)
{
    g_autoptr(GString) story = g_string_new("");
    Sleepers sleepers = { story, 1 };

    event_loop_run(sleep_long, &sleepers);
    ck_assert_str_eq(story->str, "sl");
}
END_TEST

static Suite *event_loop_suite(void)
{
    Suite *suite = suite_create("event-loop");
    TCase *tcase = tcase_create("event-loop");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, runs_in_order_of_waking);
    tcase_add_test(tcase, started_before_the_loop_runs);
    tcase_add_test(tcase, many_coroutines);
    tcase_add_test(tcase, fd_becomes_ready);
    tcase_add_test(tcase, fd_wait_ends_with_the_time);
    tcase_add_test(tcase, fd_is_ready_before_the_time);
    tcase_add_test(tcase, sleepers_wake_in_time);
    tcase_add_test(tcase, hang_up_counts_as_ready);
    tcase_add_test(tcase, full_pipe_becomes_writable);
    tcase_add_test(tcase, fds_are_not_starved);
    tcase_add_test(tcase, other_sources_are_served);
    tcase_add_test(tcase, any_driver_of_the_context_will_do);
    tcase_add_test(tcase, queue_wakes_all_once);
    tcase_add_test(tcase, mutex_excludes_and_is_fair);
    tcase_add_test(tcase, waking_twice_is_refused);
    tcase_add_test(tcase, running_inside_a_coroutine_is_refused);
    tcase_add_test(tcase, threads_have_their_own);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(event_loop_suite());
}
