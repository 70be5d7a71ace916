/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The meeting of coroutines with GLib's main loop. All coroutines of a thread
 * run from its event loop and from nowhere else: to wake one is to put it into
 * a queue, so a callee never runs its caller's waiters and no function is
 * entered twice by surprise.
 */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include <glib.h>

#include "coroutine.h"

/*
 * Run @func(@opaque) in a coroutine and turn the event loop until it returns.
 * The loop is that of the thread's default GMainContext, whose other sources
 * are served as well. Called outside coroutines. Coroutines that @func started
 * and that have not returned by then keep their place; the caller sees to it
 * that there are none.
 */
void event_loop_run(CoroutineFunc *func, void *opaque);

/* Start @func(@opaque) as a new coroutine; it first runs from the loop. */
void event_loop_start(CoroutineFunc *func, void *opaque);

/*
 * Let @co go on, from the loop. Called in the thread of the loop; @co is in
 * coroutine_yield() or about to be, and is woken once for each yield.
 */
void event_loop_wake(Coroutine *co);

/* Let everything else have its turn, requests be submitted, then go on. */
void coroutine_fn event_loop_yield(void);

/*
 * Wait until @fd is ready for @condition (G_IO_IN or G_IO_OUT; errors and
 * hang-up count as ready). @timeout_ms: -1 waits for ever. Yields.
 * Returns true when ready, false when the time is over.
 */
bool coroutine_fn event_loop_wait_fd(int fd, GIOCondition condition,
                                     int timeout_ms);

/* Wait for @ms milliseconds. Yields. */
void coroutine_fn event_loop_sleep(int ms);

/*
 * Waiting for a change that another coroutine makes. The waiter tests its
 * condition in a loop around coroutine_queue_wait(), as with a condition
 * variable. Zero-initialised is empty; nothing to free.
 */
typedef struct CoroutineQueue {
    GQueue waiters;
} CoroutineQueue;

void coroutine_fn coroutine_queue_wait(CoroutineQueue *queue);
void coroutine_queue_wake_all(CoroutineQueue *queue);

/* Mutual exclusion across yields. Zero-initialised is unlocked. */
typedef struct CoroutineMutex {
    bool locked;
    CoroutineQueue queue;
} CoroutineMutex;

void coroutine_fn coroutine_mutex_lock(CoroutineMutex *mutex);
void coroutine_mutex_unlock(CoroutineMutex *mutex);

#endif /* EVENT_LOOP_H */
