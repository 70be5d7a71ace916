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
 */
#include "coroutine-internal.h"
#include "event-loop.h"

typedef struct EventLoop {
    GSource source;     /* ready while @ready is not empty */
    GPtrArray *ready;   /* of Coroutine: will run in the next turn */
    GPtrArray *running; /* those of this turn; empty between turns */
} EventLoop;

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
}

static GSourceFuncs event_loop_funcs = {
    .prepare = event_loop_prepare,
    .check = event_loop_check,
    .dispatch = event_loop_dispatch,
    .finalize = event_loop_finalize,
};

static void event_loop_free(void *opaque)
{
    EventLoop *loop = opaque;

    g_source_destroy(&loop->source);
    g_source_unref(&loop->source);
}

/*
 * A thread has one loop, as it has one running coroutine; who wakes a
 * coroutine has only that to go by.
 */
static GPrivate event_loop_key = G_PRIVATE_INIT(event_loop_free);

static EventLoop *event_loop_current(void)
{
    EventLoop *loop = g_private_get(&event_loop_key);

    if (!loop) {
        g_autoptr(GMainContext) context = g_main_context_ref_thread_default();

        loop = (EventLoop *)g_source_new(&event_loop_funcs, sizeof(EventLoop));
        g_source_set_static_name(&loop->source, "coroutines");
        loop->ready = g_ptr_array_new();
        loop->running = g_ptr_array_new();
        g_source_attach(&loop->source, context);
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
    GMainContext *context = g_source_get_context(&loop->source);
    EventLoopRun run = { .func = func, .opaque = opaque };
    bool acquired;

    g_assert(!coroutine_self());
    /*
     * Owned throughout: GLib would write to an eventfd for every source that
     * is attached while the context has no owner.
     */
    acquired = g_main_context_acquire(context);
    g_assert(acquired);
    event_loop_start(event_loop_run_entry, &run);
    while (!run.over) {
        g_main_context_iteration(context, TRUE);
        /*
         * What the sources have just woken need not wait for another poll.
         * The source of the ready queue is for those woken here.
         */
        event_loop_run_ready(loop);
    }
    g_main_context_release(context);
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

/* Lives from the wait to the dispatch; the waiter owns it. */
typedef struct FdSource {
    GSource source;
    void *fd_tag;
    GIOCondition condition;
    Coroutine *waiter;
    bool ready; /* the answer; false when the time is over */
} FdSource;

static bool fd_source_is_ready(FdSource *fd_source)
{
    return g_source_query_unix_fd(&fd_source->source, fd_source->fd_tag) &
           (fd_source->condition | G_IO_ERR | G_IO_HUP | G_IO_NVAL);
}

static gboolean fd_source_check(GSource *source)
{
    return fd_source_is_ready((FdSource *)source);
}

/* Also called when the time is over. */
static gboolean fd_source_dispatch(GSource *source, GSourceFunc callback,
                                   void *opaque)
{
    FdSource *fd_source = (FdSource *)source;

    fd_source->ready = fd_source_is_ready(fd_source);
    event_loop_wake(fd_source->waiter);
    return G_SOURCE_REMOVE;
}

static GSourceFuncs fd_source_funcs = {
    .check = fd_source_check,
    .dispatch = fd_source_dispatch,
};

bool coroutine_fn event_loop_wait_fd(int fd, GIOCondition condition,
                                     int timeout_ms)
{
    GMainContext *context = g_source_get_context(&event_loop_current()->source);
    g_autoptr(GSource)
        source = g_source_new(&fd_source_funcs, sizeof(FdSource));
    FdSource *fd_source = (FdSource *)source;

    fd_source->waiter = coroutine_self();
    fd_source->condition = condition;
    fd_source->fd_tag = g_source_add_unix_fd(source, fd, condition);
    if (timeout_ms >= 0) {
        g_source_set_ready_time(source,
                                g_get_monotonic_time() +
                                    timeout_ms * G_TIME_SPAN_MILLISECOND);
    }
    g_source_attach(source, context);
    coroutine_yield();
    return fd_source->ready;
}
