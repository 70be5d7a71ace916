/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Passes standard input on to standard output, both pipes, as `pv' does: not
 * the bytes but the pages that hold them, so that whoever put them into the
 * first pipe cannot know when they have been read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define BYTES (1024 * 1024)

int main(void)
{
    ssize_t moved;

    fcntl(STDOUT_FILENO, F_SETPIPE_SZ, BYTES);
    while ((moved = splice(STDIN_FILENO, NULL, STDOUT_FILENO, NULL, BYTES,
                           SPLICE_F_MOVE)) > 0) {
    }
    if (moved < 0) {
        perror("splice");
    }
    return moved < 0;
}
