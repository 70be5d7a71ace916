/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The signals that ask a program to stop: caught, so that a half-made snapshot
 * can be taken away, and then obeyed.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <glib.h>

typedef struct Interrupt Interrupt;
typedef void InterruptFunc(void *opaque);

/*
 * Catch SIGINT, SIGTERM and SIGHUP until freed, except those that our caller
 * made us ignore. @func(@opaque) is called from the event loop at the first
 * one.
 */
Interrupt *interrupt_new(InterruptFunc *func, void *opaque);
void interrupt_free(Interrupt *interrupt);

/* The signal that came first; 0: none. */
int interrupt_signal(const Interrupt *interrupt);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Interrupt, interrupt_free)

#endif /* INTERRUPT_H */
