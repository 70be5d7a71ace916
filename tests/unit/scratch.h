/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A fresh directory for tests that need real files.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stddef.h>

typedef struct Scratch Scratch;

/* Below $TMPDIR, or else below the current directory: /tmp may be a tmpfs. */
Scratch *scratch_new(void);

/* Removes the directory and the files in it. */
void scratch_free(Scratch *scratch);

/* The path that a file @name has there; owned by @scratch. */
const char *scratch_path(Scratch *scratch, const char *name);

/* Make a file of these bytes; returns its path. */
const char *scratch_write(Scratch *scratch, const char *name,
                          const void *content, size_t bytes);

#endif /* SCRATCH_H */
