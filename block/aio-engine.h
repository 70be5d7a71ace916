/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * How reads and writes of a host file reach the kernel without stopping the
 * event loop. An engine does single transfers, which may end short;
 * aio_engine_preadv() and _pwritev() make whole requests of them. Another
 * engine is one more constructor here and one more implementation of the ops.
 */
#ifndef AIO_ENGINE_H
#define AIO_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "coroutine.h"
#include "thread-pool.h"

typedef struct AioEngine AioEngine;

typedef struct AioTransfer {
    bool is_write;
    int64_t offset;
    const struct iovec *iov; /* stays valid until the transfer is over */
    int iovcnt;              /* at most IOV_MAX */
} AioTransfer;

typedef struct AioEngineOps {
    /*
     * Submit one transfer and wait for its end. Returns the bytes transferred,
     * possibly fewer than asked for (0: a read at the end of the file), or a
     * negative errno. Any number of coroutines may be in here.
     */
    ssize_t coroutine_fn (*transfer)(AioEngine *engine,
                                     const AioTransfer *transfer);
    /* See the wrappers below. Both are there, or neither. */
    int (*register_buffers)(AioEngine *engine, void *memory, size_t bytes);
    void (*unregister_buffers)(AioEngine *engine);
    /* Nothing is in flight. */
    void (*close)(AioEngine *engine);
} AioEngineOps;

/* An engine embeds this as its first member. */
struct AioEngine {
    const AioEngineOps *ops;
    int fd; /* the caller's; closed after the engine */
};

/*
 * Linux native AIO (libaio) on @fd, which should be O_DIRECT: anything else
 * would be done while submitting. Returns 0 and *@engine, or a negative errno:
 * -EAGAIN when fs.aio-max-nr is used up.
 */
int aio_native_new(int fd, AioEngine **engine);

/*
 * io_uring on @fd, O_DIRECT or not. The ring may keep the file open for a
 * moment after the engine was closed. Returns 0 and *@engine, or a negative
 * errno: -ENOSYS or -EPERM where the kernel has no io_uring or forbids it,
 * -ENOMEM when RLIMIT_MEMLOCK is too low for an old kernel.
 */
int aio_uring_new(int fd, AioEngine **engine);

/*
 * preadv() and pwritev() in the threads of @pool, which outlives the engine.
 * @uses_cache: @fd is not O_DIRECT.
 */
AioEngine *aio_threads_new(int fd, bool uses_cache, ThreadPool *pool);

/* NULL is allowed. */
void aio_engine_close(AioEngine *engine);

/*
 * Tell the engine that many transfers will use this memory, whose pages stay
 * what they are until it is unregistered or the engine closed. One region at a
 * time. Returns 0, -ENOTSUP when the engine has no use for it, or another
 * negative errno: -ENOMEM when RLIMIT_MEMLOCK is too low, -E2BIG above 1 GiB.
 * Without success transfers work as before.
 */
int aio_engine_register_buffers(AioEngine *engine, void *memory, size_t bytes);

/*
 * Nothing is in flight. Allowed after a registration
 * that did not succeed.
 */
void aio_engine_unregister_buffers(AioEngine *engine);

/*
 * Transfer the whole vector, going on after short transfers. @alignment is
 * that of the file: the request is aligned, and so is every transfer made for
 * it. What lies behind the end of the file is read as zeros. Yields. Returns 0
 * or a negative errno; a write that gets nowhere is -EIO.
 */
int coroutine_fn aio_engine_preadv(AioEngine *engine, size_t alignment,
                                   int64_t offset, const struct iovec *iov,
                                   int iovcnt);
int coroutine_fn aio_engine_pwritev(AioEngine *engine, size_t alignment,
                                    int64_t offset, const struct iovec *iov,
                                    int iovcnt);

#endif /* AIO_ENGINE_H */
