/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The pumps between a pipe and the ring of buffers.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "event-loop.h"
#include "snap-error.h"
#include "snap-io.h"

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
 * Read once into the rest of @buffer; *@end when the stream is over. The bytes
 * are looked at as they come, since their source may wait for an answer to the
 * last ones.
 */
static bool coroutine_fn fill_some(PipeEnd *from, const SnapInlet *inlet,
                                   AioBuffer *buffer, size_t size, bool *end,
                                   GError **errp)
{
    uint8_t *to = buffer->data + buffer->bytes;
    ssize_t got;

    if (inlet->may_end && inlet->may_end(inlet->opaque) &&
        !pipe_end_wait_readable(from, SILENCE_MS)) {
        *end = true;
        return true;
    }
    got = pipe_end_read(from, to, size - buffer->bytes);
    if (got < 0) {
        snap_error_set_errno(errp, got, "cannot read the stream at %" PRIu64,
                             buffer->position + buffer->bytes);
        return false;
    }
    if (got == 0) {
        *end = true;
    } else if (!inlet->take(inlet->opaque, to, got, end, errp)) {
        return false;
    }
    buffer->bytes += got;
    return true;
}

/*
 * Fill @buffer, unless the stream ends before: *@end. What is taken out of it
 * is made up for: only the last piece of a stream may be short.
 */
static bool coroutine_fn fill_buffer(AioBufferPool *pool, PipeEnd *from,
                                     const SnapInlet *inlet, AioBuffer *buffer,
                                     bool *end, GError **errp)
{
    size_t size = aio_buffer_pool_buffer_bytes(pool);

    buffer->bytes = 0;
    while (!*end && buffer->bytes < size) {
        if (!fill_some(from, inlet, buffer, size, end, errp)) {
            return false;
        }
        if (inlet->amend && (*end || buffer->bytes == size)) {
            buffer->bytes = inlet->amend(inlet->opaque, buffer->position,
                                         buffer->data, buffer->bytes);
        }
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
        if (inlet->settled) {
            inlet->settled(inlet->opaque, buffer->data, buffer->bytes);
        }
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
    size_t size = aio_buffer_pool_buffer_bytes(pool);
    AioBuffer *buffer;
    bool started = false;

    while (*position < end && (buffer = aio_buffer_pool_try_get(pool))) {
        buffer->position = *position;
        buffer->bytes = MIN(size, end - *position);
        *position += buffer->bytes;
        aio_buffer_pool_start_in_order(pool, buffer, fetch_buffer,
                                       (void *)outlet);
        started = true;
    }
    return started;
}

/*
 * Where it is possible the memory itself goes into the pipe: that is cheaper
 * than a copy, for us and for the reader. Nobody knows for how long somebody
 * behind the pipe reads it (`pv' and others pass pages on), so it is not used
 * again: the buffer gets fresh pages.
 */
static SnapPumpResult coroutine_fn hand_on(AioBufferPool *pool,
                                           AioBuffer *buffer,
                                           const SnapOutlet *outlet,
                                           PipeEnd *to, GError **errp)
{
    bool give = to && pipe_end_can_give(to) && aio_buffer_pool_can_renew(pool);
    size_t written = buffer->bytes;
    int ret = 0;

    if (give) {
        ret = pipe_end_give(to, buffer->data, buffer->bytes, &written);
    } else if (to) {
        ret = pipe_end_write(to, buffer->data, buffer->bytes, &written);
    }
    outlet->passed(outlet->opaque, buffer->data, written);
    if (give) {
        aio_buffer_pool_renew(pool, buffer);
    }
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
        if (done == bytes && outlet->before_last &&
            !outlet->before_last(outlet->opaque, &error)) {
            result = SNAP_PUMP_FAILED;
        } else {
            result = hand_on(pool, buffer, outlet, to, &error);
        }
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
