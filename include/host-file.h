/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The block file that users have: a regular file or block device of the host,
 * read and written by an asynchronous engine.
 */
#ifndef HOST_FILE_H
#define HOST_FILE_H

#include "block-file.h"
#include "trace.h"

/*
 * As QEMU's -drive cache=. AUTOMATIC is `none' where O_DIRECT works, and
 * `writeback' elsewhere; with O_DIRECT, long reads of a regular file that is
 * not opened for writing take from the page cache what is there already.
 */
typedef enum HostFileCache {
    HOST_FILE_CACHE_AUTOMATIC,
    HOST_FILE_CACHE_NONE,       /* O_DIRECT */
    HOST_FILE_CACHE_WRITEBACK,  /* host page cache */
    HOST_FILE_CACHE_DIRECTSYNC, /* O_DIRECT, each write stable at once */
    HOST_FILE_CACHE_UNSAFE,     /* host page cache, flushes ignored */
} HostFileCache;

/*
 * AUTOMATIC is threads, and on O_DIRECT files, as soon as several requests are
 * in flight at once, what the kernel grants first: io_uring if the file is not
 * opened for writing, native AIO, or else threads still. NATIVE wants O_DIRECT;
 * IO_URING does not mind, but not every kernel or sandbox has it, and when a
 * process that writes is killed the lock may stay for some 50 ms.
 */
typedef enum HostFileAio {
    HOST_FILE_AIO_AUTOMATIC,
    HOST_FILE_AIO_NATIVE,
    HOST_FILE_AIO_THREADS,
    HOST_FILE_AIO_IO_URING,
} HostFileAio;

typedef struct HostFileOptions {
    bool writable;
    HostFileCache cache;
    HostFileAio aio;
    BlockFileLock lock;
    Trace *trace; /* NULL: nobody listens; must outlive the file */
} HostFileOptions;

/*
 * Open @path. Only regular files and block devices are taken; a FIFO or
 * terminal of that name is refused without waiting for it. Does not yield. The
 * process ignores SIGXFSZ, so that a size limit is an error.
 * Returns NULL and fills @errp: NOT_FOUND, LOCKED, INVALID (another type of
 * file, or native AIO without O_DIRECT asked for), UNSUPPORTED (O_DIRECT asked
 * for and not possible), IO.
 */
BlockFile *host_file_open(const char *path, const HostFileOptions *options,
                          GError **errp);

#endif /* HOST_FILE_H */
