/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A ring of buffers with many requests in flight. It lends buffers, runs a
 * function on each in a coroutine of its own, and hands the results on in
 * order where that is wanted.
 */
#ifndef SNAP_BUFFERS_H
#define SNAP_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#include "coroutine.h"

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
 * Buffers of @buffer_bytes (a multiple of the page size) each: @start of them
 * may be in use at first, and up to @most when that makes the transfer faster
 * (snap-depth.h). Returns NULL and fills @errp when there is no memory.
 */
AioBufferPool *aio_buffer_pool_new(size_t buffer_bytes, unsigned start,
                                   unsigned most, GError **errp);

/* Of one buffer. */
size_t aio_buffer_pool_buffer_bytes(const AioBufferPool *pool);

/* How many buffers may be in use now. */
unsigned aio_buffer_pool_depth(const AioBufferPool *pool);

/*
 * The memory of the buffers, in one piece. Those that are used first, and most,
 * come first.
 */
void *aio_buffer_pool_memory(const AioBufferPool *pool);

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
 * Huge pages: memory that costs little to replace, because one fault brings
 * SNAP_HUGE_BYTES of it. Only with buffers of that size.
 */
#define SNAP_HUGE_BYTES ((size_t)2 * 1024 * 1024)

/*
 * May the pages of a buffer be given away, to be replaced by fresh ones? Not
 * when the buffers are not made of huge pages, as far as that can be seen.
 */
bool aio_buffer_pool_can_renew(AioBufferPool *pool);

/*
 * Part with the pages of @buffer, which somebody else may still be reading,
 * and have fresh ones from now on. Its content is lost to us.
 */
void aio_buffer_pool_renew(AioBufferPool *pool, AioBuffer *buffer);

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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AioBufferPool, aio_buffer_pool_free)

#endif /* SNAP_BUFFERS_H */
