/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A regular file or block device of the host as a block file: how it is opened
 * is decided here, how requests are carried out by the engines (aio-engine.h).
 *
 * There is one open() by name in the life of a file. The image locks belong to
 * the open file description, so a second one would be in conflict with the
 * first; O_DIRECT is therefore switched on afterwards, on the same descriptor.
 * (Others are made from it, without locks and for reading: reopen.h.)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio-choice.h"
#include "aio-engine.h"
#include "bounce.h"
#include "cached-read.h"
#include "checked.h"
#include "direct-io.h"
#include "host-file.h"
#include "image-lock.h"
#include "io-vector.h"
#include "snap-error.h"
#include "thread-pool.h"

/* As qemu-img does; the umask takes off what the user wants off. */

typedef struct HostFile {
    BlockFile file;

    /* Constant after opening. */
    int fd;
    bool ignores_flush;
    Trace *trace;
    ThreadPool *pool;
    AioChoice *choice;

    bool tries_cache;       /* at the next long read; see host_file_cache() */
    CachedRead cached_read; /* .cache NULL: everything is read directly */
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
    return aio_choice_engine(host->choice, host->in_flight);
}

static void host_file_end_phase(HostFile *host)
{
    if (host->in_flight == 0) {
        aio_choice_end_phase(host->choice);
    }
}

static bool host_file_is_aligned(BlockFile *file, int64_t offset,
                                 const struct iovec *iov, int iovcnt)
{
    return is_aligned(offset, file->alignment) &&
           io_vector_is_aligned(iov, iovcnt, file->alignment);
}

static int coroutine_fn host_file_read_direct(void *opaque, int64_t offset,
                                              const struct iovec *iov,
                                              int iovcnt)
{
    HostFile *host = opaque;

    return aio_engine_preadv(host_file_engine(host), host->file.alignment,
                             offset, iov, iovcnt);
}

/*
 * Should this aligned read look into the page cache? Whether that is possible
 * is found out at the first one for which it is worthwhile: then the image is
 * locked, and on a network file system what is opened now is fresh. And who
 * only looks at the metadata never needs to know.
 */
static bool host_file_cache(HostFile *host, const struct iovec *iov, int iovcnt)
{
    int ret;

    if (io_vector_bytes(iov, iovcnt) < CACHED_READ_MIN) {
        return false;
    }
    if (host->tries_cache) {
        host->tries_cache = false;
        ret = page_cache_new(host->fd, host->pool, &host->cached_read.cache);
        if (ret < 0) {
            trace_event(host->trace, "host_file_fallback",
                        "wanted='O_DIRECT and page cache' used='O_DIRECT' "
                        "error='%s'",
                        g_strerror(-ret));
        }
    }
    return host->cached_read.cache != NULL;
}

static int coroutine_fn host_file_preadv(BlockFile *file, int64_t offset,
                                         const struct iovec *iov, int iovcnt)
{
    HostFile *host = host_file_from(file);
    int ret;

    host->in_flight++;
    if (!host_file_is_aligned(file, offset, iov, iovcnt)) {
        ret = bounce_preadv(host_file_engine(host), file->alignment, offset,
                            iov, iovcnt);
    } else if (host_file_cache(host, iov, iovcnt)) {
        ret = cached_read_preadv(&host->cached_read, offset, iov, iovcnt);
    } else {
        ret = host_file_read_direct(host, offset, iov, iovcnt);
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

static int64_t host_file_do_discard(void *opaque)
{
    const HostFileCall *call = opaque;

    if (TEMP_FAILURE_RETRY(fallocate(call->fd,
                                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     call->offset, call->bytes)) == 0) {
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

    host_file_end_phase(host);
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

static int coroutine_fn host_file_discard(BlockFile *file, int64_t offset,
                                          int64_t bytes)
{
    return host_file_call(host_file_from(file), host_file_do_discard, offset,
                          bytes);
}

typedef struct HostFileClone {
    int fd;
    struct file_clone_range range;
} HostFileClone;

static int64_t host_file_do_clone(void *opaque)
{
    const HostFileClone *clone = opaque;

    if (TEMP_FAILURE_RETRY(ioctl(clone->fd, FICLONERANGE, &clone->range)) ==
        0) {
        return 0;
    }
    switch (errno) {
    case EINVAL: /* also: not a multiple of the block size */
    case ENOSYS:
    case ENOTTY:
    case EOPNOTSUPP:
    case EXDEV:
        return -ENOTSUP;
    default:
        return -errno;
    }
}

static int coroutine_fn host_file_clone(BlockFile *file, int64_t offset,
                                        BlockFile *source,
                                        int64_t source_offset, int64_t bytes)
{
    HostFile *host = host_file_from(file);
    HostFileClone clone = {
        .fd = host->fd,
        .range = {
            .src_fd = host_file_from(source)->fd,
            .src_offset = source_offset,
            .src_length = bytes,
            .dest_offset = offset,
        },
    };
    int ret;

    host->in_flight++;
    ret = thread_pool_run(host->pool, host_file_do_clone, &clone);
    host->in_flight--;
    return ret;
}

static bool host_file_lock(BlockFile *file, BlockFileLock lock, GError **errp)
{
    HostFile *host = host_file_from(file);

    if (!image_lock_change(host->fd, host->lock, lock, errp)) {
        return false;
    }
    host->lock = lock;
    if (lock == BLOCK_FILE_LOCK_NONE) {
        host_file_end_phase(host);
    }
    return true;
}

static void host_file_register_buffers(BlockFile *file, void *memory,
                                       size_t bytes)
{
    aio_choice_set_buffers(host_file_from(file)->choice, memory, bytes);
}

static void host_file_unregister_buffers(BlockFile *file)
{
    HostFile *host = host_file_from(file);

    g_assert(host->in_flight == 0);
    aio_choice_set_buffers(host->choice, NULL, 0);
}

static void host_file_close_cache(HostFile *host)
{
    if (host->cached_read.cache) {
        trace_event(host->trace, "host_file_cached_reads",
                    "cached_bytes=%" PRIu64 " direct_bytes=%" PRIu64,
                    host->cached_read.cached_bytes,
                    host->cached_read.direct_bytes);
        page_cache_free(host->cached_read.cache);
    }
}

static void host_file_close(BlockFile *file)
{
    HostFile *host = host_file_from(file);

    g_assert(host->in_flight == 0);
    /*
     * The locks go with the last reference to the open file, and that may be
     * the kernel's own for a moment: the next one must not wait for it.
     */
    image_lock_change(host->fd, host->lock, BLOCK_FILE_LOCK_NONE, NULL);
    host_file_close_cache(host);
    aio_choice_free(host->choice);
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
    .discard = host_file_discard,
    .clone = host_file_clone,
    .lock = host_file_lock,
    .register_buffers = host_file_register_buffers,
    .unregister_buffers = host_file_unregister_buffers,
    .close = host_file_close,
};

static bool host_file_cache_is_direct(HostFileCache cache)
{
    return cache == HOST_FILE_CACHE_NONE || cache == HOST_FILE_CACHE_DIRECTSYNC;
}

static bool host_file_check_options(const HostFileOptions *options,
                                    GError **errp)
{
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
    if (options->cache == HOST_FILE_CACHE_DIRECTSYNC) {
        flags |= O_DSYNC;
    }
    fd = TEMP_FAILURE_RETRY(open(path, flags));
    if (fd < 0 && errno == EISDIR) {
        host_file_set_wrong_type(errp, S_IFDIR);
    } else if (fd < 0) {
        snap_error_set_errno(errp, -errno, "Could not open");
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
    if (ret == 0) {
        return true;
    }
    if (!required) {
        trace_event(host->trace, "host_file_fallback",
                    "wanted='O_DIRECT' used='page cache' error='%s'",
                    g_strerror(-ret));
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

/*
 * A reader whom the cache mode is left to takes from the page cache what is
 * there. Not so on a block device: other hosts may write to it as well, and
 * then its page cache, unlike that of a file system, holds old data; and it is
 * dropped with the last one who has the device open.
 */
static void host_file_setup_cached_reads(HostFile *host,
                                         const HostFileOptions *options,
                                         bool direct)
{
    host->tries_cache = direct && !options->writable &&
                        options->cache == HOST_FILE_CACHE_AUTOMATIC &&
                        !host->file.fixed_size;
    host->cached_read.read_direct = host_file_read_direct;
    host->cached_read.opaque = host;
}

static const char *host_file_cache_name(HostFileCache cache, bool direct)
{
    if (cache == HOST_FILE_CACHE_DIRECTSYNC) {
        return "directsync";
    }
    if (cache == HOST_FILE_CACHE_UNSAFE) {
        return "unsafe";
    }
    return direct ? "none" : "writeback";
}

static bool host_file_setup(HostFile *host, const HostFileOptions *options,
                            GError **errp)
{
    bool direct;

    if (!host_file_check_type(host, errp) ||
        !host_file_setup_cache(host, options, &direct, errp)) {
        return false;
    }
    host_file_setup_cached_reads(host, options, direct);
    trace_event(host->trace, "host_file_open",
                "cache=%s alignment=%zu page_cache_reads=%s",
                host_file_cache_name(options->cache, direct),
                host->file.alignment, host->tries_cache ? "try" : "no");
    host->pool = thread_pool_new();
    host->choice = aio_choice_new(host->fd, direct, options, host->pool, errp);
    return host->choice != NULL &&
           host_file_lock(&host->file, options->lock, errp);
}

/*
 * Who gives up an image that it has made removes it, and then its lock. Whoever
 * had it open by then gets the lock of something that nobody will find again.
 * What has no name may also be what was meant, by way of /proc.
 */
static bool host_file_check_name(const HostFile *host, const char *path,
                                 GError **errp)
{
    struct stat status;
    struct stat named;

    if (fstat(host->fd, &status) < 0 || status.st_nlink > 0 ||
        (stat(path, &named) == 0 && named.st_dev == status.st_dev &&
         named.st_ino == status.st_ino)) {
        return true;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND,
                "Could not open: the file has just been removed");
    return false;
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
    host->trace = options->trace;
    host->fd = fd;
    if (!host_file_setup(host, options, errp) ||
        !host_file_check_name(host, path, errp)) {
        host_file_close(&host->file);
        return NULL;
    }
    return &host->file;
}
