/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Descriptors that a program leaves open. Preloaded into one that exits, it
 * writes to the file LEFT_OPEN what they are, if there are any besides those
 * that the program was started with and those that GLib wakes its loops up by,
 * which stay for good.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The lowest free one is taken: many images and engines stay below this. */
#define DESCRIPTORS 256

static char may_stay[DESCRIPTORS];

static __attribute__((constructor)) void look(void)
{
    int fd;

    for (fd = 0; fd < DESCRIPTORS; fd++) {
        may_stay[fd] = fcntl(fd, F_GETFD) >= 0;
    }
}

int eventfd(unsigned value, int flags)
{
    __typeof__(&eventfd) next =
        (__typeof__(&eventfd))dlsym(RTLD_NEXT, "eventfd");
    int fd = next(value, flags);
    Dl_info caller;

    if (fd >= 0 && fd < DESCRIPTORS) {
        may_stay[fd] = dladdr(__builtin_return_address(0), &caller) &&
                       strstr(caller.dli_fname, "libglib");
    }
    return fd;
}

static void tell(int fd, const char *file_name)
{
    FILE *file = fopen(file_name, "a");
    char path[32];
    char name[256];
    ssize_t bytes;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    bytes = readlink(path, name, sizeof(name));
    if (file) {
        fprintf(file, "%d: %.*s\n", fd, bytes > 0 ? (int)bytes : 0, name);
        fclose(file);
    }
}

static __attribute__((destructor)) void look_again(void)
{
    const char *file_name = getenv("LEFT_OPEN");
    int fd;

    for (fd = 0; file_name && fd < DESCRIPTORS; fd++) {
        if (!may_stay[fd] && fcntl(fd, F_GETFD) >= 0) {
            tell(fd, file_name);
        }
    }
}
