/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Coroutines: functions that can stop in the middle while I/O is under way,
 * so that many requests are in flight and the code still reads from top to
 * bottom. Only the switching is here; who is woken when is the event loop's
 * business (event-loop.h).
 */
#ifndef COROUTINE_H
#define COROUTINE_H

#include <stdbool.h>

/*
 * Marks a function that may yield. Such a function may be called from another
 * coroutine_fn only, and everything it does not own may have changed when it
 * returns.
 */
#define coroutine_fn

typedef struct Coroutine Coroutine;
typedef void coroutine_fn CoroutineFunc(void *opaque);

/*
 * Make a coroutine that will run @func(@opaque) in this thread, on a stack of
 * 256 KiB. It does not run yet. It frees itself when @func returns; a coroutine
 * that is never entered is a leak.
 */
Coroutine *coroutine_new(CoroutineFunc *func, void *opaque);

/*
 * Run @co until it yields or returns. Called outside coroutines, by the event
 * loop; everyone else wakes (event-loop.h).
 */
void coroutine_enter(Coroutine *co);

/* Stop the running coroutine and go back to whoever entered it. */
void coroutine_fn coroutine_yield(void);

/* The running coroutine, or NULL outside any. */
Coroutine *coroutine_self(void);

#endif /* COROUTINE_H */
