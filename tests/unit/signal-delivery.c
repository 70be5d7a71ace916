/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See signal-delivery.h. A thread of GLib's tells the listeners one after the
 * other, and the main loop may turn in between: that one of them has heard a
 * signal does not mean that all have.
 */
#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>
#include <glib-unix.h>

#include "signal-delivery.h"

static gboolean note_arrival(void *opaque)
{
    bool *arrived = opaque;

    *arrived = true;
    return G_SOURCE_CONTINUE;
}

/* Send it and turn the loop until it has reached one listener, ours. */
static void send_and_wait(int number)
{
    bool arrived = false;
    guint source = g_unix_signal_add(number, note_arrival, &arrived);

    ck_assert_int_eq(kill(getpid(), number), 0);
    while (!arrived) {
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(source);
}

void signal_deliver(int number)
{
    send_and_wait(number);
    /* The thread is done with one signal before it turns to the next. */
    send_and_wait(SIGUSR2);
}
