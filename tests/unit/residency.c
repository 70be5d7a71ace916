/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See residency.h.
 */
#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "residency.h"

void residency_write(const char *path, uint8_t *content, size_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < bytes; i++) {
        content[i] = i / PAGE * 7 + i / PAGE / 256 + i % 251;
    }
    ck_assert_int_eq(pwrite(fd, content, bytes, 0), bytes);
    ck_assert_int_eq(fsync(fd), 0);
    close(fd);
}

bool residency_drop(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    return residency_count(path) == 0;
}

void residency_load(const char *path, off_t offset, size_t bytes)
{
    g_autofree char *buffer = g_malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
    ck_assert_int_ge(pread(fd, buffer, bytes, offset), 0);
    close(fd);
}

uint8_t *residency_look(const char *path, size_t *pages)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    uint8_t *resident;
    void *mapping;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    mapping = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(mapping != MAP_FAILED);
    *pages = (status.st_size + PAGE - 1) / PAGE;
    resident = g_malloc(*pages);
    ck_assert_int_eq(mincore(mapping, status.st_size, resident), 0);
    munmap(mapping, status.st_size);
    close(fd);
    for (size_t i = 0; i < *pages; i++) {
        resident[i] &= 1;
    }
    return resident;
}

size_t residency_count(const char *path)
{
    size_t pages;
    g_autofree uint8_t *resident = residency_look(path, &pages);
    size_t count = 0;

    for (size_t i = 0; i < pages; i++) {
        count += resident[i];
    }
    return count;
}
