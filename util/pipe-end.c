/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See pipe-end.h.
 *
 * O_NONBLOCK belongs to the open file description, which other processes may
 * share with us (a shell, another writer). So a pipe is opened once more
 * through /proc, which gives a description of our own; only where that is not
 * possible is the flag set on the shared one, and taken back at the end.
 * Regular files never make anybody wait and are used as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "event-loop.h"
#include "pipe-end.h"
#include "snap-error.h"

/* What an unprivileged process may ask for unless the administrator says. */
#define PIPE_BYTES_WANTED (1024 * 1024)
#define PIPE_BYTES_LEAST  4096

/* See let_it_fill(). At 2 GB/s, four tenths of a large pipe. */
#define PAUSE_NS     (200 * 1000)
#define LITTLE_BYTES (256 * 1024)

struct PipeEnd {
    /* Constant after _new_*(). */
    int fd;           /* non-blocking, unless it can never block */
    bool own_fd;      /* opened here */
    bool reset_flags; /* O_NONBLOCK was set on the caller's description */
    bool can_wait;    /* pollable: not a regular file */
    bool writer;
    bool can_give; /* a pipe that we write to */
    int wait_fd;   /* an epoll instance of `fd' and `cancel_fd' */
    int cancel_fd; /* an eventfd */
    int timer_fd;  /* a large pipe that we read from: see let_it_fill() */

    bool cancelled;
    bool narrow;
    bool brought_little; /* the last read */
};

static PipeEnd *fail(PipeEnd *end, int error, const char *what, GError **errp)
{
    snap_error_set_errno(errp, -error, "cannot %s standard %s", what,
                         end->writer ? "output" : "input");
    pipe_end_free(end);
    return NULL;
}

/* A description of our own, or the flag on the shared one. */
static int make_nonblocking(PipeEnd *end, int fd, int flags)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    int own;

    if (flags & O_NONBLOCK) {
        return 0;
    }
    own = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own >= 0) {
        end->fd = own;
        end->own_fd = true;
        return 0;
    }
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    end->reset_flags = true;
    return 0;
}

static int add_to_wait(const PipeEnd *end, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };

    return epoll_ctl(end->wait_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int make_waitable(PipeEnd *end)
{
    int ret;

    end->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    end->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    if (end->cancel_fd < 0 || end->wait_fd < 0) {
        return -errno;
    }
    ret = add_to_wait(end, end->cancel_fd, EPOLLIN);
    if (ret < 0) {
        return ret;
    }
    return add_to_wait(end, end->fd, end->writer ? EPOLLOUT : EPOLLIN);
}

/* Only speed depends on it: quotas may say no. */
static void widen(PipeEnd *end, int fd)
{
    if (fcntl(fd, F_GETPIPE_SZ) < PIPE_BYTES_WANTED) {
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES_WANTED);
    }
    if (!end->writer && fcntl(fd, F_GETPIPE_SZ) >= PIPE_BYTES_WANTED) {
        end->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    }
}

static PipeEnd *pipe_end_new(int fd, bool writer, GError **errp)
{
    PipeEnd *end = g_new(PipeEnd, 1);
    int flags = fcntl(fd, F_GETFL);
    struct stat status;
    int ret;

    *end = (PipeEnd){
        .fd = fd,
        .writer = writer,
        .wait_fd = -1,
        .cancel_fd = -1,
        .timer_fd = -1,
    };
    if (flags < 0 || fstat(fd, &status) < 0) {
        return fail(end, errno, "use", errp);
    }
    if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) {
        return end;
    }
    if (S_ISDIR(status.st_mode)) {
        return fail(end, EISDIR, "use", errp);
    }
    if (S_ISFIFO(status.st_mode)) {
        widen(end, fd);
    }
    end->can_give = S_ISFIFO(status.st_mode) && writer;
    end->can_wait = true;
    ret = make_nonblocking(end, fd, flags);
    if (ret < 0) {
        return fail(end, -ret, "use", errp);
    }
    ret = make_waitable(end);
    if (ret == -EPERM) {
        /* A device that cannot be polled, such as /dev/null: never waits. */
        end->can_wait = false;
    } else if (ret < 0) {
        return fail(end, -ret, "wait for", errp);
    }
    return end;
}

PipeEnd *pipe_end_new_reader(int fd, GError **errp)
{
    return pipe_end_new(fd, false, errp);
}

PipeEnd *pipe_end_new_writer(int fd, GError **errp)
{
    return pipe_end_new(fd, true, errp);
}

void pipe_end_free(PipeEnd *end)
{
    if (!end) {
        return;
    }
    if (end->reset_flags) {
        (void)fcntl(end->fd, F_SETFL, fcntl(end->fd, F_GETFL) & ~O_NONBLOCK);
    }
    if (end->own_fd) {
        close(end->fd);
    }
    if (end->wait_fd >= 0) {
        close(end->wait_fd);
    }
    if (end->cancel_fd >= 0) {
        close(end->cancel_fd);
    }
    if (end->timer_fd >= 0) {
        close(end->timer_fd);
    }
    g_free(end);
}

/*
 * Called when a transfer could not go on. Returns 0 when it should be tried
 * again, otherwise the negative errno to give up with.
 */
static int coroutine_fn wait_or_fail(const PipeEnd *end, int error)
{
    if (error == EINTR) {
        return 0;
    }
    if (error != EAGAIN || !end->can_wait) {
        return -error;
    }
    event_loop_wait_fd(end->wait_fd, G_IO_IN, -1);
    return 0;
}

bool coroutine_fn pipe_end_wait_readable(const PipeEnd *end, int timeout_ms)
{
    return !end->can_wait ||
           event_loop_wait_fd(end->wait_fd, G_IO_IN, timeout_ms);
}

/*
 * Writer and reader of a pipe exclude each other, and whoever comes second
 * spins. A reader that takes every few pages at once spends more time on that
 * than on copying. So after a read that brought little, the pipe is given the
 * time to fill; that delays nothing, because there is room in it.
 */
static void coroutine_fn let_it_fill(PipeEnd *end)
{
    const struct itimerspec pause = { .it_value.tv_nsec = PAUSE_NS };

    if (end->brought_little && end->timer_fd >= 0 && !end->narrow &&
        timerfd_settime(end->timer_fd, 0, &pause, NULL) == 0) {
        event_loop_wait_fd(end->timer_fd, G_IO_IN, -1);
    }
}

ssize_t coroutine_fn pipe_end_read(PipeEnd *end, void *buffer, size_t bytes)
{
    let_it_fill(end);
    while (!end->cancelled) {
        ssize_t got = read(end->fd, buffer, bytes);
        int ret;

        if (got >= 0) {
            end->brought_little = got < LITTLE_BYTES && (size_t)got < bytes;
            return got;
        }
        ret = wait_or_fail(end, errno);
        if (ret < 0) {
            return ret;
        }
    }
    return -ECANCELED;
}

static ssize_t copy_to(const PipeEnd *end, const void *buffer, size_t bytes)
{
    return write(end->fd, buffer, bytes);
}

/* Not as a gift: only the page cache could do something with one. */
static ssize_t give_to(const PipeEnd *end, const void *buffer, size_t bytes)
{
    struct iovec iov = { .iov_base = (void *)buffer, .iov_len = bytes };
    ssize_t put = vmsplice(end->fd, &iov, 1, SPLICE_F_NONBLOCK);

    /* A sandbox may not know the call. */
    if (put < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) {
        return copy_to(end, buffer, bytes);
    }
    return put;
}

typedef ssize_t PutFunc(const PipeEnd *end, const void *buffer, size_t bytes);

static int coroutine_fn put_all(PipeEnd *end, PutFunc *func, const void *buffer,
                                size_t bytes, size_t *written)
{
    *written = 0;
    while (*written < bytes && !end->cancelled) {
        ssize_t put =
            func(end, (const char *)buffer + *written, bytes - *written);
        int ret;

        if (put > 0) {
            *written += put;
            continue;
        }
        if (put == 0) {
            return -EIO;
        }
        ret = wait_or_fail(end, errno);
        if (ret < 0) {
            return ret;
        }
    }
    return *written < bytes ? -ECANCELED : 0;
}

int coroutine_fn pipe_end_write(PipeEnd *end, const void *buffer, size_t bytes,
                                size_t *written)
{
    return put_all(end, copy_to, buffer, bytes, written);
}

bool pipe_end_can_give(const PipeEnd *end)
{
    return end->can_give;
}

int coroutine_fn pipe_end_give(PipeEnd *end, const void *buffer, size_t bytes,
                               size_t *written)
{
    return put_all(end, give_to, buffer, bytes, written);
}

void pipe_end_narrow(PipeEnd *end)
{
    if (!end->narrow && fcntl(end->fd, F_SETPIPE_SZ, PIPE_BYTES_LEAST) >= 0) {
        end->narrow = true;
    }
}

void pipe_end_cancel(PipeEnd *end)
{
    end->cancelled = true;
    if (end->cancel_fd >= 0) {
        (void)eventfd_write(end->cancel_fd, 1);
    }
}
