/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A signal at any moment, for signals.sh: preloaded into a program, it sends
 * that the signal SIGNAL_NUMBER just before the SIGNAL_AT-th of the calls below,
 * which are those that files are opened, locked, read, changed and given away
 * by. A program that makes fewer of them gets none, and writes in SIGNAL_CALLS
 * how many they were.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <libaio.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int calls;

static void moment(void)
{
    if (atomic_fetch_add(&calls, 1) + 1 == atoi(getenv("SIGNAL_AT"))) {
        kill(getpid(), atoi(getenv("SIGNAL_NUMBER")));
    }
}

__attribute__((destructor)) static void tell(void)
{
    FILE *file = fopen(getenv("SIGNAL_CALLS"), "w");

    if (file) {
        fprintf(file, "%d\n", calls);
        fclose(file);
    }
}

#define MOMENT(type, name, parameters, arguments)               \
    type name parameters                                        \
    {                                                           \
        static type(*_Atomic next) parameters;                  \
                                                                \
        if (!next) {                                            \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        }                                                       \
        moment();                                               \
        return next arguments;                                  \
    }

MOMENT(int, fdatasync, (int fd), (fd))
MOMENT(int, fallocate64, (int fd, int mode, off64_t at, off64_t bytes),
       (fd, mode, at, bytes))
MOMENT(int, ftruncate64, (int fd, off64_t bytes), (fd, bytes))
MOMENT(int, io_submit, (io_context_t context, long count, struct iocb **list),
       (context, count, list))
MOMENT(int, linkat,
       (int from, const char *old, int to, const char *new, int how),
       (from, old, to, new, how))
MOMENT(ssize_t, preadv64,
       (int fd, const struct iovec *iov, int count, off64_t at),
       (fd, iov, count, at))
MOMENT(ssize_t, pwritev64,
       (int fd, const struct iovec *iov, int count, off64_t at),
       (fd, iov, count, at))
MOMENT(ssize_t, read, (int fd, void *buffer, size_t bytes), (fd, buffer, bytes))
MOMENT(int, unlink, (const char *path), (path))
MOMENT(ssize_t, vmsplice,
       (int fd, const struct iovec *iov, size_t count, unsigned how),
       (fd, iov, count, how))

int open64(const char *path, int flags, ...)
{
    va_list rest;
    int mode;

    va_start(rest, flags);
    mode = va_arg(rest, int);
    va_end(rest);
    moment();
    return openat64(AT_FDCWD, path, flags, mode);
}

/* Of interest are the locks; the argument is a pointer or an integer. */
int fcntl64(int fd, int command, ...)
{
    static int (*_Atomic next)(int fd, int command, ...);
    va_list rest;
    void *argument;

    if (!next) {
        next = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    }
    va_start(rest, command);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (command == F_OFD_SETLK || command == F_OFD_GETLK) {
        moment();
    }
    return next(fd, command, argument);
}
