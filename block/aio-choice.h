/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which engine a host file uses, and when that changes.
 */
#ifndef AIO_CHOICE_H
#define AIO_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <glib.h>

#include "aio-engine.h"
#include "host-file.h"

typedef struct AioChoice AioChoice;

/*
 * For @fd, which stays the caller's and was opened with @options. @is_direct:
 * it is O_DIRECT. @pool outlives the choice, and so does the options' trace,
 * which hears of every change. Returns NULL and fills @errp (IO) when an engine
 * that was asked for by name cannot be had.
 */
AioChoice *aio_choice_new(int fd, bool is_direct,
                          const HostFileOptions *options, ThreadPool *pool,
                          GError **errp);

/* The engine for the next request, as one of @in_flight. Stays the choice's. */
AioEngine *aio_choice_engine(AioChoice *choice, unsigned in_flight);

/*
 * Nothing is in flight, and for a while there may not be much: drop an engine
 * that would hold up the end of the process.
 */
void aio_choice_end_phase(AioChoice *choice);

/*
 * Memory to be registered with whatever engine is used from now on, as in
 * aio_engine_register_buffers(). @bytes 0: no longer.
 */
void aio_choice_set_buffers(AioChoice *choice, void *memory, size_t bytes);

/* Nothing is in flight. NULL is allowed. */
void aio_choice_free(AioChoice *choice);

#endif /* AIO_CHOICE_H */
