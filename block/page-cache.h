/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the host's page cache holds of a file that is otherwise read with
 * O_DIRECT: to see it, and to read it.
 */
#ifndef PAGE_CACHE_H
#define PAGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "coroutine.h"
#include "thread-pool.h"

typedef struct PageCache PageCache;

/*
 * Of the file that @fd is. Locks and flags of @fd are not touched. @pool
 * outlives the object. Returns 0 and *@cache, or a negative errno: -EACCES
 * when the kernel does not tell us what is cached (we neither own the file nor
 * may write to it), others when the file cannot be opened once more, for
 * which /proc is needed, or not be mapped.
 */
int page_cache_new(int fd, ThreadPool *pool, PageCache **cache);

/* Bytes. A power of two. */
size_t page_cache_page_bytes(const PageCache *cache);

/*
 * Ask for each page that [@offset, @offset + @bytes) touches whether it is
 * cached: @resident, one byte for each, gets 1 or 0. Pages behind the end of
 * the file are not. Nothing is read, nothing waits. Returns 0 or a negative
 * errno.
 */
int page_cache_query(PageCache *cache, int64_t offset, uint64_t bytes,
                     uint8_t *resident);

/*
 * Read through the page cache, without reading ahead; what is not there after
 * all is waited for. As aio_engine_preadv(), at any offset.
 */
int coroutine_fn page_cache_preadv(PageCache *cache, int64_t offset,
                                   const struct iovec *iov, int iovcnt);

/* Nothing is in flight. NULL is allowed. */
void page_cache_free(PageCache *cache);

#endif /* PAGE_CACHE_H */
