/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See write-buffer.h. One piece follows the other or the buffer is written:
 * order in the file is the caller's business, no sorting is done here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snap-error.h"
#include "write-buffer.h"

#define WRITE_BUFFER_BYTES (1024 * 1024)

struct Qcow2WriteBuffer {
    BlockFile *file;
    uint64_t offset; /* of the gathered bytes in the file */
    size_t filled;   /* how many there are */
    uint8_t *bytes;
};

Qcow2WriteBuffer *qcow2_write_buffer_new(BlockFile *file, GError **errp)
{
    Qcow2WriteBuffer *buffer = g_new0(Qcow2WriteBuffer, 1);

    buffer->file = file;
    buffer->bytes = block_file_alloc_buffer(WRITE_BUFFER_BYTES);
    if (!buffer->bytes) {
        snap_error_set_errno(errp, -ENOMEM, "metadata buffer");
        g_clear_pointer(&buffer, g_free);
    }
    return buffer;
}

void qcow2_write_buffer_free(Qcow2WriteBuffer *buffer)
{
    if (buffer) {
        free(buffer->bytes);
        g_free(buffer);
    }
}

bool coroutine_fn qcow2_write_buffer_flush(Qcow2WriteBuffer *buffer,
                                           GError **errp)
{
    size_t bytes = buffer->filled;
    int ret;

    if (bytes == 0) {
        return true;
    }
    buffer->filled = 0;
    ret = block_file_pwrite(buffer->file, buffer->offset, buffer->bytes, bytes);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write %zu bytes of metadata at 0x%" PRIx64,
                             bytes, buffer->offset);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_write_buffer_put(Qcow2WriteBuffer *buffer,
                                         uint64_t offset, const void *data,
                                         size_t bytes, GError **errp)
{
    if (offset != buffer->offset + buffer->filled &&
        !qcow2_write_buffer_flush(buffer, errp)) {
        return false;
    }
    while (bytes > 0) {
        size_t piece = MIN(bytes, WRITE_BUFFER_BYTES - buffer->filled);

        if (buffer->filled == 0) {
            buffer->offset = offset;
        }
        if (data) {
            memcpy(buffer->bytes + buffer->filled, data, piece);
            data = (const uint8_t *)data + piece;
        } else {
            memset(buffer->bytes + buffer->filled, 0, piece);
        }
        buffer->filled += piece;
        offset += piece;
        bytes -= piece;
        if (buffer->filled == WRITE_BUFFER_BYTES &&
            !qcow2_write_buffer_flush(buffer, errp)) {
            return false;
        }
    }
    return true;
}
