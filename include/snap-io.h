/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Streaming: a ring of buffers with many requests in flight, and the two pumps
 * that move a stream between a pipe and numbered positions of a block file.
 * What is stored where is the business of the functions that the pumps are
 * given.
 */
#ifndef SNAP_IO_H
#define SNAP_IO_H

#include "coroutine.h"
#include "pipe-end.h"

typedef struct AioBufferPool AioBufferPool;

/* Lent to whoever got it from the pool. */
typedef struct AioBuffer {
    uint8_t *data;     /* constant; page aligned */
    uint64_t position; /* of the first byte in the stream; the user's */
    size_t bytes;      /* how many are used; the user's */
} AioBuffer;

/* What is done with a buffer while others are in flight too. */
typedef bool coroutine_fn AioBufferFunc(AioBuffer *buffer, void *opaque,
                                        GError **errp);

/*
 * @depth buffers of @buffer_bytes (a multiple of the page size) each. Returns
 * NULL and fills @errp when there is no memory.
 */
AioBufferPool *aio_buffer_pool_new(size_t buffer_bytes, unsigned depth,
                                   GError **errp);

/* All buffers are back and nothing is in flight. NULL is allowed. */
void aio_buffer_pool_free(AioBufferPool *pool);

/*
 * Take a free buffer, or NULL once anything has failed. _get() waits for one;
 * _try_get() returns NULL when there is none.
 */
AioBuffer *coroutine_fn aio_buffer_pool_get(AioBufferPool *pool);
AioBuffer *aio_buffer_pool_try_get(AioBufferPool *pool);
void aio_buffer_pool_put(AioBufferPool *pool, AioBuffer *buffer);

/*
 * Run @func on @buffer in a coroutine of its own. The buffer goes back to the
 * pool by itself when @func is done, in whatever order that happens.
 */
void aio_buffer_pool_start(AioBufferPool *pool, AioBuffer *buffer,
                           AioBufferFunc *func, void *opaque);

/*
 * The same, but the result is handed on by aio_buffer_pool_next(): strictly in
 * the order of starting, whatever the order of completion.
 */
void aio_buffer_pool_start_in_order(AioBufferPool *pool, AioBuffer *buffer,
                                    AioBufferFunc *func, void *opaque);

/*
 * Wait for the oldest buffer that was started in order and take it. NULL once
 * anything has failed. There is one.
 */
AioBuffer *coroutine_fn aio_buffer_pool_next(AioBufferPool *pool);

/*
 * Note a failure of the user's own; the first one counts. Takes @error.
 * Returns whether it is the first.
 */
bool aio_buffer_pool_fail(AioBufferPool *pool, GError *error);

/*
 * Wait until nothing is in flight. Returns false and fills @errp when anything
 * has failed, with the first failure.
 */
bool coroutine_fn aio_buffer_pool_drain(AioBufferPool *pool, GError **errp);

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
    /* Everything has been read; the last bytes go out next. May be NULL. */
    void (*before_last)(void *opaque);
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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AioBufferPool, aio_buffer_pool_free)

#endif /* SNAP_IO_H */
