/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What -T shows: which of several ways was taken, and why. A user who wonders
 * about the speed of a transfer finds the answer here. Silence is the default,
 * and an event that nobody listens to costs a comparison.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <glib.h>

typedef struct Trace Trace;

/*
 * Listen to what @spec names, in the syntax of QEMU's --trace:
 * [[enable=]PATTERN][,file=FILE]. PATTERN has * and ? as a shell has; without
 * one everything is shown. Without a FILE it is shown on standard error.
 * Returns NULL and fills @errp (INVALID, IO).
 */
Trace *trace_new(const char *spec, GError **errp);

/* NULL is allowed. */
void trace_free(Trace *trace);

/*
 * Show one line: the event's @name, which begins with its module's, and the
 * text. Nothing happens when @trace is NULL or does not listen to @name.
 */
void trace_event(Trace *trace, const char *name, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Trace, trace_free)

#endif /* TRACE_H */
