/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * System calls that block, made by worker threads while the coroutine that
 * wants the result waits.
 */
#ifndef THREAD_POOL_H
#define THREAD_POOL_H

#include <stdint.h>

#include "coroutine.h"

typedef struct ThreadPool ThreadPool;

/* Runs in a worker thread. What it returns is thread_pool_run()'s result. */
typedef int64_t ThreadPoolFunc(void *opaque);

/* Starts nothing: the first thread comes with the first call that needs it. */
ThreadPool *thread_pool_new(void);

/*
 * Call @func(@opaque) in a worker. Yields. Returns what @func returned, or a
 * negative errno when it could not be called.
 */
int64_t coroutine_fn thread_pool_run(ThreadPool *pool, ThreadPoolFunc *func,
                                     void *opaque);

/* Nothing may be running. Waits for the threads to be gone. */
void thread_pool_free(ThreadPool *pool);

#endif /* THREAD_POOL_H */
