/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Files that are described by a layout, written: in parallel and sparse into a
 * file, or in order into a pipe.
 */
#ifndef SNAP_WRITING_H
#define SNAP_WRITING_H

#include "interrupt.h"
#include "progress.h"
#include "snap-internal.h"
#include "snap-layout.h"
#include "temporary-file.h"

/* What all files of a command have in common. */
typedef struct SnapWriting {
    const SnapOptions *options;
    Progress *progress;         /* of snap_writing_data_bytes() */
    const Interrupt *interrupt; /* ends it */
} SnapWriting;

/* How many bytes of @layout are going to be written into a file. */
uint64_t snap_writing_data_bytes(const SnapLayout *layout);

/*
 * Make a file of @layout in @directory, stable, which has no name yet. Yields.
 * Returns NULL and fills @errp (INTERRUPTED, those of files and of
 * snap_layout_read()), when nothing is left of it.
 */
TemporaryFile *coroutine_fn snap_write_file(const SnapWriting *writing,
                                            const SnapLayout *layout,
                                            const char *directory,
                                            GError **errp);

/*
 * Write all of @layout, zeros as well, into @to. Yields. Fills @errp (IO: also
 * that the reader has closed it, INTERRUPTED when @to is cancelled).
 */
bool coroutine_fn snap_write_pipe(const SnapWriting *writing,
                                  const SnapLayout *layout, PipeEnd *to,
                                  GError **errp);

#endif /* SNAP_WRITING_H */
