/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A disk that fails to make data stable once, for flush-fails.sh: preloaded
 * into a program, it lets the FAIL_FLUSH-th fdatasync() return EIO; or, with
 * FLUSH_SIGNAL, a user who sends that signal to the program meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd)
{
    static atomic_int calls;

    if (atomic_fetch_add(&calls, 1) + 1 == atoi(getenv("FAIL_FLUSH"))) {
        if (getenv("FLUSH_SIGNAL")) {
            kill(getpid(), atoi(getenv("FLUSH_SIGNAL")));
            return syscall(SYS_fdatasync, fd);
        }
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}
