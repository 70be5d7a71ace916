/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-writing.h.
 */
#include <inttypes.h>

#include "snap-error.h"
#include "snap-writing.h"

/* A file, or a pipe, that is being written. */
typedef struct Writer {
    const SnapWriting *writing;
    const SnapLayout *layout;
    BlockFile *file; /* NULL: a pipe */
    uint64_t passed; /* a pipe has taken so much */
} Writer;

uint64_t snap_writing_data_bytes(const SnapLayout *layout)
{
    uint64_t limit = snap_layout_bytes(layout);
    uint64_t sum = 0;
    uint64_t start;
    uint64_t end;

    for (start = 0;
         snap_layout_find(layout, &start, &end, limit, SNAP_BUFFER_BYTES);
         start = end) {
        sum += end - start;
    }
    return sum;
}

static bool is_interrupted(const SnapWriting *writing, GError **errp)
{
    if (!interrupt_signal(writing->interrupt)) {
        return false;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED, "interrupted");
    return true;
}

/* Read what belongs into @buffer, and write it but for the holes. */
static bool coroutine_fn write_buffer(AioBuffer *buffer, void *opaque,
                                      GError **errp)
{
    const Writer *writer = opaque;
    uint64_t limit = buffer->position + buffer->bytes;
    uint64_t start = buffer->position;
    uint64_t end;

    if (!snap_layout_read(writer->layout, buffer->position, buffer->data,
                          buffer->bytes, errp)) {
        return false;
    }
    for (; snap_layout_find(writer->layout, &start, &end, limit, buffer->bytes);
         start = end) {
        int ret = block_file_pwrite(writer->file, start,
                                    buffer->data + (start - buffer->position),
                                    end - start);

        if (ret < 0) {
            snap_error_set_errno(errp, ret,
                                 "cannot write %" PRIu64 " bytes at 0x%" PRIx64
                                 " of the output",
                                 end - start, start);
            return false;
        }
        progress_advance(writer->writing->progress, end - start);
    }
    return true;
}

static bool coroutine_fn write_all(Writer *writer, AioBufferPool *pool,
                                   GError **errp)
{
    const uint64_t limit = snap_layout_bytes(writer->layout);
    size_t size = aio_buffer_pool_buffer_bytes(pool);
    AioBuffer *buffer;
    uint64_t start = 0;
    uint64_t end;

    while (snap_layout_find(writer->layout, &start, &end, limit, size) &&
           (buffer = aio_buffer_pool_get(pool))) {
        GError *error = NULL;

        if (is_interrupted(writer->writing, &error)) {
            aio_buffer_pool_put(pool, buffer);
            aio_buffer_pool_fail(pool, error);
            break;
        }
        /* To the full: what comes behind a hole may fit as well. */
        buffer->position = start;
        buffer->bytes = MIN(size, limit - start);
        start += buffer->bytes;
        aio_buffer_pool_start(pool, buffer, write_buffer, writer);
    }
    return aio_buffer_pool_drain(pool, errp);
}

static bool coroutine_fn set_length(const Writer *writer, GError **errp)
{
    uint64_t bytes = snap_layout_bytes(writer->layout);
    int ret = block_file_truncate(writer->file, bytes);

    if (ret < 0) {
        snap_error_set_errno(
            errp, ret, "cannot let the output have 0x%" PRIx64 " bytes", bytes);
    }
    return ret == 0;
}

/* All of it, with its length, stable. */
static bool coroutine_fn fill_file(Writer *writer, AioBufferPool *pool,
                                   GError **errp)
{
    int ret;

    /* A last page that is not aligned may make it longer in between. */
    if (!set_length(writer, errp) || !write_all(writer, pool, errp) ||
        !set_length(writer, errp)) {
        return false;
    }
    ret = block_file_flush(writer->file);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make the output stable");
    }
    return ret == 0;
}

TemporaryFile *coroutine_fn snap_write_file(const SnapWriting *writing,
                                            const SnapLayout *layout,
                                            const char *directory,
                                            GError **errp)
{
    HostFileOptions file_options = {
        .writable = true,
        .cache = writing->options->cache,
        .aio = writing->options->aio,
        .trace = writing->options->trace,
    };
    Writer writer = { .writing = writing, .layout = layout };
    g_autoptr(TemporaryFile) temporary = temporary_file_new(directory, errp);
    g_autoptr(AioBufferPool) pool = NULL;
    bool written;

    if (!temporary) {
        return NULL;
    }
    pool = snap_ring_new(writing->options->depth, SNAP_BUFFER_BYTES, errp);
    if (!pool) {
        return NULL;
    }
    writer.file =
        host_file_open(temporary_file_path(temporary), &file_options, errp);
    if (!writer.file) {
        return NULL;
    }
    written = fill_file(&writer, pool, errp);
    block_file_close(writer.file);
    return written ? g_steal_pointer(&temporary) : NULL;
}

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    const Writer *writer = opaque;

    return snap_layout_read(writer->layout, position, data, bytes, errp);
}

static void passed(void *opaque, const uint8_t *data, size_t bytes)
{
    Writer *writer = opaque;

    writer->passed += bytes;
    progress_advance(writer->writing->progress, bytes);
}

bool coroutine_fn snap_write_pipe(const SnapWriting *writing,
                                  const SnapLayout *layout, PipeEnd *to,
                                  GError **errp)
{
    Writer writer = { .writing = writing, .layout = layout };
    SnapOutlet outlet = {
        .fetch = fetch,
        .passed = passed,
        .opaque = &writer,
    };
    uint64_t bytes = snap_layout_bytes(layout);
    g_autoptr(AioBufferPool)
        pool = snap_ring_new(writing->options->depth, SNAP_BUFFER_BYTES, errp);
    SnapPumpResult result;

    if (!pool) {
        return false;
    }
    result = snap_pump_out(pool, bytes, &outlet, to, errp);
    if (result == SNAP_PUMP_READER_GONE) {
        g_clear_error(errp);
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "the reader closed the pipe after %" PRIu64 " of %" PRIu64
                    " bytes",
                    writer.passed, bytes);
    }
    return result == SNAP_PUMP_DONE;
}
