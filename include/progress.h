/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * How far a transfer has come, on standard error, as qemu-img shows it:
 * continuously when asked for, and once for every SIGUSR1 in any case.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef struct Progress Progress;

/*
 * @total is the number of bytes to come; 0 when nobody knows, and then bytes
 * and rate are shown instead of a percentage. @shown: continuously. Takes
 * SIGUSR1 over until it is freed.
 */
Progress *progress_new(bool shown, uint64_t total);

/* Ends the line, if one was begun. NULL is allowed. */
void progress_free(Progress *progress);

void progress_advance(Progress *progress, uint64_t bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)

#endif /* PROGRESS_H */
