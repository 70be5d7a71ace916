/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Splitting a request into runs of pages that are in the page cache and runs
 * that are not.
 *
 * Most requests are one run and go on as they came. The runs of another one
 * are read in turn: others are in flight beside it and keep the device busy.
 * A page that is evicted between question and answer is waited for in a
 * worker; one that gets into the cache meanwhile is read from the device, where
 * the kernel writes it first if it is dirty. So both sources have the same
 * bytes, and the question is about speed alone.
 */
#include <glib.h>

#include "cached-read.h"
#include "checked.h"
#include "io-vector.h"

/*
 * An island in the middle of absent data splits a direct read, which costs the
 * device about what it takes to transfer so much. Absent data is read directly
 * however short it is: it is not for us to fill the cache.
 */
#define CACHED_READ_ISLAND_MIN ((uint64_t)128 * 1024)

/* The request and what is known of its pages. */
typedef struct CachedReadMap {
    uint64_t start;
    uint64_t end;
    size_t page_bytes;
    uint8_t *resident; /* for each page from that of @start on */
} CachedReadMap;

typedef struct CachedReadRun {
    uint64_t end;
    bool is_cached;
} CachedReadRun;

static bool cached_read_is_resident(const CachedReadMap *map, uint64_t at)
{
    return map->resident[at / map->page_bytes - map->start / map->page_bytes];
}

/* The end of the pages after @at that are as that of @at is. */
static uint64_t cached_read_find_change(const CachedReadMap *map, uint64_t at)
{
    bool is_resident = cached_read_is_resident(map, at);

    do {
        at = round_down(at, map->page_bytes) + map->page_bytes;
    } while (at < map->end && cached_read_is_resident(map, at) == is_resident);
    return MIN(at, map->end);
}

/* Is [@start, @end), all of it resident, worth a read of its own? */
static bool cached_read_pays(const CachedReadMap *map, uint64_t start,
                             uint64_t end)
{
    return end - start >= CACHED_READ_ISLAND_MIN ||
           (start == map->start && end == map->end);
}

static CachedReadRun cached_read_next_run(const CachedReadMap *map,
                                          uint64_t start)
{
    CachedReadRun run = { .end = start };

    while (run.end < map->end) {
        uint64_t change = cached_read_find_change(map, run.end);
        bool pays = cached_read_is_resident(map, run.end) &&
                    cached_read_pays(map, run.end, change);

        if (pays && run.end > start) {
            break;
        }
        run.end = change;
        run.is_cached = pays;
        if (pays) {
            break;
        }
    }
    return run;
}

static int coroutine_fn cached_read_from(CachedRead *read, bool is_cached,
                                         int64_t offset,
                                         const struct iovec *iov, int iovcnt)
{
    uint64_t bytes = io_vector_bytes(iov, iovcnt);

    if (is_cached) {
        read->cached_bytes += bytes;
        return page_cache_preadv(read->cache, offset, iov, iovcnt);
    }
    read->direct_bytes += bytes;
    return read->read_direct(read->opaque, offset, iov, iovcnt);
}

static int coroutine_fn cached_read_runs(CachedRead *read,
                                         const CachedReadMap *map,
                                         const struct iovec *iov, int iovcnt)
{
    CachedReadRun run = cached_read_next_run(map, map->start);
    int ret;

    if (run.end == map->end) {
        return cached_read_from(read, run.is_cached, map->start, iov, iovcnt);
    }
    for (uint64_t at = map->start; at < map->end; at = run.end) {
        g_autofree struct iovec *slice = NULL;
        int count;

        run = cached_read_next_run(map, at);
        slice = io_vector_slice(iov, at - map->start, run.end - at, &count);
        ret = cached_read_from(read, run.is_cached, at, slice, count);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn cached_read_preadv(CachedRead *read, int64_t offset,
                                    const struct iovec *iov, int iovcnt)
{
    g_autofree uint8_t *resident = NULL;
    uint64_t bytes = io_vector_bytes(iov, iovcnt);
    CachedReadMap map = {
        .start = offset,
        .end = offset + bytes,
        .page_bytes = page_cache_page_bytes(read->cache),
    };

    resident = g_try_malloc(bytes / map.page_bytes + 2);
    if (!resident ||
        page_cache_query(read->cache, offset, bytes, resident) < 0) {
        /* Not to know is no reason not to read. */
        return cached_read_from(read, false, offset, iov, iovcnt);
    }
    map.resident = resident;
    return cached_read_runs(read, &map, iov, iovcnt);
}
