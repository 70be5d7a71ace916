/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Our end of the pipe that carries the stream: standard input or output, which
 * may also be a file, a socket or a device. Coroutines read and write it
 * without stopping the event loop.
 */
#ifndef PIPE_END_H
#define PIPE_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

#include "coroutine.h"

typedef struct PipeEnd PipeEnd;

/*
 * Use @fd, which stays the caller's and open. A pipe is made as large as an
 * unprivileged process may have it: its writer then stops less often. Does not
 * yield. Returns NULL and fills @errp (IO, for instance when @fd is closed).
 */
PipeEnd *pipe_end_new_reader(int fd, GError **errp);
PipeEnd *pipe_end_new_writer(int fd, GError **errp);
void pipe_end_free(PipeEnd *end);

/*
 * Read what is there, up to @bytes, waiting only if there is nothing. Returns
 * the number of bytes, 0 at the end of the input, or a negative errno;
 * -ECANCELED after pipe_end_cancel(). Yields.
 */
ssize_t coroutine_fn pipe_end_read(PipeEnd *end, void *buffer, size_t bytes);

/*
 * Wait until a read would not, or until @timeout_ms have passed: false. What
 * never makes anybody wait, such as a regular file, is always ready. Yields.
 */
bool coroutine_fn pipe_end_wait_readable(const PipeEnd *end, int timeout_ms);

/*
 * Write all @bytes. Returns 0 or a negative errno, -EPIPE when the reader has
 * gone and -ECANCELED after pipe_end_cancel(); *@written says how many were
 * accepted in any case. Yields.
 */
int coroutine_fn pipe_end_write(PipeEnd *end, const void *buffer, size_t bytes,
                                size_t *written);

/*
 * Can pages be given to @end instead of copied? A pipe that we write to holds
 * pages, and it takes ours.
 */
bool pipe_end_can_give(const PipeEnd *end);

/*
 * The same as pipe_end_write(), but the memory itself goes into the pipe and on
 * to whoever is behind it, for any time: the caller must never write to these
 * pages again. Unmapping them, or replacing them by others, is allowed at once.
 */
int coroutine_fn pipe_end_give(PipeEnd *end, const void *buffer, size_t bytes,
                               size_t *written);

/*
 * Make a pipe as small as it can be, so that its writer must wait for us.
 * Fails silently while more than that is in it; call again after reading.
 */
void pipe_end_narrow(PipeEnd *end);

/* Let the read or write under way and all later ones return -ECANCELED. */
void pipe_end_cancel(PipeEnd *end);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PipeEnd, pipe_end_free)

#endif /* PIPE_END_H */
