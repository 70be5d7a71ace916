/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-compare.h. The same pieces are gone through twice: by whoever starts
 * reads, as long as there are free buffers, and behind by whoever tells what
 * came out. So nothing has to be kept of what lies between the two.
 */
#include <string.h>

#include "event-loop.h"
#include "snap-compare.h"
#include "snap-internal.h"

#define SIDES 2

/* So much of each side is read at once. A multiple of any page size below. */
#define SIDE_BYTES ((size_t)512 * 1024)

/* To read so much in vain costs less than a read more. */
#define GAP_BYTES ((uint64_t)64 * 1024)

/*
 * A buffer holds what was read of one side, of the other side, and a verdict
 * for each page, of which there are no smaller ones than this.
 */
#define MIN_PAGE_BYTES 1024
#define VERDICT_BYTES  ((size_t)4096)
#define BUFFER_BYTES   (SIDES * SIDE_BYTES + VERDICT_BYTES)
G_STATIC_ASSERT(SIDE_BYTES / MIN_PAGE_BYTES <= VERDICT_BYTES);

/*
 * Not as many as elsewhere: with what snap_pages_read() needs for either side,
 * each takes some 5 MiB.
 */
#define MAX_BUFFERS 16

typedef struct Compare {
    const SnapCompareSide *sides;
    uint32_t page_size;
    uint64_t most; /* pages, of a read */
    uint64_t gap;  /* pages */
    AioBufferPool *pool;
    PagePieces ahead;  /* as far as reads were started */
    PagePiece waiting; /* for a buffer */
    bool is_waiting;
} Compare;

AioBufferPool *snap_compare_ring_new(unsigned depth, GError **errp)
{
    return aio_buffer_pool_new(BUFFER_BYTES, depth ? depth : SNAP_DEFAULT_DEPTH,
                               depth ? depth : MAX_BUFFERS, errp);
}

static bool next_piece(const Compare *compare, PagePieces *pieces,
                       PagePiece *piece)
{
    return page_pieces_next_read(pieces, compare->most, compare->gap, piece);
}

static uint8_t *verdicts_of(const AioBuffer *buffer)
{
    return buffer->data + SIDES * SIDE_BYTES;
}

/* @count pages from @first on; the block may end before them. */
static bool coroutine_fn read_side(const Compare *compare, unsigned number,
                                   uint64_t first, uint64_t count, uint8_t *to,
                                   GError **errp)
{
    const SnapCompareSide *side = &compare->sides[number];
    uint64_t page_size = compare->page_size;
    uint64_t pages = side->block ? side->block->bytes / page_size : 0;
    uint64_t there = MIN(count, pages - MIN(pages, first));

    memset(to + there * page_size, 0, (count - there) * page_size);
    if (there > 0 &&
        !snap_pages_read(side->pages, side->block, first * page_size, to,
                         there * page_size, errp)) {
        g_prefix_error(errp, "%s: ", number == 0 ? "a" : "b");
        return false;
    }
    return true;
}

static bool coroutine_fn compare_buffer(AioBuffer *buffer, void *opaque,
                                        GError **errp)
{
    const Compare *compare = opaque;
    size_t page_size = compare->page_size;
    uint64_t count = buffer->bytes / page_size;
    const uint8_t *a = buffer->data;
    const uint8_t *b = buffer->data + SIDE_BYTES;
    uint64_t i;

    for (i = 0; i < SIDES; i++) {
        if (!read_side(compare, i, buffer->position / page_size, count,
                       buffer->data + i * SIDE_BYTES, errp)) {
            return false;
        }
    }
    for (i = 0; i < count; i++) {
        verdicts_of(buffer)[i] =
            page_verdict(a + i * page_size, b + i * page_size, page_size);
    }
    return true;
}

/* The next piece that has to be read. */
static bool find_read(Compare *compare, PagePiece *piece)
{
    if (compare->is_waiting) {
        *piece = compare->waiting;
        return true;
    }
    while (next_piece(compare, &compare->ahead, piece)) {
        if (!piece->known) {
            return true;
        }
    }
    return false;
}

/* Keep all free buffers reading. Returns whether any was started. */
static bool read_ahead(Compare *compare)
{
    PagePiece piece;
    bool started = false;

    while (find_read(compare, &piece)) {
        AioBuffer *buffer = aio_buffer_pool_try_get(compare->pool);

        compare->is_waiting = !buffer;
        if (!buffer) {
            compare->waiting = piece;
            break;
        }
        buffer->position = piece.first * compare->page_size;
        buffer->bytes = piece.count * compare->page_size;
        aio_buffer_pool_start_in_order(compare->pool, buffer, compare_buffer,
                                       compare);
        started = true;
    }
    return started;
}

static void tell_verdicts(const PagePiece *piece, const uint8_t *verdicts,
                          SnapCompareFunc *func, void *opaque)
{
    uint64_t from = 0;
    uint64_t i;

    for (i = 1; i <= piece->count; i++) {
        if (i == piece->count || verdicts[i] != verdicts[from]) {
            func(piece->first + from, i - from, verdicts[from], opaque);
            from = i;
        }
    }
}

static bool coroutine_fn tell_read(Compare *compare, const PagePiece *piece,
                                   SnapCompareFunc *func, void *opaque)
{
    AioBuffer *buffer;

    /* Let the new requests go out before anything else is done. */
    if (read_ahead(compare)) {
        event_loop_yield();
    }
    buffer = aio_buffer_pool_next(compare->pool);
    if (!buffer) {
        return false;
    }
    tell_verdicts(piece, verdicts_of(buffer), func, opaque);
    aio_buffer_pool_put(compare->pool, buffer);
    return true;
}

static const GArray *runs_of(const SnapCompareSide *side)
{
    return side->block
               ? page_map_runs(stream_index_pages(side->index), side->block)
               : NULL;
}

bool coroutine_fn snap_compare_block(AioBufferPool *pool,
                                     const SnapCompareSide sides[2],
                                     uint32_t page_size, SnapCompareFunc *func,
                                     void *opaque, GError **errp)
{
    PagePieces pieces =
        page_pieces_begin(runs_of(&sides[0]), runs_of(&sides[1]));
    Compare compare = {
        .sides = sides,
        .page_size = page_size,
        .most = SIDE_BYTES / page_size,
        .gap = GAP_BYTES / page_size,
        .pool = pool,
        .ahead = pieces,
    };
    PagePiece piece;

    g_assert(page_size >= MIN_PAGE_BYTES && page_size <= SIDE_BYTES);
    while (next_piece(&compare, &pieces, &piece)) {
        if (piece.known) {
            func(piece.first, piece.count, piece.verdict, opaque);
        } else if (!tell_read(&compare, &piece, func, opaque)) {
            break;
        }
    }
    return aio_buffer_pool_drain(pool, errp);
}
