/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Files of which tests decide what is in the page cache.
 *
 * Whether the kernel drops pages when asked to depends on the file system.
 * Tests find that out by residency_drop() and have nothing to test without it.
 */
#ifndef RESIDENCY_H
#define RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096

/*
 * Fill @content so that no two of its pages are alike, and write it to @path,
 * to stay.
 */
void residency_write(const char *path, uint8_t *content, size_t bytes);

/* Returns whether nothing of @path is cached now. */
bool residency_drop(const char *path);

/* Get a part of @path into the cache, and nothing else. */
void residency_load(const char *path, off_t offset, size_t bytes);

/* A byte for each page: 1 when it is cached. Freed with g_free(). */
uint8_t *residency_look(const char *path, size_t *pages);

/* How many are. */
size_t residency_count(const char *path);

#endif /* RESIDENCY_H */
