/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A block file: bytes at offsets, read and written by many coroutines at once.
 * The image format reaches storage through these calls only, so that it runs
 * unchanged on a file of the host and on the memory file of the tests.
 */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <glib.h>

#include "coroutine.h"

typedef struct BlockFile BlockFile;

/* What QEMU's image locking lets others do while we have the image open. */
typedef enum BlockFileLock {
    BLOCK_FILE_LOCK_NONE,  /* -U: nothing is locked, results may be torn */
    BLOCK_FILE_LOCK_READ,  /* nobody may write */
    BLOCK_FILE_LOCK_WRITE, /* nobody may write or rely on what they read */
} BlockFileLock;

typedef struct BlockFileOps {
    /* See the wrappers below for the contracts. */
    int coroutine_fn (*preadv)(BlockFile *file, int64_t offset,
                               const struct iovec *iov, int iovcnt);
    int coroutine_fn (*pwritev)(BlockFile *file, int64_t offset,
                                const struct iovec *iov, int iovcnt);
    int coroutine_fn (*flush)(BlockFile *file);
    int64_t (*size)(BlockFile *file);
    int coroutine_fn (*truncate)(BlockFile *file, int64_t size);
    int coroutine_fn (*allocate)(BlockFile *file, int64_t offset,
                                 int64_t bytes);
    /* NULL: cannot. */
    int coroutine_fn (*discard)(BlockFile *file, int64_t offset, int64_t bytes);
    /* NULL: cannot. @source is of the same implementation. */
    int coroutine_fn (*clone)(BlockFile *file, int64_t offset,
                              BlockFile *source, int64_t source_offset,
                              int64_t bytes);
    bool (*lock)(BlockFile *file, BlockFileLock lock, GError **errp);
    /* Both are there, or neither. */
    void (*register_buffers)(BlockFile *file, void *memory, size_t bytes);
    void (*unregister_buffers)(BlockFile *file);
    void (*close)(BlockFile *file);
} BlockFileOps;

/* An implementation embeds this as its first member. */
struct BlockFile {
    const BlockFileOps *ops;
    /*
     * Power of two, 1 to 4096. A request whose offset, length and memory are
     * multiples of it goes to the device as it is; any other one works too,
     * through a bounce buffer. Constant after opening.
     */
    size_t alignment;
    bool writable;   /* constant after opening */
    bool fixed_size; /* a block device: can neither grow nor shrink */
};

/*
 * Memory for requests: aligned for every device, zeroed. Free with free().
 * Returns NULL when there is none: the size may come from an image.
 */
void *block_file_alloc_buffer(size_t bytes);

/*
 * Read exactly the bytes of the vector at @offset. What lies at or behind the
 * end of the file reads as zeros; whoever must tell the difference asks for
 * the size. Yields. Returns 0 or a negative errno.
 */
int coroutine_fn block_file_preadv(BlockFile *file, int64_t offset,
                                   const struct iovec *iov, int iovcnt);
int coroutine_fn block_file_pread(BlockFile *file, int64_t offset, void *buffer,
                                  size_t bytes);

/*
 * Write all bytes of the vector at @offset; the file grows where it must, and
 * where the request ends off the alignment behind the end of the file, it may
 * grow up to the next multiple, with zeros. Requests in flight must not overlap
 * in bytes; that they share an alignment block is allowed. Not stable before a
 * flush. Yields.
 * Returns 0 or a negative errno; after an error any part may have been
 * written.
 */
int coroutine_fn block_file_pwritev(BlockFile *file, int64_t offset,
                                    const struct iovec *iov, int iovcnt);
int coroutine_fn block_file_pwrite(BlockFile *file, int64_t offset,
                                   const void *buffer, size_t bytes);

/*
 * Make everything stable whose write returned before this call. Yields.
 * Returns 0 or a negative errno; after an error nothing is known about any
 * write since the last flush that succeeded, and a host file fails all later
 * flushes, too: the kernel forgets, the data is lost.
 */
int coroutine_fn block_file_flush(BlockFile *file);

/* Present size in bytes, or a negative errno. Does not yield. */
int64_t block_file_size(BlockFile *file);

/*
 * Cut the file or make it longer with zeros. Yields. Returns 0 or a negative
 * errno (-ENOTSUP on a block device).
 */
int coroutine_fn block_file_truncate(BlockFile *file, int64_t size);

/*
 * Make sure that later writes to this range cannot fail for want of space; the
 * file grows to hold it. Yields. Returns 0 or a negative errno; -ENOTSUP when
 * the file system cannot promise that, -ENOSPC behind the end of a block
 * device.
 */
int coroutine_fn block_file_allocate(BlockFile *file, int64_t offset,
                                     int64_t bytes);

/*
 * This range is not needed any more: give its disk space back, where the file
 * system can do that in place. What is read there afterwards is not said, nor
 * that a later write finds room. The length of the file stays. Yields. Returns
 * 0 or a negative errno; -ENOTSUP when it is not possible here, always on a
 * block device, where it would be a request to the hardware.
 */
int coroutine_fn block_file_discard(BlockFile *file, int64_t offset,
                                    int64_t bytes);

/*
 * Let this range have the content of @source at @source_offset without copying
 * it: the file system refers to the same blocks twice, and takes no space for
 * that. Offsets and @bytes are multiples of its block size. Yields. Returns 0
 * or a negative errno; -ENOTSUP when that is not possible with these files,
 * file systems or numbers. After an error any part may have been cloned.
 */
int coroutine_fn block_file_clone(BlockFile *file, int64_t offset,
                                  BlockFile *source, int64_t source_offset,
                                  int64_t bytes);

/*
 * Take, change or drop (BLOCK_FILE_LOCK_NONE) the lock, by QEMU's protocol;
 * the words of the error (LOCKED, or IO where locking does not work) are
 * QEMU's. When it fails, what was held before still is. Does not wait and does
 * not yield.
 */
bool block_file_lock(BlockFile *file, BlockFileLock lock, GError **errp);

/*
 * A hint that many requests will use this memory, so that each of them costs
 * less. Its pages stay the same ones (no madvise() gives them back, nothing is
 * mapped over them) until it is unregistered or the file is closed. One region
 * at a time. Where it is not possible, nothing happens. Does not yield.
 */
void block_file_register_buffers(BlockFile *file, void *memory, size_t bytes);

/* Nothing may be in flight. Does not yield. */
void block_file_unregister_buffers(BlockFile *file);

/* Nothing may be in flight. Drops the lock. NULL is allowed. */
void block_file_close(BlockFile *file);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockFile, block_file_close)

#endif /* BLOCK_FILE_H */
