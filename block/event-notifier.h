/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * An eventfd in the event loop: how a worker thread or the kernel says that
 * something is done. Signals that come faster than the loop turns are one.
 */
#ifndef EVENT_NOTIFIER_H
#define EVENT_NOTIFIER_H

#include <stdbool.h>

typedef struct EventNotifier EventNotifier;

typedef struct EventNotifierCallbacks {
    /*
     * Called in each turn of the loop before it may sleep. Returns whether
     * @notified has work to do without any signal. May be NULL.
     */
    bool (*prepare)(void *opaque);
    /* Called from the loop after a signal, and may find nothing to do. */
    void (*notified)(void *opaque);
} EventNotifierCallbacks;

/*
 * In the loop of this thread. Returns 0 and *@notifier, or a negative errno.
 * @callbacks stay the caller's.
 */
int event_notifier_new(const EventNotifierCallbacks *callbacks, void *opaque,
                       EventNotifier **notifier);

/* For whoever signals by other means than event_notifier_signal(). */
int event_notifier_fd(const EventNotifier *notifier);

/* From any thread. */
void event_notifier_signal(EventNotifier *notifier);

/* Nobody may signal any more. */
void event_notifier_free(EventNotifier *notifier);

#endif /* EVENT_NOTIFIER_H */
