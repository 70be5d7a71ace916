/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * GLib's thread pool, seen from coroutines.
 *
 * A request lies on the stack of the coroutine that waits for it, and moves
 * from `waiting' to a worker to `done' and back to its coroutine; both queues
 * are protected by the lock. What is pushed into GLib's pool is not the
 * request but the hint that one is waiting. So a request can be taken back
 * when no thread can be started, which GLib's pool itself does not allow; a
 * worker that finds nothing for its hint has nothing to do.
 *
 * A worker signals only when `done' was empty: the loop takes all there is
 * after each signal, so whoever comes second is taken along.
 */
#include <errno.h>
#include <glib.h>

#include "event-loop.h"
#include "event-notifier.h"
#include "thread-pool.h"

/* As many as QEMU lets work on one file. */
#define THREAD_POOL_MAX_THREADS 64

struct ThreadPool {
    /* Made together by the first request, constant from then on. */
    GThreadPool *workers;
    EventNotifier *notifier;

    GMutex lock;
    GQueue waiting; /* of ThreadPoolRequest; protected by @lock */
    GQueue done;    /* the same */

    unsigned in_flight; /* used in the thread of the loop only */
};

typedef struct ThreadPoolRequest {
    GList link; /* in @waiting, then in @done */
    ThreadPoolFunc *func;
    void *opaque;
    int64_t result;
    Coroutine *coroutine;
} ThreadPoolRequest;

static void thread_pool_worker(void *hint, void *opaque)
{
    ThreadPool *pool = opaque;
    ThreadPoolRequest *request;
    GList *link;
    bool was_empty;

    g_mutex_lock(&pool->lock);
    link = g_queue_pop_head_link(&pool->waiting);
    g_mutex_unlock(&pool->lock);
    if (!link) {
        return;
    }

    request = link->data;
    request->result = request->func(request->opaque);

    g_mutex_lock(&pool->lock);
    was_empty = g_queue_is_empty(&pool->done);
    g_queue_push_tail_link(&pool->done, link);
    g_mutex_unlock(&pool->lock);
    /*
     * The request may be gone by now, even the last one of its file. The pool
     * is not: thread_pool_free() waits for this function to return.
     */
    if (was_empty) {
        event_notifier_signal(pool->notifier);
    }
}

static void thread_pool_notified(void *opaque)
{
    ThreadPool *pool = opaque;
    GQueue done;
    GList *link;

    g_mutex_lock(&pool->lock);
    done = pool->done;
    g_queue_init(&pool->done);
    g_mutex_unlock(&pool->lock);

    while ((link = g_queue_pop_head_link(&done))) {
        ThreadPoolRequest *request = link->data;

        event_loop_wake(request->coroutine);
    }
}

static const EventNotifierCallbacks thread_pool_callbacks = {
    .notified = thread_pool_notified,
};

ThreadPool *thread_pool_new(void)
{
    ThreadPool *pool = g_new0(ThreadPool, 1);

    g_mutex_init(&pool->lock);
    return pool;
}

static int thread_pool_start(ThreadPool *pool)
{
    int ret;

    if (pool->workers) {
        return 0;
    }
    ret = event_notifier_new(&thread_pool_callbacks, pool, &pool->notifier);
    if (ret < 0) {
        return ret;
    }
    /*
     * Not exclusive: an exclusive pool starts all its threads now. No error is
     * possible for this kind.
     */
    pool->workers = g_thread_pool_new(thread_pool_worker, pool,
                                      THREAD_POOL_MAX_THREADS, FALSE, NULL);
    return 0;
}

/* Returns false when @request has been taken by a worker already. */
static bool thread_pool_take_back(ThreadPool *pool, ThreadPoolRequest *request)
{
    bool found;

    g_mutex_lock(&pool->lock);
    found = g_queue_link_index(&pool->waiting, &request->link) >= 0;
    if (found) {
        g_queue_unlink(&pool->waiting, &request->link);
    }
    g_mutex_unlock(&pool->lock);
    return found;
}

/* Returns false when there is no thread to run @request, now or later. */
static bool thread_pool_push(ThreadPool *pool, ThreadPoolRequest *request)
{
    g_mutex_lock(&pool->lock);
    g_queue_push_tail_link(&pool->waiting, &request->link);
    g_mutex_unlock(&pool->lock);

    /* The hint is a pointer that is not NULL; nobody looks at it. */
    if (g_thread_pool_push(pool->workers, pool, NULL)) {
        return true;
    }
    /* No new thread. One that is there will come to it in the end. */
    return g_thread_pool_get_num_threads(pool->workers) > 0 ||
           !thread_pool_take_back(pool, request);
}

int64_t coroutine_fn thread_pool_run(ThreadPool *pool, ThreadPoolFunc *func,
                                     void *opaque)
{
    ThreadPoolRequest request = {
        .func = func,
        .opaque = opaque,
        .coroutine = coroutine_self(),
    };
    int ret;

    ret = thread_pool_start(pool);
    if (ret < 0) {
        return ret;
    }
    request.link.data = &request;
    pool->in_flight++;
    if (thread_pool_push(pool, &request)) {
        coroutine_yield();
    } else {
        /* Rather stop everything else for a moment than fail. */
        request.result = func(opaque);
    }
    pool->in_flight--;
    return request.result;
}

void thread_pool_free(ThreadPool *pool)
{
    g_assert(pool->in_flight == 0);
    if (pool->workers) {
        /*
         * At once: all that can be left is hints without a request, and with
         * no thread to take them GLib would wait for ever.
         */
        g_thread_pool_free(pool->workers, TRUE, TRUE);
        /* Not before the last worker has signalled. */
        event_notifier_free(pool->notifier);
    }
    g_mutex_clear(&pool->lock);
    g_free(pool);
}
