/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * How many requests to keep in flight. A disk in the machine has its full rate
 * with a few, storage behind a network needs many to hide its latency, and
 * more than needed only costs memory. So the depth starts small and is doubled
 * for as long as the device is what everybody waits for and doubling makes the
 * transfer faster.
 */
#ifndef SNAP_DEPTH_H
#define SNAP_DEPTH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct SnapDepth {
    unsigned now;  /* requests that may be in flight */
    unsigned most; /* constant */

    bool settled;       /* more would not help: `now' stays */
    unsigned before;    /* the last depth that was tried... */
    double before_rate; /* ...and its bytes per microsecond; 0: none was */
    int64_t began;      /* the window of measurement, microseconds */
    uint64_t bytes;     /* in the window */
    unsigned requests;  /* likewise */
    unsigned waited;    /* requests of these that had to wait */
} SnapDepth;

/* @start equal to @most is a depth that never changes. */
SnapDepth snap_depth_init(unsigned start, unsigned most);

/*
 * One more request of @bytes is being started at @now_us (any clock that only
 * goes forward). @waited: not before the device had finished another one, so
 * the device is the limit. May change `now'; requests in flight may then be
 * more than it for a while.
 */
void snap_depth_note(SnapDepth *depth, uint64_t bytes, bool waited,
                     int64_t now_us);

#endif /* SNAP_DEPTH_H */
