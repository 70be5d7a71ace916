/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The eventfd as a GSource. It does not block, and it counts: reading it takes
 * back all signals at once.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <glib.h>

#include "event-notifier.h"

struct EventNotifier {
    GSource source;
    int fd;
    void *fd_tag;
    const EventNotifierCallbacks *callbacks;
    void *opaque;
};

static gboolean event_notifier_prepare(GSource *source, int *timeout)
{
    EventNotifier *notifier = (EventNotifier *)source;

    *timeout = -1;
    return notifier->callbacks->prepare &&
           notifier->callbacks->prepare(notifier->opaque);
}

static gboolean event_notifier_check(GSource *source)
{
    EventNotifier *notifier = (EventNotifier *)source;

    return g_source_query_unix_fd(source, notifier->fd_tag) & G_IO_IN;
}

static gboolean event_notifier_dispatch(GSource *source, GSourceFunc callback,
                                        void *opaque)
{
    EventNotifier *notifier = (EventNotifier *)source;
    eventfd_t signals;

    /*
     * Reset first, look second: what is signalled between the two is found
     * now or, by its signal, in the next turn. Without a signal this is
     * EAGAIN.
     */
    eventfd_read(notifier->fd, &signals);
    notifier->callbacks->notified(notifier->opaque);
    return G_SOURCE_CONTINUE;
}

static void event_notifier_finalize(GSource *source)
{
    close(((EventNotifier *)source)->fd);
}

static GSourceFuncs event_notifier_funcs = {
    .prepare = event_notifier_prepare,
    .check = event_notifier_check,
    .dispatch = event_notifier_dispatch,
    .finalize = event_notifier_finalize,
};

int event_notifier_new(const EventNotifierCallbacks *callbacks, void *opaque,
                       EventNotifier **notifier)
{
    g_autoptr(GMainContext) context = g_main_context_ref_thread_default();
    EventNotifier *made;
    GSource *source;
    int fd;

    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    source = g_source_new(&event_notifier_funcs, sizeof(EventNotifier));
    made = (EventNotifier *)source;
    made->fd = fd;
    made->fd_tag = g_source_add_unix_fd(source, fd, G_IO_IN);
    made->callbacks = callbacks;
    made->opaque = opaque;
    /*
     * Nobody turns the loop in here. Saying so saves a system call: GLib would
     * take the descriptor out of its poll and put it back for each dispatch.
     */
    g_source_set_can_recurse(source, TRUE);
    g_source_attach(source, context);
    *notifier = made;
    return 0;
}

int event_notifier_fd(const EventNotifier *notifier)
{
    return notifier->fd;
}

void event_notifier_signal(EventNotifier *notifier)
{
    /* Fails only when 2^64 signals are waiting, and then nothing is lost. */
    eventfd_write(notifier->fd, 1);
}

void event_notifier_free(EventNotifier *notifier)
{
    g_source_destroy(&notifier->source);
    g_source_unref(&notifier->source);
}
