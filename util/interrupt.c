/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See interrupt.h.
 */
#include <signal.h>
#include <stdbool.h>
#include <glib-unix.h>

#include "interrupt.h"

static const int caught_signals[] = { SIGINT, SIGTERM, SIGHUP };

typedef struct Catch {
    Interrupt *interrupt;
    int signal;
    guint source; /* 0: not caught, because it was ignored */
} Catch;

struct Interrupt {
    InterruptFunc *func;
    void *opaque;
    Catch catches[G_N_ELEMENTS(caught_signals)];
    int signal; /* the first one */
};

static gboolean on_signal(gpointer opaque)
{
    const Catch *caught = opaque;
    Interrupt *interrupt = caught->interrupt;

    if (!interrupt->signal) {
        interrupt->signal = caught->signal;
        interrupt->func(interrupt->opaque);
    }
    return G_SOURCE_CONTINUE;
}

/* By nohup, or by a shell for what it runs in the background. */
static bool is_ignored(int signal_number)
{
    struct sigaction action;

    return sigaction(signal_number, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

Interrupt *interrupt_new(InterruptFunc *func, void *opaque)
{
    Interrupt *interrupt = g_new0(Interrupt, 1);
    unsigned i;

    interrupt->func = func;
    interrupt->opaque = opaque;
    for (i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        Catch *caught = &interrupt->catches[i];

        *caught = (Catch){
            .interrupt = interrupt,
            .signal = caught_signals[i],
        };
        if (!is_ignored(caught->signal)) {
            caught->source =
                g_unix_signal_add(caught->signal, on_signal, caught);
        }
    }
    return interrupt;
}

void interrupt_free(Interrupt *interrupt)
{
    unsigned i;

    if (!interrupt) {
        return;
    }
    for (i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        if (interrupt->catches[i].source) {
            g_source_remove(interrupt->catches[i].source);
        }
    }
    g_free(interrupt);
}

int interrupt_signal(const Interrupt *interrupt)
{
    return interrupt->signal;
}
