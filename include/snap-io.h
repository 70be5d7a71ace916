/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Streaming: the two pumps that move a stream between a pipe and numbered
 * positions of a block file, with many requests in flight.
 * What is stored where is the business of the functions that the pumps are
 * given.
 */
#ifndef SNAP_IO_H
#define SNAP_IO_H

#include "pipe-end.h"
#include "snap-buffers.h"

/* From a pipe to positions; see snap_pump_in(). */
typedef struct SnapInlet {
    /*
     * Look at the next bytes of the stream, in order, as they arrive. *@end is
     * set when no more shall be read, though the pipe has not ended.
     */
    bool coroutine_fn (*take)(void *opaque, const uint8_t *data, size_t bytes,
                              bool *end, GError **errp);
    /*
     * May the stream be over, though the pipe is still open? Then a source that
     * stays silent for a second has ended it. May be NULL.
     */
    bool (*may_end)(void *opaque);
    /*
     * Change a piece that has been looked at, from @position on, before it is
     * stored; returns how many bytes are left of it. What comes later moves up,
     * and a piece that has become shorter is filled up and seen again. May be
     * NULL.
     */
    size_t (*amend)(void *opaque, uint64_t position, uint8_t *data,
                    size_t bytes);
    /* These bytes, in order, are what will be stored. May be NULL. */
    void (*settled)(void *opaque, const uint8_t *data, size_t bytes);
    /* Make room up to position @end. In order, before anything is stored. */
    bool coroutine_fn (*reserve)(void *opaque, uint64_t end, GError **errp);
    /*
     * Store. Many at once, in any order. @bytes is a multiple of `unit', the
     * last piece being padded with zeros.
     */
    bool coroutine_fn (*store)(void *opaque, uint64_t position,
                               const uint8_t *data, size_t bytes,
                               GError **errp);
    size_t unit; /* bytes; a power of two, at most a page */
    void *opaque;
} SnapInlet;

/*
 * Move @from to its end, or to the end that `take' sees, through @pool;
 * *@bytes is how many there were. Returns false and fills @errp at the first
 * failure, when nothing is in flight any more; @from may be cancelled then.
 */
bool coroutine_fn snap_pump_in(AioBufferPool *pool, PipeEnd *from,
                               const SnapInlet *inlet, uint64_t *bytes,
                               GError **errp);

/* From positions to a pipe; see snap_pump_out(). */
typedef struct SnapOutlet {
    /* Read. Many at once, in any order. */
    bool coroutine_fn (*fetch)(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp);
    /*
     * Everything has been read; the last bytes go out next, unless this fails
     * and fills @errp. May be NULL.
     */
    bool coroutine_fn (*before_last)(void *opaque, GError **errp);
    /* These bytes, in order, have been accepted by the pipe. */
    void (*passed)(void *opaque, const uint8_t *data, size_t bytes);
    void *opaque;
} SnapOutlet;

typedef enum SnapPumpResult {
    SNAP_PUMP_DONE,
    SNAP_PUMP_FAILED,
    SNAP_PUMP_READER_GONE, /* the other end of the pipe was closed */
} SnapPumpResult;

/*
 * Move the first @bytes bytes of what `fetch' reads into @to, or only to
 * `passed' when @to is NULL. Fills @errp unless DONE.
 */
SnapPumpResult coroutine_fn snap_pump_out(AioBufferPool *pool, uint64_t bytes,
                                          const SnapOutlet *outlet, PipeEnd *to,
                                          GError **errp);

#endif /* SNAP_IO_H */
