/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Whether and how a file can be used with O_DIRECT.
 */
#ifndef DIRECT_IO_H
#define DIRECT_IO_H

#include <stddef.h>

/*
 * Switch @fd, a regular file or block device, to O_DIRECT. Returns 0 and what
 * offsets, lengths and memory must be multiples of: a power of two, at most
 * 4096. Returns a negative errno, -EINVAL when the file cannot do it; then
 * @fd is as it was.
 */
int direct_io_enable(int fd, size_t *alignment);

#endif /* DIRECT_IO_H */
