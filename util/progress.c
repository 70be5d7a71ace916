/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See progress.h. Standard error is the only channel that never carries a
 * stream or an answer.
 */
#include <signal.h>
#include <stdio.h>
#include <glib-unix.h>

#include "progress.h"
#include "size.h"

/* Often enough to look alive, seldom enough not to cost anything. */
#define SHOW_INTERVAL_US (G_USEC_PER_SEC / 5)

struct Progress {
    bool shown;     /* constant */
    uint64_t total; /* constant */
    int64_t start_us;
    guint signal_source;

    uint64_t done;
    int64_t shown_us; /* when it was shown last; 0: not yet */
};

static void show(const Progress *progress, char line_end)
{
    int64_t elapsed_us = g_get_monotonic_time() - progress->start_us;

    if (progress->total) {
        fprintf(stderr, "    (%3.2f/100%%)%c",
                100.0 * progress->done / progress->total, line_end);
    } else {
        g_autofree char *done = size_format(progress->done);
        g_autofree char *rate = size_format(
            (uint64_t)(progress->done / (MAX(elapsed_us, 1) / 1e6)));

        fprintf(stderr, "    %s (%s/s)   %c", done, rate, line_end);
    }
    fflush(stderr);
}

static gboolean on_signal(gpointer opaque)
{
    show(opaque, '\n');
    return G_SOURCE_CONTINUE;
}

Progress *progress_new(bool shown, uint64_t total)
{
    Progress *progress = g_new(Progress, 1);

    *progress = (Progress){
        .shown = shown,
        .total = total,
        .start_us = g_get_monotonic_time(),
    };
    progress->signal_source = g_unix_signal_add(SIGUSR1, on_signal, progress);
    return progress;
}

void progress_free(Progress *progress)
{
    if (!progress) {
        return;
    }
    if (progress->shown) {
        show(progress, '\n');
    }
    g_source_remove(progress->signal_source);
    g_free(progress);
}

void progress_advance(Progress *progress, uint64_t bytes)
{
    int64_t now;

    progress->done += bytes;
    if (!progress->shown) {
        return;
    }
    now = g_get_monotonic_time();
    if (now - progress->shown_us >= SHOW_INTERVAL_US) {
        progress->shown_us = now;
        show(progress, '\r');
    }
}
