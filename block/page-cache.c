/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A second, buffered open file description of a file. The image locks belong
 * to the first one and do not notice.
 *
 * What is cached is asked by mincore() about a mapping that nobody ever looks
 * into. One for each question needs no care when the file changes its size, and
 * costs little of what the answer is worth.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <glib.h>

#include "aio-engine.h"
#include "checked.h"
#include "page-cache.h"
#include "reopen.h"

/*
 * So far behind the end of a file no page is cached, not even as the rest of a
 * large folio.
 */
#define PAGE_CACHE_PROBE_DISTANCE ((int64_t)64 * 1024 * 1024)

/* Newer than the headers of some systems; the same where it is given here. */
#if defined(SYS_cachestat)
#define SYS_CACHESTAT SYS_cachestat
#elif defined(__x86_64__) || defined(__aarch64__) || defined(__riscv) || \
    defined(__s390x__) || defined(__powerpc64__)
#define SYS_CACHESTAT 451
#else
#define SYS_CACHESTAT (-1) /* ENOSYS */
#endif

struct PageCache {
    int fd;
    size_t page_bytes;
    AioEngine *engine;
};

/* By mincore(); see page_cache_query(). */
static int page_cache_ask(const PageCache *cache, int64_t offset,
                          uint64_t bytes, uint8_t *resident)
{
    int64_t first = round_down(offset, cache->page_bytes);
    uint64_t length = round_up(offset + bytes, cache->page_bytes) - first;
    void *mapping = mmap(NULL, length, PROT_READ, MAP_SHARED, cache->fd, first);
    int ret;

    if (mapping == MAP_FAILED) {
        return -errno;
    }
    ret = TEMP_FAILURE_RETRY(mincore(mapping, length, resident)) < 0 ? -errno
                                                                     : 0;
    munmap(mapping, length);
    for (uint64_t i = 0; i < length / cache->page_bytes && ret == 0; i++) {
        /* The other bits are reserved. */
        resident[i] &= 1;
    }
    return ret;
}

/*
 * The kernel tells those who neither own a file nor may write to it that all
 * of it is cached. It says so of pages that cannot exist as well, and there
 * gives itself away.
 */
static int page_cache_check_honest(PageCache *cache)
{
    off_t end = lseek(cache->fd, 0, SEEK_END);
    uint8_t resident = 0;
    int ret;

    if (end < 0) {
        return -errno;
    }
    if (!range_within(end, PAGE_CACHE_PROBE_DISTANCE, INT64_MAX / 2)) {
        return -EFBIG;
    }
    ret = page_cache_ask(
        cache, round_up(end + PAGE_CACHE_PROBE_DISTANCE, cache->page_bytes),
        cache->page_bytes, &resident);
    if (ret < 0) {
        return ret;
    }
    return resident ? -EACCES : 0;
}

int page_cache_new(int fd, ThreadPool *pool, PageCache **cache)
{
    PageCache *made;
    int opened = reopen_for_reading(fd, 0);
    int ret;

    if (opened < 0) {
        return opened;
    }
    made = g_new0(PageCache, 1);
    made->fd = opened;
    made->page_bytes = sysconf(_SC_PAGESIZE);
    made->engine = aio_threads_new(opened, true, pool);
    ret = page_cache_check_honest(made);
    if (ret < 0) {
        page_cache_free(made);
        return ret;
    }
    /*
     * Reads start no readahead: what is read here is in memory already, and
     * what follows it shall not get there by us. A refusal costs just that.
     */
    posix_fadvise(opened, 0, 0, POSIX_FADV_RANDOM);
    *cache = made;
    return 0;
}

size_t page_cache_page_bytes(const PageCache *cache)
{
    return cache->page_bytes;
}

/*
 * Linux 6.5 counts cached pages without looking at those that are not. Where
 * there are none, which is what matters when the disk is the limit, that costs
 * next to nothing.
 */
static bool page_cache_has_none(const PageCache *cache, int64_t offset,
                                uint64_t bytes)
{
    struct {
        uint64_t offset;
        uint64_t bytes;
    } range = { offset, bytes };
    struct {
        uint64_t cached;
        uint64_t others[4]; /* dirty, in writeback, evicted, lately evicted */
    } count;

    return syscall(SYS_CACHESTAT, cache->fd, &range, &count, 0) == 0 &&
           count.cached == 0;
}

int page_cache_query(PageCache *cache, int64_t offset, uint64_t bytes,
                     uint8_t *resident)
{
    uint64_t pages = (round_up(offset + bytes, cache->page_bytes) -
                      round_down(offset, cache->page_bytes)) /
                     cache->page_bytes;

    if (page_cache_has_none(cache, offset, bytes)) {
        memset(resident, 0, pages);
        return 0;
    }
    return page_cache_ask(cache, offset, bytes, resident);
}

int coroutine_fn page_cache_preadv(PageCache *cache, int64_t offset,
                                   const struct iovec *iov, int iovcnt)
{
    return aio_engine_preadv(cache->engine, 1, offset, iov, iovcnt);
}

void page_cache_free(PageCache *cache)
{
    if (cache) {
        aio_engine_close(cache->engine);
        close(cache->fd);
        g_free(cache);
    }
}
