/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One more open file description of a file that is open already.
 */
#ifndef REOPEN_H
#define REOPEN_H

/*
 * Open the file that @fd is for reading; @flags, such as O_DIRECT, are added.
 * The new descriptor is the caller's, and it shares neither locks nor flags
 * with @fd. Returns it or a negative errno, among others when there is no
 * /proc.
 */
int reopen_for_reading(int fd, int flags);

#endif /* REOPEN_H */
