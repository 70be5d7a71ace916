/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Coroutines that wait for one another. A waiter's place in the queue lies on
 * its own stack, which stays put while it waits: waiting allocates nothing.
 */
#include "event-loop.h"

void coroutine_fn coroutine_queue_wait(CoroutineQueue *queue)
{
    GList place = { .data = coroutine_self() };

    g_queue_push_tail_link(&queue->waiters, &place);
    coroutine_yield();
}

static void coroutine_queue_wake_first(CoroutineQueue *queue)
{
    event_loop_wake(g_queue_pop_head_link(&queue->waiters)->data);
}

void coroutine_queue_wake_all(CoroutineQueue *queue)
{
    while (!g_queue_is_empty(&queue->waiters)) {
        coroutine_queue_wake_first(queue);
    }
}

void coroutine_fn coroutine_mutex_lock(CoroutineMutex *mutex)
{
    g_assert(coroutine_self());
    if (mutex->locked) {
        /* Handed over by coroutine_mutex_unlock(). */
        coroutine_queue_wait(&mutex->queue);
        g_assert(mutex->locked);
        return;
    }
    mutex->locked = true;
}

/*
 * With somebody waiting the mutex stays locked and is the first waiter's, so
 * that no third one can slip in before the waiter has run.
 */
void coroutine_mutex_unlock(CoroutineMutex *mutex)
{
    g_assert(mutex->locked);
    if (g_queue_is_empty(&mutex->queue.waiters)) {
        mutex->locked = false;
    } else {
        coroutine_queue_wake_first(&mutex->queue);
    }
}
