/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Whole requests out of transfers that may end short. The kernel ends one
 * short at the end of the file or device, when a disk gets full, at about
 * 2 GiB, and, on some file systems, when it likes to.
 */
#include <errno.h>
#include <limits.h>
#include <glib.h>

#include "aio-engine.h"
#include "checked.h"
#include "io-vector.h"

/* The part of a request that is still to be transferred. */
typedef struct AioRest {
    AioTransfer transfer; /* the next one; .iov is @copy's once that is there */
    int iovcnt;           /* all of the rest, not limited to IOV_MAX */
    struct iovec *copy;   /* to be cut to size; made by a short transfer */
} AioRest;

static void aio_rest_clear(AioRest *rest)
{
    g_free(rest->copy);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AioRest, aio_rest_clear)

/*
 * A transfer has at most IOV_MAX elements, and the first is not empty: one of
 * nothing but empty elements would look like one that gets nowhere.
 */
static void aio_rest_limit(AioRest *rest)
{
    while (rest->iovcnt > 0 && rest->transfer.iov->iov_len == 0) {
        rest->transfer.iov++;
        rest->iovcnt--;
    }
    rest->transfer.iovcnt = MIN(rest->iovcnt, IOV_MAX);
}

static AioRest aio_rest_init(bool is_write, int64_t offset,
                             const struct iovec *iov, int iovcnt)
{
    AioRest rest = {
        .transfer = { .is_write = is_write, .offset = offset, .iov = iov },
        .iovcnt = iovcnt,
    };

    aio_rest_limit(&rest);
    return rest;
}

static void aio_rest_advance(AioRest *rest, size_t bytes)
{
    struct iovec *iov;

    if (!rest->copy) {
        rest->copy =
            g_memdup2(rest->transfer.iov, rest->iovcnt * sizeof(*rest->copy));
        rest->transfer.iov = rest->copy;
    }
    iov = rest->copy + (rest->transfer.iov - rest->copy);
    io_vector_advance(&iov, &rest->iovcnt, bytes);
    rest->transfer.iov = iov;
    rest->transfer.offset += bytes;
    aio_rest_limit(rest);
}

/*
 * A read that ends within an alignment block has met the end of the file, and
 * so has one that returns nothing. Any other short read is gone on with:
 * asking again at an aligned offset is allowed, and there is no other way to
 * tell the end of the file from a whim.
 */
static bool aio_read_is_at_end(ssize_t done, size_t alignment)
{
    return done == 0 || !is_aligned(done, alignment);
}

int coroutine_fn aio_engine_preadv(AioEngine *engine, size_t alignment,
                                   int64_t offset, const struct iovec *iov,
                                   int iovcnt)
{
    g_auto(AioRest) rest = aio_rest_init(false, offset, iov, iovcnt);

    while (rest.iovcnt > 0) {
        ssize_t done = engine->ops->transfer(engine, &rest.transfer);

        if (done < 0) {
            return done;
        }
        if (aio_read_is_at_end(done, alignment)) {
            io_vector_zero_from(rest.transfer.iov, rest.iovcnt, done);
            break;
        }
        aio_rest_advance(&rest, done);
    }
    return 0;
}

int coroutine_fn aio_engine_pwritev(AioEngine *engine, size_t alignment,
                                    int64_t offset, const struct iovec *iov,
                                    int iovcnt)
{
    g_auto(AioRest) rest = aio_rest_init(true, offset, iov, iovcnt);

    while (rest.iovcnt > 0) {
        ssize_t done = engine->ops->transfer(engine, &rest.transfer);

        if (done < 0) {
            return done;
        }
        /* The block in which it stopped is written once more, whole. */
        done = round_down(done, alignment);
        if (done == 0) {
            return -EIO;
        }
        aio_rest_advance(&rest, done);
    }
    return 0;
}

int aio_engine_register_buffers(AioEngine *engine, void *memory, size_t bytes)
{
    if (!engine->ops->register_buffers) {
        return -ENOTSUP;
    }
    return engine->ops->register_buffers(engine, memory, bytes);
}

void aio_engine_unregister_buffers(AioEngine *engine)
{
    if (engine->ops->unregister_buffers) {
        engine->ops->unregister_buffers(engine);
    }
}

void aio_engine_close(AioEngine *engine)
{
    if (engine) {
        engine->ops->close(engine);
    }
}
