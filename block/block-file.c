/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The calls of block-file.h: what is the same for every implementation is
 * checked here, once, so that an implementation sees only requests that make
 * sense. Offsets and lengths may come from an image and are answered with
 * errors.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "block-file.h"
#include "checked.h"
#include "io-vector.h"

void *block_file_alloc_buffer(size_t bytes)
{
    void *buffer;

    /* Something to free even when nothing is asked for. */
    bytes = MAX(bytes, 1);
    if (posix_memalign(&buffer, sysconf(_SC_PAGESIZE), bytes) != 0) {
        return NULL;
    }
    memset(buffer, 0, bytes);
    return buffer;
}

/* Is [@offset, @offset + @bytes) something that a file can have? */
static bool block_file_range_is_valid(int64_t offset, uint64_t bytes)
{
    return offset >= 0 && range_within(offset, bytes, INT64_MAX);
}

/* Returns the length of the request or a negative errno. */
static int64_t block_file_check_request(int64_t offset, const struct iovec *iov,
                                        int iovcnt)
{
    uint64_t bytes;

    if (!io_vector_is_valid(iov, iovcnt)) {
        return -EINVAL;
    }
    bytes = io_vector_bytes(iov, iovcnt);
    return block_file_range_is_valid(offset, bytes) ? (int64_t)bytes : -EINVAL;
}

int coroutine_fn block_file_preadv(BlockFile *file, int64_t offset,
                                   const struct iovec *iov, int iovcnt)
{
    int64_t bytes = block_file_check_request(offset, iov, iovcnt);

    if (bytes <= 0) {
        return bytes;
    }
    return file->ops->preadv(file, offset, iov, iovcnt);
}

int coroutine_fn block_file_pread(BlockFile *file, int64_t offset, void *buffer,
                                  size_t bytes)
{
    struct iovec iov = { .iov_base = buffer, .iov_len = bytes };

    return block_file_preadv(file, offset, &iov, 1);
}

int coroutine_fn block_file_pwritev(BlockFile *file, int64_t offset,
                                    const struct iovec *iov, int iovcnt)
{
    int64_t bytes = block_file_check_request(offset, iov, iovcnt);

    if (bytes < 0) {
        return bytes;
    }
    if (!file->writable) {
        return -EBADF;
    }
    if (bytes == 0) {
        return 0;
    }
    return file->ops->pwritev(file, offset, iov, iovcnt);
}

int coroutine_fn block_file_pwrite(BlockFile *file, int64_t offset,
                                   const void *buffer, size_t bytes)
{
    struct iovec iov = { .iov_base = (void *)buffer, .iov_len = bytes };

    return block_file_pwritev(file, offset, &iov, 1);
}

int coroutine_fn block_file_flush(BlockFile *file)
{
    /* Who cannot write has nothing to make stable. */
    if (!file->writable) {
        return 0;
    }
    return file->ops->flush(file);
}

int64_t block_file_size(BlockFile *file)
{
    return file->ops->size(file);
}

int coroutine_fn block_file_truncate(BlockFile *file, int64_t size)
{
    if (size < 0) {
        return -EINVAL;
    }
    if (!file->writable) {
        return -EBADF;
    }
    if (file->fixed_size) {
        return -ENOTSUP;
    }
    return file->ops->truncate(file, size);
}

int coroutine_fn block_file_allocate(BlockFile *file, int64_t offset,
                                     int64_t bytes)
{
    if (bytes < 0 || !block_file_range_is_valid(offset, bytes)) {
        return -EINVAL;
    }
    if (!file->writable) {
        return -EBADF;
    }
    if (bytes == 0) {
        return 0;
    }
    return file->ops->allocate(file, offset, bytes);
}

int coroutine_fn block_file_discard(BlockFile *file, int64_t offset,
                                    int64_t bytes)
{
    if (bytes < 0 || !block_file_range_is_valid(offset, bytes)) {
        return -EINVAL;
    }
    if (!file->writable) {
        return -EBADF;
    }
    if (!file->ops->discard || file->fixed_size) {
        return -ENOTSUP;
    }
    if (bytes == 0) {
        return 0;
    }
    return file->ops->discard(file, offset, bytes);
}

int coroutine_fn block_file_clone(BlockFile *file, int64_t offset,
                                  BlockFile *source, int64_t source_offset,
                                  int64_t bytes)
{
    if (bytes < 0 || !block_file_range_is_valid(offset, bytes) ||
        !block_file_range_is_valid(source_offset, bytes)) {
        return -EINVAL;
    }
    if (!file->writable) {
        return -EBADF;
    }
    if (!file->ops->clone || file->ops != source->ops) {
        return -ENOTSUP;
    }
    if (bytes == 0) {
        return 0;
    }
    return file->ops->clone(file, offset, source, source_offset, bytes);
}

bool block_file_lock(BlockFile *file, BlockFileLock lock, GError **errp)
{
    return file->ops->lock(file, lock, errp);
}

void block_file_register_buffers(BlockFile *file, void *memory, size_t bytes)
{
    if (file->ops->register_buffers && bytes > 0) {
        file->ops->register_buffers(file, memory, bytes);
    }
}

void block_file_unregister_buffers(BlockFile *file)
{
    if (file->ops->unregister_buffers) {
        file->ops->unregister_buffers(file);
    }
}

void block_file_close(BlockFile *file)
{
    if (file) {
        file->ops->close(file);
    }
}
