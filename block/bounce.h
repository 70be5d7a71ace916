/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Requests that an O_DIRECT file does not take as they are: their offset,
 * length or memory is not aligned. They go through an aligned buffer.
 */
#ifndef BOUNCE_H
#define BOUNCE_H

#include "aio-engine.h"
#include "event-loop.h"

/* As aio_engine_preadv(), for any offset, length and memory. -ENOMEM too. */
int coroutine_fn bounce_preadv(AioEngine *engine, size_t alignment,
                               int64_t offset, const struct iovec *iov,
                               int iovcnt);

/*
 * As aio_engine_pwritev(), for any offset, length and memory. @edges is the
 * file's one mutex for all calls of this function, and is also taken around
 * whatever cuts the file. Where the request ends within an alignment block
 * behind the end of the file, the file grows to the end of that block.
 */
int coroutine_fn bounce_pwritev(AioEngine *engine, size_t alignment,
                                CoroutineMutex *edges, int64_t offset,
                                const struct iovec *iov, int iovcnt);

#endif /* BOUNCE_H */
