/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One read out of two sources: what is in the page cache is taken from there,
 * the rest comes straight from the device.
 */
#ifndef CACHED_READ_H
#define CACHED_READ_H

#include "page-cache.h"

/* Shorter requests are read from the device without a question. */
#define CACHED_READ_MIN ((uint64_t)64 * 1024)

typedef struct CachedRead {
    PageCache *cache;
    /* As block_file_preadv(), for aligned requests. */
    int coroutine_fn (*read_direct)(void *opaque, int64_t offset,
                                    const struct iovec *iov, int iovcnt);
    void *opaque;
    uint64_t cached_bytes; /* how much came from where */
    uint64_t direct_bytes;
} CachedRead;

/*
 * As block_file_preadv(), for a request that is aligned for O_DIRECT and at
 * least CACHED_READ_MIN long. Any number of them may be in flight with the
 * same @read.
 */
int coroutine_fn cached_read_preadv(CachedRead *read, int64_t offset,
                                    const struct iovec *iov, int iovcnt);

#endif /* CACHED_READ_H */
