/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The engine that works everywhere: preadv() and pwritev() in worker threads.
 *
 * A short read of what is in the page cache is tried at once, without a
 * thread: the metadata of an image is read in many small pieces, and handing
 * one over takes longer than copying it. Long ones are handed over all the
 * same, since copying them would hold up the event loop. So are those of a
 * file that bypasses the cache: the device is slower than any thread.
 */
#include <errno.h>
#include <glib.h>

#include "aio-engine.h"
#include "io-vector.h"

#define AIO_THREADS_INLINE_MAX (64 * 1024)

typedef struct AioThreads {
    AioEngine engine;
    ThreadPool *pool; /* not owned */
    bool tries_cache; /* RWF_NOWAIT makes sense and has not been refused */
} AioThreads;

typedef struct AioThreadsCall {
    int fd;
    const AioTransfer *transfer;
} AioThreadsCall;

static int64_t aio_threads_work(void *opaque)
{
    const AioThreadsCall *call = opaque;
    const AioTransfer *transfer = call->transfer;
    ssize_t done;

    do {
        if (transfer->is_write) {
            done = pwritev(call->fd, transfer->iov, transfer->iovcnt,
                           transfer->offset);
        } else {
            done = preadv(call->fd, transfer->iov, transfer->iovcnt,
                          transfer->offset);
        }
    } while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

/* Returns the bytes read, or -EAGAIN when a thread has to do it. */
static ssize_t aio_threads_read_cached(AioThreads *threads,
                                       const AioTransfer *transfer)
{
    ssize_t done;

    if (!threads->tries_cache ||
        io_vector_bytes(transfer->iov, transfer->iovcnt) >
            AIO_THREADS_INLINE_MAX) {
        return -EAGAIN;
    }
    done = preadv2(threads->engine.fd, transfer->iov, transfer->iovcnt,
                   transfer->offset, RWF_NOWAIT);
    if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        threads->tries_cache = false;
    }
    /* Whatever else is wrong, the thread will see it as well. */
    return done < 0 ? -EAGAIN : done;
}

static ssize_t coroutine_fn aio_threads_transfer(AioEngine *engine,
                                                 const AioTransfer *transfer)
{
    AioThreads *threads = (AioThreads *)engine;
    AioThreadsCall call = { .fd = engine->fd, .transfer = transfer };

    if (!transfer->is_write) {
        ssize_t done = aio_threads_read_cached(threads, transfer);

        if (done != -EAGAIN) {
            return done;
        }
    }
    return thread_pool_run(threads->pool, aio_threads_work, &call);
}

static void aio_threads_close(AioEngine *engine)
{
    g_free(engine);
}

static const AioEngineOps aio_threads_ops = {
    .transfer = aio_threads_transfer,
    .close = aio_threads_close,
};

AioEngine *aio_threads_new(int fd, bool uses_cache, ThreadPool *pool)
{
    AioThreads *threads = g_new0(AioThreads, 1);

    threads->engine.ops = &aio_threads_ops;
    threads->engine.fd = fd;
    threads->pool = pool;
    threads->tries_cache = uses_cache;
    return &threads->engine;
}
