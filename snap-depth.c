/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-depth.h. The rate of one depth is measured over a window that is
 * long enough for the device to have served each place of the ring several
 * times, and for the clock and the scheduler not to matter.
 */
#include <glib.h>

#include "snap-depth.h"

#define WINDOW_TURNS 8           /* of the ring */
#define WINDOW_US    (50 * 1000) /* at least */
#define WORTH_IT     1.05        /* less gain than this is noise */

SnapDepth snap_depth_init(unsigned start, unsigned most)
{
    g_assert(start >= 1 && start <= most);
    return (SnapDepth){
        .now = start,
        .most = most,
        .settled = start == most,
        .before = start,
    };
}

static void begin_window(SnapDepth *depth, int64_t now_us)
{
    depth->began = now_us;
    depth->bytes = 0;
    depth->requests = 0;
    depth->waited = 0;
}

/* The window at this depth is over; it moved @rate bytes per microsecond. */
static void decide(SnapDepth *depth, double rate)
{
    if (depth->waited * 2 < depth->requests) {
        /* Something else is the limit. What was measured says nothing. */
        depth->before_rate = 0;
        return;
    }
    if (depth->before_rate > 0 && rate < depth->before_rate * WORTH_IT) {
        depth->now = depth->before;
        depth->settled = true;
        return;
    }
    depth->before = depth->now;
    depth->before_rate = rate;
    depth->now = MIN(depth->now * 2, depth->most);
    depth->settled = depth->now == depth->before;
}

void snap_depth_note(SnapDepth *depth, uint64_t bytes, bool waited,
                     int64_t now_us)
{
    int64_t elapsed = now_us - depth->began;

    if (depth->settled) {
        return;
    }
    if (depth->requests >= WINDOW_TURNS * depth->now && elapsed >= WINDOW_US) {
        decide(depth, (double)depth->bytes / elapsed);
        begin_window(depth, now_us);
    } else if (depth->requests == 0) {
        begin_window(depth, now_us);
    }
    depth->bytes += bytes;
    depth->requests++;
    depth->waited += waited;
}
