/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Gathers small pieces of metadata that lie next to each other in the file
 * into large aligned writes, several of which are in flight: tables of 512-byte
 * clusters would otherwise go out one sector at a time.
 */
#ifndef QCOW2_WRITE_BUFFER_H
#define QCOW2_WRITE_BUFFER_H

#include "block-file.h"

typedef struct Qcow2WriteBuffer Qcow2WriteBuffer;

/* Returns NULL and fills @errp when there is no memory. */
Qcow2WriteBuffer *qcow2_write_buffer_new(BlockFile *file, GError **errp);

/*
 * Whatever was not flushed is dropped or written, who knows; nothing is in
 * flight any more. NULL is allowed. Yields.
 */
void coroutine_fn qcow2_write_buffer_free(Qcow2WriteBuffer *buffer);

/*
 * Write @bytes of @data at @offset, now or later. @data may be NULL for
 * zeros. One caller at a time. Yields. Errors (IO, NO_SPACE) may belong to an
 * earlier piece.
 */
bool coroutine_fn qcow2_write_buffer_put(Qcow2WriteBuffer *buffer,
                                         uint64_t offset, const void *data,
                                         size_t bytes, GError **errp);

/* Write what has been gathered and wait for it. Yields. */
bool coroutine_fn qcow2_write_buffer_flush(Qcow2WriteBuffer *buffer,
                                           GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2WriteBuffer, qcow2_write_buffer_free)

#endif /* QCOW2_WRITE_BUFFER_H */
