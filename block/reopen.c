/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The way goes through /proc and not through the file's name, so that it is the
 * same file whatever has become of that name.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "reopen.h"

/* Somebody may have mounted something else on /proc. */
static int reopen_check_same(int fd, int opened)
{
    struct stat before;
    struct stat after;

    if (fstat(fd, &before) < 0 || fstat(opened, &after) < 0) {
        return -errno;
    }
    return before.st_dev == after.st_dev && before.st_ino == after.st_ino
               ? 0
               : -ESTALE;
}

int reopen_for_reading(int fd, int flags)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    int opened = TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC | flags));
    int ret;

    if (opened < 0) {
        return -errno;
    }
    ret = reopen_check_same(fd, opened);
    if (ret < 0) {
        close(opened);
        return ret;
    }
    return opened;
}
