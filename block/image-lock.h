/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * QEMU's image locking: how processes that use the same image file find out
 * about one another.
 */
#ifndef IMAGE_LOCK_H
#define IMAGE_LOCK_H

#include "block-file.h"

/*
 * Go from what @fd holds, @from, to @to. The locks belong to the open file
 * description: a second open() of the file conflicts with them like another
 * process. Does not wait. Returns false and fills @errp (LOCKED, or IO when
 * the file system cannot lock) with @from still held.
 */
bool image_lock_change(int fd, BlockFileLock from, BlockFileLock to,
                       GError **errp);

#endif /* IMAGE_LOCK_H */
