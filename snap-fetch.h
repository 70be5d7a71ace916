/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Pieces of a stream that lie apart, read at once.
 */
#ifndef SNAP_FETCH_H
#define SNAP_FETCH_H

#include "snap-pages.h"

/* In flight for one caller, of whom there may be as many as buffers. */
#define SNAP_FETCH_MAX 8

typedef struct SnapFetch {
    uint64_t position;
    uint8_t *to;
    size_t bytes;
} SnapFetch;

/*
 * Read all @count (at most SNAP_FETCH_MAX) of @fetches. Nothing is in flight
 * when this returns. Yields. Returns false and fills @errp with the first
 * failure.
 */
bool coroutine_fn snap_fetch_all(const SnapSource *source,
                                 const SnapFetch *fetches, unsigned count,
                                 GError **errp);

#endif /* SNAP_FETCH_H */
