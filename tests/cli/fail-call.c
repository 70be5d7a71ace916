/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * An operating system that fails once. Preloaded into a program, it lets one
 * call that the program makes return an error, or do only a part:
 *
 *   FAIL_CALL    its kind, one of `names' below
 *   FAIL_NTH     the how many-th of that kind, from 1; 0: none
 *   FAIL_ERROR   the errno; 0: a transfer that is short
 *   FAIL_FILE    made when the call has come and has failed
 *   FAIL_SIGNAL  if set: nothing fails, but this signal comes instead
 *   FAIL_COUNTS  if set: a file for how many calls there were of each kind
 *   FAIL_SYSTEM  words for what else is the case, each time:
 *                  locked  somebody has the image, at the first attempt
 *                  held    somebody has it at every attempt
 *                  clones  the file system clones (it copies, in fact)
 *                  named   it has no files without names
 *
 * Calls are counted over all threads. Only those are of interest that concern
 * images, temporary files and streams: calls that open other files, for one,
 * are left alone. Reads and writes are also those of fail-request.c.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fail-call.h"

static const char *const names[KINDS] = {
    "open",    "status",   "lock",  "read", "write", "flush",  "allocate",
    "discard", "truncate", "clone", "name", "input", "output", "memory",
};

#define LEAST_MEMORY (1024 * 1024)

static atomic_long counts[KINDS];

static const char *setting(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}

int fails(int kind)
{
    long number = atomic_fetch_add(&counts[kind], 1) + 1;
    int fd;

    if (strcmp(setting("FAIL_CALL"), names[kind]) != 0 ||
        number != atol(setting("FAIL_NTH"))) {
        return 0;
    }
    fd = syscall(SYS_openat, AT_FDCWD, setting("FAIL_FILE"), O_CREAT | O_WRONLY,
                 0600);
    syscall(SYS_close, fd);
    if (*setting("FAIL_SIGNAL")) {
        kill(getpid(), atoi(setting("FAIL_SIGNAL")));
        return 0;
    }
    return 1;
}

int failure(void)
{
    return atoi(setting("FAIL_ERROR"));
}

static int error(void)
{
    errno = failure();
    return -1;
}

static int is_short(void)
{
    return failure() == 0;
}

static int system_is(const char *word)
{
    return strstr(setting("FAIL_SYSTEM"), word) != NULL;
}

static __attribute__((destructor)) void write_counts(void)
{
    const char *name = setting("FAIL_COUNTS");
    FILE *file = *name ? fopen(name, "w") : NULL;
    int kind;

    for (kind = 0; file && kind < KINDS; kind++) {
        fprintf(file, "%s %ld\n", names[kind], atomic_load(&counts[kind]));
    }
    if (file) {
        fclose(file);
    }
}

static int is_nameless(int flags)
{
    return (flags & O_TMPFILE) == O_TMPFILE;
}

/* Images; directories, for temporary files in them; and these themselves. */
static int is_of_interest(const char *path, int flags)
{
    const char *end = strrchr(path, '.');
    struct stat64 status;

    return (end && !strcmp(end, ".qcow2")) || flags & O_DIRECTORY ||
           strstr(path, "qemu-snap-") ||
           (!strncmp(path, "/proc/self/fd/", 14) &&
            NEXT(stat64)(path, &status) == 0 && S_ISREG(status.st_mode));
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = flags & O_CREAT || is_nameless(flags) ? va_arg(args, int) : 0;
    va_end(args);
    if (is_of_interest(path, flags) && fails(OPEN)) {
        return error();
    }
    if (is_nameless(flags) && system_is("named")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int mkostemp64(char *path, int flags)
{
    return fails(OPEN) ? error() : NEXT(mkostemp64)(path, flags);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return fails(NAME) ? error() : NEXT(linkat)(from, old, to, new, flags);
}

int renameat2(int from, const char *old, int to, const char *new,
              unsigned flags)
{
    return fails(NAME) ? error() : NEXT(renameat2)(from, old, to, new, flags);
}

int rename(const char *old, const char *new)
{
    return fails(NAME) ? error() : NEXT(rename)(old, new);
}

int access(const char *path, int mode)
{
    return fails(STATUS) ? error() : NEXT(access)(path, mode);
}

int fchmod(int fd, mode_t mode)
{
    return fails(STATUS) ? error() : NEXT(fchmod)(fd, mode);
}

int fstat64(int fd, struct stat64 *status)
{
    return fails(STATUS) ? error() : NEXT(fstat64)(fd, status);
}

/* Does somebody else have what is to be locked? */
static int is_locked(const struct flock *lock)
{
    static atomic_int attempts;

    return lock->l_type != F_UNLCK &&
           (system_is("held") ||
            (system_is("locked") && atomic_fetch_add(&attempts, 1) == 0));
}

int fcntl64(int fd, int command, ...)
{
    va_list args;
    void *argument;

    va_start(args, command);
    argument = va_arg(args, void *);
    va_end(args);
    if ((command == F_OFD_SETLK || command == F_OFD_GETLK) && fails(LOCK)) {
        return error();
    }
    if (command == F_OFD_SETLK && is_locked(argument)) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_fcntl, fd, command, argument);
}

/* The first half of a vector's first piece. */
static struct iovec half(const struct iovec *iov)
{
    size_t bytes = iov->iov_len / 2;

    return (struct iovec){ iov->iov_base, bytes ? bytes : 1 };
}

ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    struct iovec part;

    if (fails(READ)) {
        if (!is_short()) {
            return error();
        }
        part = half(iov);
        iov = &part;
        count = 1;
    }
    return NEXT(preadv64)(fd, iov, count, offset);
}

/* What is asked for without waiting is then asked for as above. */
ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset,
                   int flags)
{
    errno = EAGAIN;
    return -1;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    struct iovec part;

    if (fails(WRITE)) {
        if (!is_short()) {
            return error();
        }
        part = half(iov);
        iov = &part;
        count = 1;
    }
    return NEXT(pwritev64)(fd, iov, count, offset);
}

int fdatasync(int fd)
{
    return fails(FLUSH) ? error() : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails(FLUSH) ? error() : NEXT(fsync)(fd);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    return fails(mode ? DISCARD : ALLOCATE)
               ? error()
               : NEXT(fallocate64)(fd, mode, offset, bytes);
}

int ftruncate64(int fd, off64_t size)
{
    return fails(TRUNCATE) ? error() : NEXT(ftruncate64)(fd, size);
}

static int copy_range(int fd, const struct file_clone_range *range)
{
    loff_t from = range->src_offset;
    loff_t to = range->dest_offset;
    uint64_t left = range->src_length;

    while (left > 0) {
        ssize_t done = copy_file_range(range->src_fd, &from, fd, &to, left, 0);

        if (done <= 0) {
            return -1;
        }
        left -= done;
    }
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (request == FICLONERANGE && fails(CLONE)) {
        return error();
    }
    if (request == FICLONERANGE && system_is("clones")) {
        return copy_range(fd, argument);
    }
    return syscall(SYS_ioctl, fd, request, argument);
}

/* A pipe is opened once more, so its number says nothing. */
static int is_stream(int fd, int number)
{
    struct stat64 status;

    return fd == number || (fd > 2 && NEXT(fstat64)(fd, &status) == 0 &&
                            S_ISFIFO(status.st_mode));
}

ssize_t read(int fd, void *buffer, size_t bytes)
{
    if (is_stream(fd, 0) && fails(INPUT)) {
        if (!is_short()) {
            return error();
        }
        bytes = bytes > 1 ? bytes / 2 : bytes;
    }
    return syscall(SYS_read, fd, buffer, bytes);
}

ssize_t write(int fd, const void *buffer, size_t bytes)
{
    if (is_stream(fd, 1) && fails(OUTPUT)) {
        if (!is_short()) {
            return error();
        }
        bytes = bytes > 1 ? bytes / 2 : bytes;
    }
    return syscall(SYS_write, fd, buffer, bytes);
}

ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
    struct iovec part;

    if (is_stream(fd, 1) && fails(OUTPUT)) {
        if (!is_short()) {
            return error();
        }
        part = half(iov);
        iov = &part;
        count = 1;
    }
    return syscall(SYS_vmsplice, fd, iov, count, flags);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    if (bytes >= LEAST_MEMORY && fails(MEMORY)) {
        return ENOMEM;
    }
    return NEXT(posix_memalign)(memory, alignment, bytes);
}

/* dlsym() may want memory itself, so these are the C library's own names. */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);

static int no_memory(size_t bytes)
{
    if (bytes < LEAST_MEMORY || !fails(MEMORY)) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return no_memory(bytes) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    size_t all;

    if (!__builtin_mul_overflow(count, bytes, &all) && no_memory(all)) {
        return NULL;
    }
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return no_memory(bytes) ? NULL : __libc_realloc(memory, bytes);
}
