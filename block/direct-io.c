/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * O_DIRECT and its alignment. What has to be aligned to what depends on file
 * system, device and kernel. In order of trust: what the kernel says (since
 * Linux 6.1, where the file system can tell), the sector size of a block
 * device, a read that works, and 4096, which is enough for everything that
 * does O_DIRECT at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "direct-io.h"

#define DIRECT_IO_ALIGNMENT_MIN 512
#define DIRECT_IO_ALIGNMENT_MAX 4096

static bool direct_io_is_usable(size_t alignment)
{
    return alignment > 0 && alignment <= DIRECT_IO_ALIGNMENT_MAX &&
           (alignment & (alignment - 1)) == 0;
}

/* Returns false when the kernel does not say. *@alignment 0: not possible. */
static bool direct_io_ask_kernel(int fd, size_t *alignment)
{
#ifdef STATX_DIOALIGN
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
        (status.stx_mask & STATX_DIOALIGN)) {
        *alignment = 0;
        if (status.stx_dio_offset_align > 0) {
            *alignment =
                MAX(status.stx_dio_offset_align, status.stx_dio_mem_align);
        }
        return true;
    }
#endif
    return false;
}

static bool direct_io_ask_device(int fd, size_t *alignment)
{
    int sector_bytes;

    if (ioctl(fd, BLKSSZGET, &sector_bytes) < 0) {
        return false;
    }
    *alignment = sector_bytes;
    return true;
}

/* Does a read succeed that is aligned to @alignment and to nothing more? */
static bool direct_io_read_works(int fd, char *buffer, size_t alignment)
{
    ssize_t done;

    do {
        done = pread(fd, buffer + alignment, alignment, 0);
    } while (done < 0 && errno == EINTR);
    return done >= 0 || errno != EINVAL;
}

/* *@alignment 0: not possible. Returns 0 or a negative errno. */
static int direct_io_probe(int fd, size_t *alignment)
{
    struct stat status;
    void *buffer;
    size_t from = DIRECT_IO_ALIGNMENT_MIN;

    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (posix_memalign(&buffer, DIRECT_IO_ALIGNMENT_MAX,
                       2 * DIRECT_IO_ALIGNMENT_MAX) != 0) {
        return -ENOMEM;
    }
    /* At its end a file takes reads that it refuses elsewhere. */
    if (status.st_size == 0) {
        from = DIRECT_IO_ALIGNMENT_MAX;
    }
    *alignment = 0;
    for (size_t candidate = from; candidate <= DIRECT_IO_ALIGNMENT_MAX;
         candidate *= DIRECT_IO_ALIGNMENT_MAX / DIRECT_IO_ALIGNMENT_MIN) {
        if (direct_io_read_works(fd, buffer, candidate)) {
            *alignment = candidate;
            break;
        }
    }
    free(buffer);
    return 0;
}

static int direct_io_find_alignment(int fd, size_t *alignment)
{
    int ret = 0;

    if (!direct_io_ask_kernel(fd, alignment) &&
        !direct_io_ask_device(fd, alignment)) {
        ret = direct_io_probe(fd, alignment);
    }
    if (ret == 0 && !direct_io_is_usable(*alignment)) {
        ret = -EINVAL;
    }
    return ret;
}

int direct_io_enable(int fd, size_t *alignment)
{
    int flags = fcntl(fd, F_GETFL);
    size_t found = 0;
    int ret;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) < 0) {
        return -errno;
    }
    ret = direct_io_find_alignment(fd, &found);
    if (ret < 0) {
        fcntl(fd, F_SETFL, flags);
        return ret;
    }
    *alignment = found;
    return 0;
}
