/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A regular file or block device of the host as a block file: how it is opened
 * is decided here, how requests are carried out by the engines (aio-engine.h).
 *
 * There is one open() in the life of a file. The image locks belong to the
 * open file description, so a second one would be in conflict with the first;
 * O_DIRECT is therefore switched on afterwards, on the same descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio-engine.h"
#include "bounce.h"
#include "checked.h"
#include "direct-io.h"
#include "host-file.h"
#include "image-lock.h"
#include "io-vector.h"
#include "snap-error.h"
#include "thread-pool.h"

/* As qemu-img does; the umask takes off what the user wants off. */
#define HOST_FILE_MODE 0644

/*
 * With automatic AIO, native AIO is set up when this many requests are in
 * flight at once, and given up when a phase of work is over: at a flush and
 * when the lock is dropped. Destroying it takes the kernel some 30 ms, and a
 * process cannot exit before. That is too long for a look at the metadata,
 * which asks for one piece after the other and gains nothing from it; and a
 * save or load that has moved its data has other things to do meanwhile.
 */
#define HOST_FILE_NATIVE_DEPTH 4

typedef struct HostFile {
    BlockFile file;

    /* Constant after opening. */
    int fd;
    bool ignores_flush;
    bool chooses_engine; /* see HOST_FILE_NATIVE_DEPTH */
    ThreadPool *pool;
    AioEngine *threads;

    AioEngine *kernel_aio; /* NULL: not set up; when there, it is used */
    bool native_failed;    /* to set up: not tried again */
    BlockFileLock lock;
    int flush_error;      /* see host_file_flush() */
    CoroutineMutex edges; /* see bounce.h */
    unsigned in_flight;   /* operations, not transfers */
} HostFile;

static HostFile *host_file_from(BlockFile *file)
{
    return (HostFile *)file;
}

static AioEngine *host_file_engine(HostFile *host)
{
    if (!host->kernel_aio && host->chooses_engine && !host->native_failed &&
        host->in_flight >= HOST_FILE_NATIVE_DEPTH) {
        host->native_failed = aio_native_new(host->fd, &host->kernel_aio) < 0;
    }
    return host->kernel_aio ? host->kernel_aio : host->threads;
}

static void host_file_give_up_native(HostFile *host)
{
    if (host->chooses_engine && host->in_flight == 0) {
        g_clear_pointer(&host->kernel_aio, aio_engine_close);
    }
}

static bool host_file_is_aligned(BlockFile *file, int64_t offset,
                                 const struct iovec *iov, int iovcnt)
{
    return is_aligned(offset, file->alignment) &&
           io_vector_is_aligned(iov, iovcnt, file->alignment);
}

static int coroutine_fn host_file_preadv(BlockFile *file, int64_t offset,
                                         const struct iovec *iov, int iovcnt)
{
    HostFile *host = host_file_from(file);
    AioEngine *engine;
    int ret;

    host->in_flight++;
    engine = host_file_engine(host);
    if (host_file_is_aligned(file, offset, iov, iovcnt)) {
        ret = aio_engine_preadv(engine, file->alignment, offset, iov, iovcnt);
    } else {
        ret = bounce_preadv(engine, file->alignment, offset, iov, iovcnt);
    }
    host->in_flight--;
    return ret;
}

static int coroutine_fn host_file_pwritev(BlockFile *file, int64_t offset,
                                          const struct iovec *iov, int iovcnt)
{
    HostFile *host = host_file_from(file);
    AioEngine *engine;
    int ret;

    host->in_flight++;
    engine = host_file_engine(host);
    if (host_file_is_aligned(file, offset, iov, iovcnt)) {
        ret = aio_engine_pwritev(engine, file->alignment, offset, iov, iovcnt);
    } else {
        ret = bounce_pwritev(engine, file->alignment, &host->edges, offset, iov,
                             iovcnt);
    }
    host->in_flight--;
    return ret;
}

/* The arguments of a system call that a worker makes. */
typedef struct HostFileCall {
    int fd;
    int64_t offset;
    int64_t bytes;
} HostFileCall;

static int64_t host_file_do_flush(void *opaque)
{
    const HostFileCall *call = opaque;

    return TEMP_FAILURE_RETRY(fdatasync(call->fd)) < 0 ? -errno : 0;
}

static int64_t host_file_do_truncate(void *opaque)
{
    const HostFileCall *call = opaque;

    return TEMP_FAILURE_RETRY(ftruncate(call->fd, call->bytes)) < 0 ? -errno
                                                                    : 0;
}

static int64_t host_file_do_allocate(void *opaque)
{
    const HostFileCall *call = opaque;

    if (TEMP_FAILURE_RETRY(fallocate(call->fd, 0, call->offset, call->bytes)) ==
        0) {
        return 0;
    }
    return errno == EOPNOTSUPP || errno == ENOSYS ? -ENOTSUP : -errno;
}

static int coroutine_fn host_file_call(HostFile *host, ThreadPoolFunc *func,
                                       int64_t offset, int64_t bytes)
{
    HostFileCall call = { .fd = host->fd, .offset = offset, .bytes = bytes };
    int ret;

    host->in_flight++;
    ret = thread_pool_run(host->pool, func, &call);
    host->in_flight--;
    return ret;
}

/*
 * The kernel reports a write that failed behind our back to one fdatasync()
 * and forgets it; the next one would succeed although the data is gone. So the
 * first failure stays.
 */
static int coroutine_fn host_file_flush(BlockFile *file)
{
    HostFile *host = host_file_from(file);
    int ret;

    host_file_give_up_native(host);
    if (host->ignores_flush) {
        return 0;
    }
    ret = host_file_call(host, host_file_do_flush, 0, 0);
    if (ret < 0 && host->flush_error == 0) {
        host->flush_error = ret;
    }
    return host->flush_error;
}

static int64_t host_file_size(BlockFile *file)
{
    HostFile *host = host_file_from(file);
    struct stat status;
    off_t end;

    if (file->fixed_size) {
        end = lseek(host->fd, 0, SEEK_END);
        return end < 0 ? -errno : end;
    }
    return fstat(host->fd, &status) < 0 ? -errno : status.st_size;
}

static int coroutine_fn host_file_truncate(BlockFile *file, int64_t size)
{
    HostFile *host = host_file_from(file);
    int ret;

    /* What is cut off must not come back with the edge of a write. */
    coroutine_mutex_lock(&host->edges);
    ret = host_file_call(host, host_file_do_truncate, 0, size);
    coroutine_mutex_unlock(&host->edges);
    return ret;
}

static int coroutine_fn host_file_allocate(BlockFile *file, int64_t offset,
                                           int64_t bytes)
{
    HostFile *host = host_file_from(file);

    if (file->fixed_size) {
        int64_t size = host_file_size(file);

        if (size < 0) {
            return size;
        }
        return range_within(offset, bytes, size) ? 0 : -ENOSPC;
    }
    return host_file_call(host, host_file_do_allocate, offset, bytes);
}

static bool host_file_lock(BlockFile *file, BlockFileLock lock, GError **errp)
{
    HostFile *host = host_file_from(file);

    if (!image_lock_change(host->fd, host->lock, lock, errp)) {
        return false;
    }
    host->lock = lock;
    if (lock == BLOCK_FILE_LOCK_NONE) {
        host_file_give_up_native(host);
    }
    return true;
}

static void host_file_close(BlockFile *file)
{
    HostFile *host = host_file_from(file);

    g_assert(host->in_flight == 0);
    if (host->kernel_aio) {
        /*
         * The locks go with the last reference to the open file, and that may
         * be the kernel's own for a moment: the next one must not wait for it.
         */
        image_lock_change(host->fd, host->lock, BLOCK_FILE_LOCK_NONE, NULL);
    }
    aio_engine_close(host->kernel_aio);
    aio_engine_close(host->threads);
    if (host->pool) {
        thread_pool_free(host->pool);
    }
    close(host->fd);
    g_free(host);
}

static const BlockFileOps host_file_ops = {
    .preadv = host_file_preadv,
    .pwritev = host_file_pwritev,
    .flush = host_file_flush,
    .size = host_file_size,
    .truncate = host_file_truncate,
    .allocate = host_file_allocate,
    .lock = host_file_lock,
    .close = host_file_close,
};

static bool host_file_cache_is_direct(HostFileCache cache)
{
    return cache == HOST_FILE_CACHE_NONE || cache == HOST_FILE_CACHE_DIRECTSYNC;
}

static bool host_file_check_options(const HostFileOptions *options,
                                    GError **errp)
{
    g_assert(options->writable || !options->create);
    if (options->aio == HOST_FILE_AIO_NATIVE &&
        options->cache != HOST_FILE_CACHE_AUTOMATIC &&
        !host_file_cache_is_direct(options->cache)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "aio=native was specified, but it requires "
                    "cache.direct=on, which was not specified.");
        return false;
    }
    return true;
}

static void host_file_set_wrong_type(GError **errp, mode_t mode)
{
    const char *type;

    if (S_ISDIR(mode)) {
        type = "a directory";
    } else if (S_ISFIFO(mode)) {
        type = "a FIFO";
    } else if (S_ISCHR(mode)) {
        type = "a character device";
    } else {
        type = "a special file";
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                "is %s, not a regular file or block device", type);
}

/* Returns a descriptor or -1. */
static int host_file_open_fd(const char *path, const HostFileOptions *options,
                             GError **errp)
{
    /* Not to wait for the other end of a FIFO, nor to gain a terminal. */
    int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd;

    flags |= options->writable ? O_RDWR : O_RDONLY;
    if (options->create) {
        flags |= O_CREAT | O_EXCL;
    }
    if (options->cache == HOST_FILE_CACHE_DIRECTSYNC) {
        flags |= O_DSYNC;
    }
    fd = TEMP_FAILURE_RETRY(open(path, flags, HOST_FILE_MODE));
    if (fd < 0 && errno == EISDIR) {
        host_file_set_wrong_type(errp, S_IFDIR);
    } else if (fd < 0) {
        snap_error_set_errno(errp, -errno, "Could not %s",
                             options->create ? "create" : "open");
    }
    return fd;
}

static bool host_file_check_type(HostFile *host, GError **errp)
{
    struct stat status;
    int flags;

    if (fstat(host->fd, &status) < 0) {
        snap_error_set_errno(errp, -errno, "Could not get the status");
        return false;
    }
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
        host_file_set_wrong_type(errp, status.st_mode);
        return false;
    }
    host->file.fixed_size = S_ISBLK(status.st_mode);
    /* From here on a request may take its time. */
    flags = fcntl(host->fd, F_GETFL);
    if (flags < 0 || fcntl(host->fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        snap_error_set_errno(errp, -errno, "Could not set the file's flags");
        return false;
    }
    return true;
}

/* Sets *@direct to whether the file is O_DIRECT now. */
static bool host_file_setup_cache(HostFile *host,
                                  const HostFileOptions *options, bool *direct,
                                  GError **errp)
{
    /* Native AIO is for O_DIRECT files, so who wants one wants both. */
    bool required = host_file_cache_is_direct(options->cache) ||
                    options->aio == HOST_FILE_AIO_NATIVE;
    int ret;

    host->file.alignment = 1;
    host->ignores_flush = options->cache == HOST_FILE_CACHE_UNSAFE;
    *direct = false;
    if (!required && options->cache != HOST_FILE_CACHE_AUTOMATIC) {
        return true;
    }
    ret = direct_io_enable(host->fd, &host->file.alignment);
    *direct = ret == 0;
    if (ret == 0 || !required) {
        return true;
    }
    if (ret == -EINVAL) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the file system does not support O_DIRECT; use "
                    "--cache=writeback");
    } else {
        snap_error_set_errno(errp, ret, "Could not switch to O_DIRECT");
    }
    return false;
}

static bool host_file_setup_uring(HostFile *host, GError **errp)
{
    int ret = aio_uring_new(host->fd, &host->kernel_aio);
    const char *reason = "";

    if (ret == 0) {
        return true;
    }
    if (ret == -ENOSYS) {
        reason = " (this kernel has none)";
    } else if (ret == -EPERM || ret == -EACCES) {
        reason = " (kernel.io_uring_disabled or a sandbox forbids it)";
    } else if (ret == -ENOMEM) {
        reason = " (RLIMIT_MEMLOCK may be too low)";
    }
    snap_error_set_errno(
        errp, ret, "Could not set up io_uring%s; use --aio=threads", reason);
    return false;
}

static bool host_file_setup_aio(HostFile *host, HostFileAio aio, bool direct,
                                GError **errp)
{
    int ret;

    host->pool = thread_pool_new();
    host->threads = aio_threads_new(host->fd, !direct, host->pool);
    switch (aio) {
    case HOST_FILE_AIO_AUTOMATIC:
        host->chooses_engine = direct;
        break;
    case HOST_FILE_AIO_NATIVE:
        ret = aio_native_new(host->fd, &host->kernel_aio);
        if (ret < 0) {
            snap_error_set_errno(errp, ret,
                                 "Could not set up native AIO%s; use "
                                 "--aio=threads",
                                 ret == -EAGAIN ? " (fs.aio-max-nr is used up)"
                                                : "");
            return false;
        }
        break;
    case HOST_FILE_AIO_THREADS:
        break;
    case HOST_FILE_AIO_IO_URING:
        return host_file_setup_uring(host, errp);
    }
    return true;
}

static bool host_file_setup(HostFile *host, const HostFileOptions *options,
                            GError **errp)
{
    bool direct;

    return host_file_check_type(host, errp) &&
           host_file_setup_cache(host, options, &direct, errp) &&
           host_file_setup_aio(host, options->aio, direct, errp) &&
           host_file_lock(&host->file, options->lock, errp);
}

BlockFile *host_file_open(const char *path, const HostFileOptions *options,
                          GError **errp)
{
    HostFile *host;
    int fd;

    if (!host_file_check_options(options, errp)) {
        return NULL;
    }
    fd = host_file_open_fd(path, options, errp);
    if (fd < 0) {
        return NULL;
    }
    host = g_new0(HostFile, 1);
    host->file.ops = &host_file_ops;
    host->file.writable = options->writable;
    host->fd = fd;
    if (!host_file_setup(host, options, errp)) {
        host_file_close(&host->file);
        if (options->create) {
            /* Ours: it was not there before. */
            unlink(path);
        }
        return NULL;
    }
    return &host->file;
}
