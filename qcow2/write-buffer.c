/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See write-buffer.h. One piece follows the other or the buffer is written:
 * order in the file is the caller's business, no sorting is done here.
 *
 * A chunk is free, being filled (one at most) or in flight. The first error of
 * a write stays until the buffer is freed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-loop.h"
#include "snap-error.h"
#include "write-buffer.h"

#define CHUNK_BYTES (1024 * 1024)
#define CHUNKS      4

typedef struct WriteChunk {
    Qcow2WriteBuffer *buffer;
    uint64_t offset; /* of the gathered bytes in the file */
    size_t filled;   /* how many there are */
    bool in_flight;
    uint8_t *bytes; /* NULL until it is first needed */
} WriteChunk;

struct Qcow2WriteBuffer {
    BlockFile *file;
    WriteChunk chunks[CHUNKS];
    WriteChunk *filling; /* NULL: none */
    unsigned in_flight;
    CoroutineQueue landed; /* a write is done */
    GError *error;         /* the first one */
};

static bool chunk_prepare(WriteChunk *chunk, GError **errp)
{
    if (!chunk->bytes) {
        chunk->bytes = block_file_alloc_buffer(CHUNK_BYTES);
    }
    if (!chunk->bytes) {
        snap_error_set_errno(errp, -ENOMEM, "metadata buffer");
        return false;
    }
    return true;
}

Qcow2WriteBuffer *qcow2_write_buffer_new(BlockFile *file, GError **errp)
{
    Qcow2WriteBuffer *buffer = g_new0(Qcow2WriteBuffer, 1);
    unsigned i;

    buffer->file = file;
    for (i = 0; i < CHUNKS; i++) {
        buffer->chunks[i].buffer = buffer;
    }
    /* One will always be needed. */
    if (!chunk_prepare(&buffer->chunks[0], errp)) {
        g_clear_pointer(&buffer, g_free);
    }
    return buffer;
}

static void coroutine_fn wait_for_all(Qcow2WriteBuffer *buffer)
{
    while (buffer->in_flight > 0) {
        coroutine_queue_wait(&buffer->landed);
    }
}

void coroutine_fn qcow2_write_buffer_free(Qcow2WriteBuffer *buffer)
{
    unsigned i;

    if (!buffer) {
        return;
    }
    wait_for_all(buffer);
    for (i = 0; i < CHUNKS; i++) {
        free(buffer->chunks[i].bytes);
    }
    g_clear_error(&buffer->error);
    g_free(buffer);
}

static void coroutine_fn chunk_entry(void *opaque)
{
    WriteChunk *chunk = opaque;
    Qcow2WriteBuffer *buffer = chunk->buffer;
    int ret = block_file_pwrite(buffer->file, chunk->offset, chunk->bytes,
                                chunk->filled);

    if (ret < 0 && !buffer->error) {
        snap_error_set_errno(&buffer->error, ret,
                             "cannot write %zu bytes of metadata at 0x%" PRIx64,
                             chunk->filled, chunk->offset);
    }
    chunk->in_flight = false;
    buffer->in_flight--;
    coroutine_queue_wake_all(&buffer->landed);
}

/* Let the chunk that is being filled go. */
static void start_write(Qcow2WriteBuffer *buffer)
{
    WriteChunk *chunk = g_steal_pointer(&buffer->filling);

    if (chunk) {
        chunk->in_flight = true;
        buffer->in_flight++;
        event_loop_start(chunk_entry, chunk);
    }
}

static bool check_error(const Qcow2WriteBuffer *buffer, GError **errp)
{
    if (buffer->error && errp) {
        *errp = g_error_copy(buffer->error);
    }
    return !buffer->error;
}

/* Begin to fill a chunk that is free, or will be. Yields. */
static bool coroutine_fn begin_chunk(Qcow2WriteBuffer *buffer, uint64_t offset,
                                     GError **errp)
{
    WriteChunk *chunk = buffer->chunks;

    while (buffer->in_flight == CHUNKS) {
        coroutine_queue_wait(&buffer->landed);
    }
    while (chunk->in_flight) {
        chunk++;
    }
    if (!check_error(buffer, errp) || !chunk_prepare(chunk, errp)) {
        return false;
    }
    chunk->offset = offset;
    chunk->filled = 0;
    buffer->filling = chunk;
    return true;
}

bool coroutine_fn qcow2_write_buffer_flush(Qcow2WriteBuffer *buffer,
                                           GError **errp)
{
    start_write(buffer);
    wait_for_all(buffer);
    return check_error(buffer, errp);
}

static void fill(WriteChunk *chunk, const uint8_t *data, size_t bytes)
{
    if (data) {
        memcpy(chunk->bytes + chunk->filled, data, bytes);
    } else {
        memset(chunk->bytes + chunk->filled, 0, bytes);
    }
    chunk->filled += bytes;
}

bool coroutine_fn qcow2_write_buffer_put(Qcow2WriteBuffer *buffer,
                                         uint64_t offset, const void *data,
                                         size_t bytes, GError **errp)
{
    const uint8_t *from = data;
    WriteChunk *chunk = buffer->filling;

    if (chunk && offset != chunk->offset + chunk->filled) {
        start_write(buffer);
    }
    while (bytes > 0) {
        size_t piece;

        if (!buffer->filling && !begin_chunk(buffer, offset, errp)) {
            return false;
        }
        chunk = buffer->filling;
        piece = MIN(bytes, CHUNK_BYTES - chunk->filled);
        fill(chunk, from, piece);
        from = from ? from + piece : NULL;
        offset += piece;
        bytes -= piece;
        if (chunk->filled == CHUNK_BYTES) {
            start_write(buffer);
        }
    }
    return true;
}
