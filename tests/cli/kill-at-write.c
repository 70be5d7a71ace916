/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * SIGKILL at a certain moment: preloaded into a program, it ends it before the
 * KILL_AT-th call that changes a file or makes changes stable. Nothing of the
 * program runs afterwards; what is in flight may or may not happen.
 */
#include <errno.h>
#include <libaio.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void count(void)
{
    static atomic_int calls;

    if (atomic_fetch_add(&calls, 1) + 1 == atoi(getenv("KILL_AT"))) {
        kill(getpid(), SIGKILL);
        for (;;) {
            pause();
        }
    }
}

/* The names that a program with 64-bit offsets calls. */

ssize_t pwritev64(int fd, const struct iovec *iov, int iovcnt, off64_t offset)
{
    count();
    return syscall(SYS_pwritev, fd, iov, iovcnt, offset, 0);
}

int fdatasync(int fd)
{
    count();
    return syscall(SYS_fdatasync, fd);
}

int ftruncate64(int fd, off64_t bytes)
{
    count();
    return syscall(SYS_ftruncate, fd, bytes);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    count();
    return syscall(SYS_fallocate, fd, mode, offset, bytes);
}

int io_submit(io_context_t context, long requests, struct iocb *list[])
{
    int submitted;

    count();
    submitted = syscall(SYS_io_submit, context, requests, list);
    return submitted < 0 ? -errno : submitted;
}
