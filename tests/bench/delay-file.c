/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See delay-file.h. Each wait has a timerfd of its own: the event loop's time
 * limits count in whole milliseconds, rounded up, which is too coarse here.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "delay-file.h"
#include "event-loop.h"

typedef struct DelayFile {
    BlockFile file;
    BlockFile *slowed;
    unsigned delay_us; /* constant */
} DelayFile;

static DelayFile *delay_file_from(BlockFile *file)
{
    return (DelayFile *)file;
}

static int coroutine_fn delay(unsigned delay_us)
{
    struct itimerspec when = {
        .it_value = { .tv_sec = delay_us / 1000000,
                      .tv_nsec = delay_us % 1000000 * 1000L },
    };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int ret = 0;

    if (fd < 0) {
        return -errno;
    }
    if (timerfd_settime(fd, 0, &when, NULL) < 0) {
        ret = -errno;
    } else {
        event_loop_wait_fd(fd, G_IO_IN, -1);
    }
    close(fd);
    return ret;
}

static int coroutine_fn delay_file_preadv(BlockFile *file, int64_t offset,
                                          const struct iovec *iov, int iovcnt)
{
    DelayFile *slow = delay_file_from(file);
    int ret = slow->delay_us ? delay(slow->delay_us) : 0;

    return ret < 0 ? ret : block_file_preadv(slow->slowed, offset, iov, iovcnt);
}

static int64_t delay_file_size(BlockFile *file)
{
    return block_file_size(delay_file_from(file)->slowed);
}

static bool delay_file_lock(BlockFile *file, BlockFileLock lock, GError **errp)
{
    return block_file_lock(delay_file_from(file)->slowed, lock, errp);
}

static void delay_file_close(BlockFile *file)
{
    block_file_close(delay_file_from(file)->slowed);
    g_free(file);
}

/* What writes is left out: block-file.h lets nobody write to a reader. */
static const BlockFileOps delay_file_ops = {
    .preadv = delay_file_preadv,
    .size = delay_file_size,
    .lock = delay_file_lock,
    .close = delay_file_close,
};

BlockFile *delay_file_new(BlockFile *file, unsigned delay_us)
{
    DelayFile *slow = g_new0(DelayFile, 1);

    g_assert(!file->writable);
    slow->file.ops = &delay_file_ops;
    slow->file.alignment = file->alignment;
    slow->file.fixed_size = file->fixed_size;
    slow->slowed = file;
    slow->delay_us = delay_us;
    return &slow->file;
}
