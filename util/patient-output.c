/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A stream of stdio that writes to standard output and waits where that would
 * rather not.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "patient-output.h"

/* Returns what was written, which is less than @bytes only after an error. */
static ssize_t write_all(void *cookie, const char *data, size_t bytes)
{
    struct pollfd waiting = { .fd = STDOUT_FILENO, .events = POLLOUT };
    size_t done = 0;

    while (done < bytes) {
        ssize_t ret = write(STDOUT_FILENO, data + done, bytes - done);

        if (ret >= 0) {
            done += ret;
        } else if (errno == EAGAIN) {
            poll(&waiting, 1, -1);
        } else if (errno != EINTR) {
            break;
        }
    }
    return done;
}

void patient_output_init(void)
{
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    FILE *patient;

    if (flags < 0 || !(flags & O_NONBLOCK)) {
        return;
    }
    patient = fopencookie(NULL, "w",
                          (cookie_io_functions_t){
                              .write = write_all,
                          });
    if (patient) {
        stdout = patient;
    }
}
