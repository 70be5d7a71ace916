/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The AioBufferPool ring and the pumps on top of it.
 *
 * A buffer is in one of four places: free, lent to the user, in flight, or
 * done and waiting for its turn. Invariants:
 *   1. The four add up to the depth.
 *   2. A buffer counts as in flight before its function is started, because a
 *      function may be done before starting it returns.
 *   3. After the first failure nothing is lent out any more: the user finds
 *      NULL, stops, drains, and gets that first failure. What was in flight is
 *      always waited for, because the device still writes to its memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "event-loop.h"
#include "snap-error.h"
#include "snap-io.h"

typedef struct AioTask {
    AioBuffer buffer; /* first: the user's view */
    AioBufferPool *pool;
    AioBufferFunc *func;
    void *opaque;
    bool in_order;
    bool done; /* in order only: may be handed on */
} AioTask;

struct AioBufferPool {
    /* Constant after _new(). */
    size_t buffer_bytes;
    unsigned depth;
    uint8_t *memory;
    AioTask *tasks;

    GQueue free;    /* of AioTask */
    GQueue ordered; /* of AioTask: started in order, not yet handed on */
    unsigned in_flight;
    GError *error;          /* the first failure */
    CoroutineQueue changed; /* somebody waits for any of the above */
};

AioBufferPool *aio_buffer_pool_new(size_t buffer_bytes, unsigned depth,
                                   GError **errp)
{
    AioBufferPool *pool = g_new0(AioBufferPool, 1);
    uint8_t *memory = mmap(NULL, buffer_bytes * depth, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned i;

    if (memory == MAP_FAILED) {
        snap_error_set_errno(errp, -errno, "%u buffers of %zu bytes", depth,
                             buffer_bytes);
        g_free(pool);
        return NULL;
    }
    pool->buffer_bytes = buffer_bytes;
    pool->depth = depth;
    pool->memory = memory;
    pool->tasks = g_new0(AioTask, depth);
    for (i = 0; i < depth; i++) {
        pool->tasks[i].buffer.data = memory + i * buffer_bytes;
        pool->tasks[i].pool = pool;
        g_queue_push_tail(&pool->free, &pool->tasks[i]);
    }
    return pool;
}

void aio_buffer_pool_free(AioBufferPool *pool)
{
    if (!pool) {
        return;
    }
    g_assert(pool->in_flight == 0);
    g_assert(pool->free.length == pool->depth);
    munmap(pool->memory, pool->buffer_bytes * pool->depth);
    g_queue_clear(&pool->free);
    g_clear_error(&pool->error);
    g_free(pool->tasks);
    g_free(pool);
}

AioBuffer *aio_buffer_pool_try_get(AioBufferPool *pool)
{
    AioTask *task = pool->error ? NULL : g_queue_pop_head(&pool->free);

    return task ? &task->buffer : NULL;
}

AioBuffer *coroutine_fn aio_buffer_pool_get(AioBufferPool *pool)
{
    while (!pool->error && g_queue_is_empty(&pool->free)) {
        coroutine_queue_wait(&pool->changed);
    }
    return aio_buffer_pool_try_get(pool);
}

void aio_buffer_pool_put(AioBufferPool *pool, AioBuffer *buffer)
{
    g_assert(pool->free.length < pool->depth);
    /* The buffer used last is the one that the cache still knows. */
    g_queue_push_head(&pool->free, buffer);
    coroutine_queue_wake_all(&pool->changed);
}

bool aio_buffer_pool_fail(AioBufferPool *pool, GError *error)
{
    bool first = !pool->error;

    if (first) {
        pool->error = error;
    } else {
        g_error_free(error);
    }
    coroutine_queue_wake_all(&pool->changed);
    return first;
}

static void coroutine_fn aio_task_entry(void *opaque)
{
    AioTask *task = opaque;
    AioBufferPool *pool = task->pool;
    GError *error = NULL;

    if (!task->func(&task->buffer, task->opaque, &error)) {
        aio_buffer_pool_fail(pool, error);
    }
    pool->in_flight--;
    if (task->in_order) {
        task->done = true;
        coroutine_queue_wake_all(&pool->changed);
    } else {
        aio_buffer_pool_put(pool, &task->buffer);
    }
}

static void start(AioBufferPool *pool, AioBuffer *buffer, AioBufferFunc *func,
                  void *opaque, bool in_order)
{
    AioTask *task = (AioTask *)buffer;

    task->func = func;
    task->opaque = opaque;
    task->in_order = in_order;
    task->done = false;
    pool->in_flight++;
    g_assert(pool->in_flight <= pool->depth);
    event_loop_start(aio_task_entry, task);
}

void aio_buffer_pool_start(AioBufferPool *pool, AioBuffer *buffer,
                           AioBufferFunc *func, void *opaque)
{
    start(pool, buffer, func, opaque, false);
}

void aio_buffer_pool_start_in_order(AioBufferPool *pool, AioBuffer *buffer,
                                    AioBufferFunc *func, void *opaque)
{
    g_queue_push_tail(&pool->ordered, buffer);
    start(pool, buffer, func, opaque, true);
}

AioBuffer *coroutine_fn aio_buffer_pool_next(AioBufferPool *pool)
{
    AioTask *oldest = g_queue_peek_head(&pool->ordered);

    g_assert(oldest);
    while (!pool->error && !oldest->done) {
        coroutine_queue_wait(&pool->changed);
    }
    if (pool->error) {
        return NULL;
    }
    g_queue_pop_head(&pool->ordered);
    return &oldest->buffer;
}

bool coroutine_fn aio_buffer_pool_drain(AioBufferPool *pool, GError **errp)
{
    AioTask *task;

    while (pool->in_flight > 0) {
        coroutine_queue_wait(&pool->changed);
    }
    /* Nobody will ask for these any more. */
    while ((task = g_queue_pop_head(&pool->ordered))) {
        aio_buffer_pool_put(pool, &task->buffer);
    }
    if (pool->error) {
        g_propagate_error(errp, g_steal_pointer(&pool->error));
        return false;
    }
    return true;
}

/* Longer than a source that has more to say is ever silent in its last part. */
#define SILENCE_MS 1000

typedef struct PumpIn {
    const SnapInlet *inlet;
    PipeEnd *from;
} PumpIn;

static bool coroutine_fn store_buffer(AioBuffer *buffer, void *opaque,
                                      GError **errp)
{
    const PumpIn *pump = opaque;
    const SnapInlet *inlet = pump->inlet;
    size_t padded = (buffer->bytes + inlet->unit - 1) & ~(inlet->unit - 1);

    memset(buffer->data + buffer->bytes, 0, padded - buffer->bytes);
    if (!inlet->store(inlet->opaque, buffer->position, buffer->data, padded,
                      errp)) {
        /* The pump may be waiting for a source that has nothing to say. */
        pipe_end_cancel(pump->from);
        return false;
    }
    return true;
}

/*
 * Fill @buffer, unless the stream ends before: *@end. The bytes are looked at
 * as they come, since their source may wait for an answer to the last ones.
 */
static bool coroutine_fn fill_buffer(AioBufferPool *pool, PipeEnd *from,
                                     const SnapInlet *inlet, AioBuffer *buffer,
                                     bool *end, GError **errp)
{
    buffer->bytes = 0;
    while (!*end && buffer->bytes < pool->buffer_bytes) {
        uint8_t *to = buffer->data + buffer->bytes;
        ssize_t got;

        if (inlet->may_end && inlet->may_end(inlet->opaque) &&
            !pipe_end_wait_readable(from, SILENCE_MS)) {
            *end = true;
            break;
        }
        got = pipe_end_read(from, to, pool->buffer_bytes - buffer->bytes);
        if (got < 0) {
            snap_error_set_errno(errp, got,
                                 "cannot read the stream at %" PRIu64,
                                 buffer->position + buffer->bytes);
            return false;
        }
        if (got == 0) {
            *end = true;
        } else if (!inlet->take(inlet->opaque, to, got, end, errp)) {
            return false;
        }
        buffer->bytes += got;
    }
    return inlet->reserve(inlet->opaque, buffer->position + buffer->bytes,
                          errp);
}

bool coroutine_fn snap_pump_in(AioBufferPool *pool, PipeEnd *from,
                               const SnapInlet *inlet, uint64_t *bytes,
                               GError **errp)
{
    PumpIn pump = { .inlet = inlet, .from = from };
    AioBuffer *buffer;
    bool end = false;

    *bytes = 0;
    while (!end && (buffer = aio_buffer_pool_get(pool))) {
        GError *error = NULL;

        buffer->position = *bytes;
        if (!fill_buffer(pool, from, inlet, buffer, &end, &error)) {
            aio_buffer_pool_put(pool, buffer);
            aio_buffer_pool_fail(pool, error);
            break;
        }
        *bytes += buffer->bytes;
        aio_buffer_pool_start(pool, buffer, store_buffer, &pump);
    }
    return aio_buffer_pool_drain(pool, errp);
}

static bool coroutine_fn fetch_buffer(AioBuffer *buffer, void *opaque,
                                      GError **errp)
{
    const SnapOutlet *outlet = opaque;

    return outlet->fetch(outlet->opaque, buffer->position, buffer->data,
                         buffer->bytes, errp);
}

/*
 * Keep all free buffers reading ahead from *@position on. Returns whether any
 * was started.
 */
static bool read_ahead(AioBufferPool *pool, uint64_t *position, uint64_t end,
                       const SnapOutlet *outlet)
{
    AioBuffer *buffer;
    bool started = false;

    while (*position < end && (buffer = aio_buffer_pool_try_get(pool))) {
        buffer->position = *position;
        buffer->bytes = MIN(pool->buffer_bytes, end - *position);
        *position += buffer->bytes;
        aio_buffer_pool_start_in_order(pool, buffer, fetch_buffer,
                                       (void *)outlet);
        started = true;
    }
    return started;
}

static SnapPumpResult coroutine_fn hand_on(const AioBuffer *buffer,
                                           const SnapOutlet *outlet,
                                           PipeEnd *to, GError **errp)
{
    size_t written = buffer->bytes;
    int ret = 0;

    if (to) {
        ret = pipe_end_write(to, buffer->data, buffer->bytes, &written);
    }
    outlet->passed(outlet->opaque, buffer->data, written);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot write the stream at %" PRIu64,
                             buffer->position + written);
    }
    if (ret == -EPIPE || ret == -ECONNRESET) {
        return SNAP_PUMP_READER_GONE;
    }
    return ret < 0 ? SNAP_PUMP_FAILED : SNAP_PUMP_DONE;
}

SnapPumpResult coroutine_fn snap_pump_out(AioBufferPool *pool, uint64_t bytes,
                                          const SnapOutlet *outlet, PipeEnd *to,
                                          GError **errp)
{
    SnapPumpResult result = SNAP_PUMP_DONE;
    uint64_t read_to = 0;
    uint64_t done = 0;

    while (done < bytes && result == SNAP_PUMP_DONE) {
        AioBuffer *buffer;
        GError *error = NULL;

        /*
         * Let the new requests go out before anything else is done: where the
         * stream never makes us wait, nothing else would.
         */
        if (read_ahead(pool, &read_to, bytes, outlet)) {
            event_loop_yield();
        }
        buffer = aio_buffer_pool_next(pool);
        if (!buffer) {
            result = SNAP_PUMP_FAILED;
            break;
        }
        done += buffer->bytes;
        if (done == bytes && outlet->before_last) {
            outlet->before_last(outlet->opaque);
        }
        result = hand_on(buffer, outlet, to, &error);
        aio_buffer_pool_put(pool, buffer);
        if (error && !aio_buffer_pool_fail(pool, error)) {
            /* A read had failed before. */
            result = SNAP_PUMP_FAILED;
        }
    }
    if (!aio_buffer_pool_drain(pool, errp) && result == SNAP_PUMP_DONE) {
        result = SNAP_PUMP_FAILED;
    }
    return result;
}
