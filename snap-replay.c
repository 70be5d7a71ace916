/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-replay.h. Which pages there are is known from the index before the
 * stream is read, so each has its place in the file, and records of all others
 * are passed over.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "checked.h"
#include "packed-page.h"
#include "printable.h"
#include "progress.h"
#include "snap-error.h"
#include "snap-internal.h"
#include "snap-replay.h"
#include "temporary-file.h"

/* The pages of one block. */
typedef struct ReplayBlock {
    GArray *pages;  /* of uint32_t, going up; NULL: none */
    uint64_t place; /* of the first one in the file: a number of pages */
} ReplayBlock;

struct SnapReplay {
    /* Constant after _new(). */
    uint32_t page_size;
    ReplayBlock *blocks; /* by number */
    guint block_count;
    TemporaryFile *temporary;
    BlockFile *file;

    /* While the stream is read. */
    const SnapSource *source;
    GArray *told; /* of MigrationPages, not yet done */
    uint8_t *page;
    uint8_t *packed;
};

/* The buffer of the stream that is being looked at. */
typedef AioBuffer Window;

static bool is_replayed(const PageRun *run)
{
    return run->kind == MIGRATION_PAGE_XBZRLE;
}

bool snap_replay_is_needed(const StreamIndex *index)
{
    const GPtrArray *blocks = stream_index_info(index)->blocks;
    guint i;
    guint j;

    for (i = 0; i < blocks->len; i++) {
        const GArray *runs =
            page_map_runs(stream_index_pages(index), blocks->pdata[i]);

        for (j = 0; runs && j < runs->len; j++) {
            if (is_replayed(&g_array_index(runs, PageRun, j))) {
                return true;
            }
        }
    }
    return false;
}

/* Give each page its place. */
static void find_pages(SnapReplay *replay, const StreamIndex *index)
{
    const GPtrArray *blocks = stream_index_info(index)->blocks;
    uint64_t place = 0;
    guint i;
    guint j;

    replay->block_count = blocks->len;
    replay->blocks = g_new0(ReplayBlock, blocks->len);
    for (i = 0; i < blocks->len; i++) {
        const GArray *runs =
            page_map_runs(stream_index_pages(index), blocks->pdata[i]);
        ReplayBlock *block = &replay->blocks[i];

        block->place = place;
        for (j = 0; runs && j < runs->len; j++) {
            const PageRun *run = &g_array_index(runs, PageRun, j);

            if (!is_replayed(run)) {
                continue;
            }
            if (!block->pages) {
                block->pages = g_array_new(FALSE, FALSE, sizeof(uint32_t));
            }
            /* Records that tell a difference are of one page each. */
            g_array_append_val(block->pages, run->first);
            place++;
        }
    }
}

/* The first of the block's pages that is not before @page. */
static guint find_page(const ReplayBlock *block, uint64_t page)
{
    guint low = 0;
    guint high = block->pages ? block->pages->len : 0;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(block->pages, uint32_t, middle) < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int64_t page_offset(const SnapReplay *replay, const ReplayBlock *block,
                           guint at)
{
    return (block->place + at) * replay->page_size;
}

static bool coroutine_fn access_page(SnapReplay *replay, int64_t offset,
                                     bool write, uint8_t *data, GError **errp)
{
    int ret =
        write ? block_file_pwrite(replay->file, offset, data, replay->page_size)
              : block_file_pread(replay->file, offset, data, replay->page_size);

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot %s the temporary file",
                             write ? "write" : "read");
    }
    return ret == 0;
}

static bool open_file(SnapReplay *replay, const char *directory,
                      const SnapOptions *options, GError **errp)
{
    /* Single pages, again and again: the page cache is best at that. */
    HostFileOptions file_options = {
        .writable = true,
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .trace = options->trace,
    };

    replay->temporary = temporary_file_new(directory, errp);
    if (!replay->temporary) {
        return false;
    }
    replay->file = host_file_open(temporary_file_path(replay->temporary),
                                  &file_options, errp);
    return replay->file != NULL;
}

static void note_pages(const MigrationPages *pages, void *opaque)
{
    SnapReplay *replay = opaque;
    unsigned number = pages->block->number;

    if (number < replay->block_count && replay->blocks[number].pages) {
        g_array_append_val(replay->told, *pages);
    }
}

/*
 * The @bytes of the stream at @position, which are not always in @window: a
 * record is told as soon as its head is there.
 */
static const uint8_t *coroutine_fn find_bytes(SnapReplay *replay,
                                              const Window *window,
                                              uint64_t position, size_t bytes,
                                              GError **errp)
{
    const SnapSource *source = replay->source;

    if (position >= window->position &&
        range_within(position - window->position, bytes, window->bytes)) {
        return window->data + (position - window->position);
    }
    if (!range_within(position, bytes, source->bytes)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "the stream ends amid a page at %" PRIu64, position);
        return NULL;
    }
    return source->fetch(source->opaque, position, replay->packed, bytes, errp)
               ? replay->packed
               : NULL;
}

static bool unpack_error(const SnapReplay *replay, const MigrationPages *pages,
                         int ret, GError **errp)
{
    g_autofree char *name = printable(pages->block->name);

    if (ret == -ENOMEM) {
        snap_error_set_errno(errp, ret, "unpacking a page");
        return false;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                "RAM block '%s', page %" PRIu64 ", at byte %" PRIu64
                " of the stream: what is packed there is not one page",
                name, pages->start / replay->page_size, pages->offset);
    return false;
}

/* Is the page in the stream as it is? */
static bool is_whole(const MigrationPages *pages)
{
    return pages->kind == MIGRATION_PAGE_DATA ||
           pages->kind == MIGRATION_PAGE_MAPPED;
}

/* Let replay->page, which is what the page was before, be what it is now. */
static bool coroutine_fn change_page(SnapReplay *replay, const Window *window,
                                     const MigrationPages *pages,
                                     uint64_t position, GError **errp)
{
    const uint8_t *content;
    int ret = 0;

    if (pages->kind == MIGRATION_PAGE_FILL) {
        memset(replay->page, pages->fill, replay->page_size);
        return true;
    }
    /* The index and the stream may be at odds. */
    if (is_whole(pages)
            ? pages->bytes != replay->page_size
            : pages->bytes > replay->page_size + PACKED_PAGE_OVERHEAD) {
        return unpack_error(replay, pages, -EINVAL, errp);
    }
    content = find_bytes(replay, window, position, pages->bytes, errp);
    if (!content) {
        return false;
    }
    if (is_whole(pages)) {
        memcpy(replay->page, content, replay->page_size);
    } else if (pages->kind == MIGRATION_PAGE_DEFLATED) {
        ret = packed_page_inflate(content, pages->bytes, replay->page,
                                  replay->page_size);
    } else {
        ret = packed_page_change(content, pages->bytes, replay->page,
                                 replay->page_size);
    }
    return ret == 0 || unpack_error(replay, pages, ret, errp);
}

/* Do what @pages tell to those of them that are ours. */
static bool coroutine_fn do_told(SnapReplay *replay, const Window *window,
                                 const MigrationPages *pages, GError **errp)
{
    const ReplayBlock *block = &replay->blocks[pages->block->number];
    uint64_t first = pages->start / replay->page_size;
    guint at;

    for (at = find_page(block, first); at < block->pages->len; at++) {
        uint64_t index = g_array_index(block->pages, uint32_t, at) - first;
        int64_t offset = page_offset(replay, block, at);

        if (index >= pages->count) {
            break;
        }
        if (pages->kind == MIGRATION_PAGE_XBZRLE &&
            !access_page(replay, offset, false, replay->page, errp)) {
            return false;
        }
        if (!change_page(replay, window, pages,
                         pages->offset + index * pages->stride, errp) ||
            !access_page(replay, offset, true, replay->page, errp)) {
            return false;
        }
    }
    return true;
}

/* Go on with the next buffer of the stream. */
static bool coroutine_fn do_buffer(SnapReplay *replay, MigrationReader *reader,
                                   const Window *window, GError **errp)
{
    guint i;

    if (!migration_reader_feed(reader, window->data, window->bytes, errp)) {
        return false;
    }
    for (i = 0; i < replay->told->len; i++) {
        if (!do_told(replay, window,
                     &g_array_index(replay->told, MigrationPages, i), errp)) {
            return false;
        }
    }
    g_array_set_size(replay->told, 0);
    return true;
}

static bool coroutine_fn fetch_buffer(AioBuffer *buffer, void *opaque,
                                      GError **errp)
{
    const SnapSource *source = opaque;

    return source->fetch(source->opaque, buffer->position, buffer->data,
                         buffer->bytes, errp);
}

/* Start as many requests as can be in flight. */
static void read_ahead(AioBufferPool *pool, const SnapSource *source,
                       uint64_t *position)
{
    AioBuffer *buffer;

    while (*position < source->bytes &&
           (buffer = aio_buffer_pool_try_get(pool))) {
        buffer->position = *position;
        buffer->bytes =
            MIN(aio_buffer_pool_buffer_bytes(pool), source->bytes - *position);
        *position += buffer->bytes;
        aio_buffer_pool_start_in_order(pool, buffer, fetch_buffer,
                                       (void *)source);
    }
}

static bool coroutine_fn do_stream(SnapReplay *replay,
                                   const SnapOptions *options, GError **errp)
{
    const SnapSource *source = replay->source;
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(Progress)
        progress = progress_new(options->progress, source->bytes);
    g_autoptr(AioBufferPool)
        pool = snap_ring_new(options->depth, SNAP_BUFFER_BYTES, errp);
    uint64_t read_to = 0;
    uint64_t done = 0;

    if (!pool) {
        return false;
    }
    migration_reader_tell_pages(reader, note_pages, replay);
    while (done < source->bytes) {
        GError *error = NULL;
        AioBuffer *buffer;

        read_ahead(pool, source, &read_to);
        buffer = aio_buffer_pool_next(pool);
        if (!buffer) {
            break;
        }
        done += buffer->bytes;
        if (!do_buffer(replay, reader, buffer, &error)) {
            aio_buffer_pool_fail(pool, error);
        }
        progress_advance(progress, buffer->bytes);
        aio_buffer_pool_put(pool, buffer);
    }
    return aio_buffer_pool_drain(pool, errp);
}

SnapReplay *coroutine_fn snap_replay_new(const StreamIndex *index,
                                         const SnapSource *source,
                                         const char *directory,
                                         const SnapOptions *options,
                                         GError **errp)
{
    SnapReplay *replay = g_new0(SnapReplay, 1);
    bool done;

    replay->page_size = stream_index_info(index)->page_size;
    replay->source = source;
    replay->told = g_array_new(FALSE, FALSE, sizeof(MigrationPages));
    replay->page = g_malloc(replay->page_size);
    replay->packed = g_malloc(replay->page_size + PACKED_PAGE_OVERHEAD);
    find_pages(replay, index);
    done = open_file(replay, directory, options, errp) &&
           do_stream(replay, options, errp);
    g_clear_pointer(&replay->told, g_array_unref);
    g_clear_pointer(&replay->page, g_free);
    g_clear_pointer(&replay->packed, g_free);
    if (!done) {
        g_clear_pointer(&replay, snap_replay_free);
    }
    return replay;
}

void snap_replay_free(SnapReplay *replay)
{
    guint i;

    if (!replay) {
        return;
    }
    for (i = 0; i < replay->block_count; i++) {
        g_clear_pointer(&replay->blocks[i].pages, g_array_unref);
    }
    g_free(replay->blocks);
    block_file_close(replay->file);
    temporary_file_free(replay->temporary);
    g_free(replay);
}

bool coroutine_fn snap_replay_read(SnapReplay *replay,
                                   const MigrationBlock *block, uint32_t page,
                                   uint8_t *data, GError **errp)
{
    const ReplayBlock *pages = &replay->blocks[block->number];
    guint at = find_page(pages, page);

    g_assert(pages->pages && g_array_index(pages->pages, uint32_t, at) == page);
    return access_page(replay, page_offset(replay, pages, at), false, data,
                       errp);
}
