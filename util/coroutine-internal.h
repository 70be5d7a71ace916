/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the event loop alone knows about a coroutine: that its turn is coming.
 */
#ifndef COROUTINE_INTERNAL_H
#define COROUTINE_INTERNAL_H

#include "coroutine.h"

/*
 * @co is in a queue from now until it is entered. Aborts when it already is:
 * a second wake-up would enter a coroutine that waits for something else, or
 * one that is gone.
 */
void coroutine_mark_woken(Coroutine *co);

#endif /* COROUTINE_INTERNAL_H */
