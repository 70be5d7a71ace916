/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The ready queue of coroutines as a source of GLib's main loop, and waiting
 * for file descriptors.
 *
 * A turn of the loop is: GLib asks all sources and polls, dispatches what is
 * ready, and then every coroutine that was in the ready queue at that moment
 * runs until it yields. Invariants:
 *
 * 1. Coroutines are entered by event_loop_run_ready() and by nothing else.
 * 2. What a coroutine wakes runs in the next turn at the earliest, in the
 *    order of waking. So two coroutines that keep waking each other cannot
 *    starve file descriptors or completions: there is a poll between.
 * 3. All sources of this program have the same priority, for the same reason.
 *
 * Waking is an append to an array. It needs no system call, because it happens
 * in the thread of the loop, which therefore does not sleep.
 *
 * Descriptors that coroutines wait for are not sources. For every one that
 * comes or goes GLib writes to its own eventfd, wakes up from the next poll
 * for nothing and reads it back, which is seven system calls for one wait. A
 * context lets its owner do the polling, so ours adds what coroutines wait for
 * to what GLib asks for, and it is one. A waiter lies on the stack of its
 * coroutine and goes: in `fd_waiters' -> answered by event_loop_poll(), out of
 * the list and in the ready queue.
 */
#include "checked.h"
#include "coroutine-internal.h"
#include "event-loop.h"

typedef struct EventLoop {
    GSource source;        /* ready while @ready is not empty */
    GPtrArray *ready;      /* of Coroutine: will run in the next turn */
    GPtrArray *running;    /* those of this turn; empty between turns */
    GQueue fd_waiters;     /* of FdWaiter, oldest first */
    GArray *poll_fds;      /* of GPollFD: used within event_loop_poll() */
    GMainContext *context; /* constant */
} EventLoop;

typedef struct FdWaiter {
    GList link; /* in @fd_waiters */
    GPollFD poll_fd;
    int64_t deadline; /* monotonic time in microseconds, or FD_NO_DEADLINE */
    Coroutine *coroutine;
    bool ready; /* the answer; false when the time is over */
} FdWaiter;

#define FD_NO_DEADLINE INT64_MAX

static void event_loop_run_ready(EventLoop *loop)
{
    GPtrArray *turn = loop->ready;

    g_assert(loop->running->len == 0);
    loop->ready = loop->running;
    loop->running = turn;
    for (guint i = 0; i < turn->len; i++) {
        coroutine_enter(turn->pdata[i]);
    }
    g_ptr_array_set_size(turn, 0);
}

static gboolean event_loop_prepare(GSource *source, int *timeout)
{
    EventLoop *loop = (EventLoop *)source;

    *timeout = -1;
    return loop->ready->len > 0;
}

static gboolean event_loop_check(GSource *source)
{
    EventLoop *loop = (EventLoop *)source;

    return loop->ready->len > 0;
}

static gboolean event_loop_dispatch(GSource *source, GSourceFunc callback,
                                    void *opaque)
{
    event_loop_run_ready((EventLoop *)source);
    return G_SOURCE_CONTINUE;
}

static void event_loop_finalize(GSource *source)
{
    EventLoop *loop = (EventLoop *)source;

    g_ptr_array_free(loop->ready, TRUE);
    g_ptr_array_free(loop->running, TRUE);
    g_array_free(loop->poll_fds, TRUE);
}

static GSourceFuncs event_loop_funcs = {
    .prepare = event_loop_prepare,
    .check = event_loop_check,
    .dispatch = event_loop_dispatch,
    .finalize = event_loop_finalize,
};

static void event_loop_free(void *opaque);

/*
 * A thread has one loop, as it has one running coroutine; who wakes a
 * coroutine has only that to go by.
 */
static GPrivate event_loop_key = G_PRIVATE_INIT(event_loop_free);

/* What poll() wants: milliseconds, -1 for ever. */
static int event_loop_shorten_timeout(EventLoop *loop, int timeout_ms)
{
    int64_t now = g_get_monotonic_time();

    for (GList *link = loop->fd_waiters.head; link; link = link->next) {
        FdWaiter *waiter = link->data;

        if (waiter->deadline != FD_NO_DEADLINE) {
            int64_t left_us = MAX(waiter->deadline - now, 0);
            int64_t left_ms = div_round_up(left_us, G_TIME_SPAN_MILLISECOND);

            if (timeout_ms < 0 || left_ms < timeout_ms) {
                timeout_ms = left_ms;
            }
        }
    }
    return timeout_ms;
}

/* @poll_fd has the answer to the wait of @waiter, if there is one. */
static void event_loop_answer(EventLoop *loop, FdWaiter *waiter,
                              const GPollFD *poll_fd)
{
    /* Errors and hang-ups are reported without being asked for. */
    waiter->ready = poll_fd->revents != 0;
    if (waiter->ready || waiter->deadline <= g_get_monotonic_time()) {
        g_queue_unlink(&loop->fd_waiters, &waiter->link);
        event_loop_wake(waiter->coroutine);
    }
}

/* GLib's and our own descriptors in one poll(). */
static int event_loop_poll_both(EventLoop *loop, GPollFD *fds, guint count,
                                int timeout_ms)
{
    GArray *all = loop->poll_fds;
    GList *link = loop->fd_waiters.head;
    int ready;

    g_array_set_size(all, 0);
    g_array_append_vals(all, fds, count);
    for (; link; link = link->next) {
        g_array_append_val(all, ((FdWaiter *)link->data)->poll_fd);
    }
    ready = g_poll((GPollFD *)all->data, all->len,
                   event_loop_shorten_timeout(loop, timeout_ms));
    if (ready < 0) {
        return ready;
    }

    ready = 0;
    for (guint i = 0; i < count; i++) {
        fds[i].revents = g_array_index(all, GPollFD, i).revents;
        ready += fds[i].revents != 0;
    }
    link = loop->fd_waiters.head;
    for (guint i = count; i < all->len; i++) {
        FdWaiter *waiter = link->data;

        link = link->next;
        event_loop_answer(loop, waiter, &g_array_index(all, GPollFD, i));
    }
    return ready;
}

/* GLib calls this instead of poll(), without telling for which context. */
static int event_loop_poll(GPollFD *fds, guint count, int timeout_ms)
{
    EventLoop *loop = g_private_get(&event_loop_key);

    if (!loop || g_queue_is_empty(&loop->fd_waiters)) {
        return g_poll(fds, count, timeout_ms);
    }
    return event_loop_poll_both(loop, fds, count, timeout_ms);
}

static void event_loop_free(void *opaque)
{
    EventLoop *loop = opaque;
    g_autoptr(GMainContext) context = loop->context;

    g_main_context_set_poll_func(context, NULL);
    g_source_destroy(&loop->source);
    g_source_unref(&loop->source);
}

static EventLoop *event_loop_current(void)
{
    EventLoop *loop = g_private_get(&event_loop_key);

    if (!loop) {
        loop = (EventLoop *)g_source_new(&event_loop_funcs, sizeof(EventLoop));
        g_source_set_static_name(&loop->source, "coroutines");
        loop->ready = g_ptr_array_new();
        loop->running = g_ptr_array_new();
        loop->poll_fds = g_array_new(FALSE, FALSE, sizeof(GPollFD));
        loop->context = g_main_context_ref_thread_default();
        g_main_context_set_poll_func(loop->context, event_loop_poll);
        g_source_attach(&loop->source, loop->context);
        g_private_set(&event_loop_key, loop);
    }
    return loop;
}

typedef struct EventLoopRun {
    CoroutineFunc *func;
    void *opaque;
    bool over;
} EventLoopRun;

static void coroutine_fn event_loop_run_entry(void *opaque)
{
    EventLoopRun *run = opaque;

    run->func(run->opaque);
    run->over = true;
}

void event_loop_run(CoroutineFunc *func, void *opaque)
{
    EventLoop *loop = event_loop_current();
    EventLoopRun run = { .func = func, .opaque = opaque };
    bool acquired;

    g_assert(!coroutine_self());
    /*
     * Owned throughout: GLib would write to an eventfd for every source that
     * is attached while the context has no owner.
     */
    acquired = g_main_context_acquire(loop->context);
    g_assert(acquired);
    event_loop_start(event_loop_run_entry, &run);
    while (!run.over) {
        g_main_context_iteration(loop->context, TRUE);
        /*
         * What the sources have just woken need not wait for another poll.
         * The source of the ready queue is for those woken here.
         */
        event_loop_run_ready(loop);
    }
    g_main_context_release(loop->context);
}

void event_loop_start(CoroutineFunc *func, void *opaque)
{
    event_loop_wake(coroutine_new(func, opaque));
}

void event_loop_wake(Coroutine *co)
{
    coroutine_mark_woken(co);
    g_ptr_array_add(event_loop_current()->ready, co);
}

void coroutine_fn event_loop_yield(void)
{
    event_loop_wake(coroutine_self());
    coroutine_yield();
}

bool coroutine_fn event_loop_wait_fd(int fd, GIOCondition condition,
                                     int timeout_ms)
{
    FdWaiter waiter = {
        .link.data = &waiter,
        .poll_fd = { .fd = fd, .events = condition },
        .deadline = FD_NO_DEADLINE,
        .coroutine = coroutine_self(),
    };

    if (timeout_ms >= 0) {
        waiter.deadline = g_get_monotonic_time() +
                          timeout_ms * G_TIME_SPAN_MILLISECOND;
    }
    g_queue_push_tail_link(&event_loop_current()->fd_waiters, &waiter.link);
    coroutine_yield();
    return waiter.ready;
}

void coroutine_fn event_loop_sleep(int ms)
{
    /* For poll(), a descriptor that is never ready. */
    event_loop_wait_fd(-1, 0, ms);
}
