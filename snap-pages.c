/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-pages.h. Pages that are wanted become pieces of the stream; pieces
 * that lie near each other there become one request, whose bytes are then put
 * where they belong. A guest whose data and zero pages alternate is so read in
 * as large requests as any other; what lies apart is read at once.
 *
 * The index may be as hostile as the stream: what it says is looked at again
 * where that costs nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bytes.h"
#include "checked.h"
#include "packed-page.h"
#include "printable.h"
#include "snap-buffers.h"
#include "snap-error.h"
#include "snap-fetch.h"
#include "snap-pages.h"
#include "snap-replay.h"

/* So much of a block is read at once. */
#define CHUNK_BYTES (1024 * 1024)

/* Requests are made of whole units: what any device takes as it is. */
#define UNIT_BYTES 4096

/*
 * What a request reads at most: a chunk, with the heads of its records (the
 * smallest page being 1 KiB) and what is in vain. The kernel has less to do for
 * memory of huge pages.
 */
#define REQUEST_BYTES SNAP_HUGE_BYTES

/* To read so much in vain costs less than another request. */
#define GAP_BYTES (64 * 1024)

struct SnapPages {
    /* Constant after _open(). */
    const MigrationInfo *info;
    const PageMap *map;
    const SnapSource *source;
    SnapReplay *replay; /* NULL: is not needed */

    AioBufferPool *memory; /* of REQUEST_BYTES each, for requests */
};

/* Pages that follow one another in the stream as well. */
typedef struct Piece {
    uint64_t position; /* of the first one's content in the stream */
    uint64_t bytes;    /* from there to the end of the last one's */
    PageRun run;
    uint8_t *to;
} Piece;

/* What is wanted. */
typedef struct Chunk {
    SnapPages *pages;
    const MigrationBlock *block;
    uint32_t first; /* page */
    uint32_t count;
    uint8_t *data;
    GArray *pieces; /* of Piece, by position */
} Chunk;

static bool piece_error(const Chunk *chunk, const PageRun *run, GError **errp,
                        const char *what)
{
    g_autofree char *name = printable(chunk->block->name);

    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                "RAM block '%s', page %" PRIu32 ", at byte %" PRIu64
                " of the stream: %s",
                name, run->first, run->offset, what);
    return false;
}

SnapPages *coroutine_fn snap_pages_open(const StreamIndex *index,
                                        const SnapSource *source,
                                        const char *directory,
                                        const SnapOptions *options,
                                        GError **errp)
{
    g_autoptr(SnapPages) pages = NULL;

    if (!stream_index_pages(index)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the pages of the stream are in too many pieces");
        return NULL;
    }
    pages = g_new0(SnapPages, 1);
    pages->info = stream_index_info(index);
    pages->map = stream_index_pages(index);
    pages->source = source;
    pages->memory = aio_buffer_pool_new(REQUEST_BYTES, SNAP_MAX_DEPTH,
                                        SNAP_MAX_DEPTH, errp);
    if (!pages->memory) {
        return NULL;
    }
    if (snap_replay_is_needed(index)) {
        pages->replay =
            snap_replay_new(index, source, directory, options, errp);
        if (!pages->replay) {
            return NULL;
        }
    }
    return g_steal_pointer(&pages);
}

void snap_pages_close(SnapPages *pages)
{
    if (pages) {
        snap_replay_free(pages->replay);
        aio_buffer_pool_free(pages->memory);
        g_free(pages);
    }
}

uint32_t snap_pages_size(const SnapPages *pages)
{
    return pages->info->page_size;
}

static uint64_t run_end(const PageRun *run)
{
    return (uint64_t)run->first + run->count;
}

/* The first of @runs that ends behind @page; their number if none does. */
static guint find_run(const GArray *runs, uint64_t page)
{
    guint low = 0;
    guint high = runs ? runs->len : 0;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (run_end(&g_array_index(runs, PageRun, middle)) <= page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static SnapContent run_content(const PageRun *run)
{
    return run->kind == MIGRATION_PAGE_FILL && run->fill == 0
               ? SNAP_CONTENT_ZERO
               : SNAP_CONTENT_DATA;
}

uint64_t snap_pages_extent(const SnapPages *pages, const MigrationBlock *block,
                           uint64_t offset, uint64_t most, SnapContent *content)
{
    const GArray *runs = page_map_runs(pages->map, block);
    uint64_t bytes = MIN(most, block->bytes - offset);
    uint64_t page_size = pages->info->page_size;
    uint64_t page;
    uint64_t start;
    uint64_t end;
    guint at;

    *content = SNAP_CONTENT_ABSENT;
    if (!runs || page_size == 0) {
        return bytes;
    }
    page = start = offset / page_size;
    end = page + bytes / page_size;
    for (at = find_run(runs, page); at < runs->len && page < end; at++) {
        const PageRun *run = &g_array_index(runs, PageRun, at);

        if (page == start && run->first <= page) {
            *content = run_content(run);
        }
        if (*content == SNAP_CONTENT_ABSENT) {
            return MIN(run->first - start, end - start) * page_size;
        }
        if (run->first > page || run_content(run) != *content) {
            break;
        }
        page = MIN(run_end(run), end);
    }
    return *content == SNAP_CONTENT_ABSENT ? bytes : (page - start) * page_size;
}

/* Is it what a reader would have told of pages in this stream? */
static bool check_piece(const Chunk *chunk, const Piece *piece, GError **errp)
{
    const PageRun *run = &piece->run;
    uint32_t page_size = chunk->pages->info->page_size;
    bool plain = page_run_is_plain(run);

    if (!range_within(piece->position, piece->bytes,
                      chunk->pages->source->bytes) ||
        (plain ? run->bytes != page_size
               : run->bytes > page_size + PACKED_PAGE_OVERHEAD)) {
        return piece_error(chunk, run, errp, "it cannot be there");
    }
    return true;
}

/*
 * Let @run, cut to what is wanted, become a piece; what needs nothing from the
 * stream is done at once.
 */
static bool coroutine_fn take_run(Chunk *chunk, const PageRun *run,
                                  GError **errp)
{
    uint64_t page_size = chunk->pages->info->page_size;
    Piece piece = {
        .position = run->offset,
        .bytes = run->bytes + (run->count - 1) * page_run_stride(run),
        .run = *run,
        .to = chunk->data + (run->first - chunk->first) * page_size,
    };

    switch (run->kind) {
    case MIGRATION_PAGE_FILL:
        memset(piece.to, run->fill, run->count * page_size);
        return true;
    case MIGRATION_PAGE_XBZRLE:
        return snap_replay_read(chunk->pages->replay, chunk->block, run->first,
                                piece.to, errp);
    default:
        g_array_append_val(chunk->pieces, piece);
        return check_piece(chunk, &piece, errp);
    }
}

/* All that is wanted, in the order of the block. */
static bool coroutine_fn take_runs(Chunk *chunk, GError **errp)
{
    const GArray *runs = page_map_runs(chunk->pages->map, chunk->block);
    uint64_t page_size = chunk->pages->info->page_size;
    uint64_t end = (uint64_t)chunk->first + chunk->count;
    uint64_t page = chunk->first;
    guint i;

    for (i = find_run(runs, page); runs && i < runs->len; i++) {
        PageRun run = g_array_index(runs, PageRun, i);
        uint64_t run_last = MIN(run_end(&run), end);
        uint64_t run_first = MAX(run.first, page);

        if (run.first >= end) {
            break;
        }
        memset(chunk->data + (page - chunk->first) * page_size, 0,
               (run_first - page) * page_size);
        run.offset += (run_first - run.first) * page_run_stride(&run);
        run.first = run_first;
        run.count = run_last - run_first;
        if (!take_run(chunk, &run, errp)) {
            return false;
        }
        page = run_last;
    }
    memset(chunk->data + (page - chunk->first) * page_size, 0,
           (end - page) * page_size);
    return true;
}

static int compare_pieces(const void *left, const void *right)
{
    const Piece *a = left;
    const Piece *b = right;

    return (a->position > b->position) - (a->position < b->position);
}

/*
 * Put the pages of @piece, which begins at @from, where they belong. Each but
 * the first has a word in front that names it, unless RAM is mapped.
 */
static bool copy_pages(const Chunk *chunk, const Piece *piece,
                       const uint8_t *from, GError **errp)
{
    uint32_t page_size = chunk->pages->info->page_size;
    uint64_t stride = page_run_stride(&piece->run);
    uint64_t mask = ~(uint64_t)(page_size - 1);
    PageRun run = piece->run;
    uint32_t i;

    if (run.kind == MIGRATION_PAGE_MAPPED) {
        memcpy(piece->to, from, piece->bytes);
        return true;
    }
    for (i = 0; i < piece->run.count; i++, run.first++) {
        if (i > 0 && (load_be64(from + i * stride - sizeof(uint64_t)) & mask) !=
                         (uint64_t)run.first * page_size) {
            run.offset += i * stride;
            return piece_error(chunk, &run, errp, "another page is there");
        }
        memcpy(piece->to + (size_t)i * page_size, from + i * stride, page_size);
    }
    return true;
}

static bool inflate_page(const Chunk *chunk, const Piece *piece,
                         const uint8_t *from, GError **errp)
{
    int ret = packed_page_inflate(from, piece->run.bytes, piece->to,
                                  chunk->pages->info->page_size);

    if (ret == -ENOMEM) {
        snap_error_set_errno(errp, ret, "unpacking a page");
        return false;
    }
    return ret == 0 || piece_error(chunk, &piece->run, errp,
                                   "what is packed there is not one page");
}

/*
 * The pieces from @first on that are read together: their number, and in
 * @start and @end the bytes that this takes.
 */
static guint find_request(const Chunk *chunk, guint first, uint64_t *start,
                          uint64_t *end)
{
    const Piece *pieces = (const Piece *)chunk->pieces->data;
    uint64_t last = pieces[first].position + pieces[first].bytes;
    guint i;

    *start = round_down(pieces[first].position, UNIT_BYTES);
    for (i = first + 1; i < chunk->pieces->len; i++) {
        uint64_t next = pieces[i].position + pieces[i].bytes;

        if (pieces[i].position > last + GAP_BYTES ||
            next + UNIT_BYTES > *start + REQUEST_BYTES) {
            break;
        }
        last = MAX(last, next);
    }
    *end = MIN(round_up(last, UNIT_BYTES), chunk->pages->source->bytes);
    return i - first;
}

/* Requests at once, and up to where the pieces are that they are for. */
typedef struct Batch {
    SnapFetch fetches[SNAP_FETCH_MAX];
    guint behind[SNAP_FETCH_MAX];
    unsigned count;
} Batch;

/* As many as there are, as find a place in @memory: one at least. */
static void fill_batch(const Chunk *chunk, guint first, uint8_t *memory,
                       Batch *batch)
{
    size_t used = 0;

    batch->count = 0;
    while (first < chunk->pieces->len && batch->count < SNAP_FETCH_MAX) {
        uint64_t start;
        uint64_t end;
        guint found = find_request(chunk, first, &start, &end);

        if (end - start > REQUEST_BYTES - used) {
            break;
        }
        batch->fetches[batch->count] = (SnapFetch){
            .position = start,
            .to = memory + used,
            .bytes = end - start,
        };
        first += found;
        batch->behind[batch->count++] = first;
        used = round_up(used + (end - start), UNIT_BYTES);
    }
}

/* The pieces from *@first on that are in what was read. */
static bool take_fetched(const Chunk *chunk, guint *first, guint behind,
                         const SnapFetch *fetch, GError **errp)
{
    for (; *first < behind; (*first)++) {
        const Piece *piece = &g_array_index(chunk->pieces, Piece, *first);
        const uint8_t *from = fetch->to + (piece->position - fetch->position);

        if (!(page_run_is_plain(&piece->run)
                  ? copy_pages(chunk, piece, from, errp)
                  : inflate_page(chunk, piece, from, errp))) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn read_pieces(const Chunk *chunk, uint8_t *memory,
                                     GError **errp)
{
    guint first = 0;
    Batch batch;
    unsigned i;

    while (first < chunk->pieces->len) {
        fill_batch(chunk, first, memory, &batch);
        if (!snap_fetch_all(chunk->pages->source, batch.fetches, batch.count,
                            errp)) {
            return false;
        }
        for (i = 0; i < batch.count; i++) {
            if (!take_fetched(chunk, &first, batch.behind[i], &batch.fetches[i],
                              errp)) {
                return false;
            }
        }
    }
    return true;
}

static bool coroutine_fn read_chunk(Chunk *chunk, GError **errp)
{
    g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    AioBuffer *memory;
    bool done;

    chunk->pieces = pieces;
    if (!take_runs(chunk, errp)) {
        return false;
    }
    if (pieces->len == 0) {
        return true;
    }
    g_array_sort(pieces, compare_pieces);
    memory = aio_buffer_pool_get(chunk->pages->memory);
    done = read_pieces(chunk, memory->data, errp);
    aio_buffer_pool_put(chunk->pages->memory, memory);
    return done;
}

bool coroutine_fn snap_pages_read(SnapPages *pages, const MigrationBlock *block,
                                  uint64_t offset, uint8_t *data, size_t bytes,
                                  GError **errp)
{
    uint32_t page_size = pages->info->page_size;

    g_assert(range_within(offset, bytes, block->bytes));
    if (page_size == 0) {
        memset(data, 0, bytes);
        return true;
    }
    g_assert(is_aligned(offset | bytes, page_size));
    while (bytes > 0) {
        size_t now = MIN(bytes, CHUNK_BYTES);
        Chunk chunk = {
            .pages = pages,
            .block = block,
            .first = offset / page_size,
            .count = now / page_size,
            .data = data,
        };

        if (!read_chunk(&chunk, errp)) {
            return false;
        }
        offset += now;
        data += now;
        bytes -= now;
    }
    return true;
}
