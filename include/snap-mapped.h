/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A stream with mapped RAM says in its bitmaps where all pages are. So a few
 * MiB of it tell what other streams tell only to those who read all of them.
 */
#ifndef SNAP_MAPPED_H
#define SNAP_MAPPED_H

#include "snap-pages.h"

/* A stream whose first so many bytes say nothing of mapped RAM has none. */
#define SNAP_MAPPED_HEAD_BYTES 4096

/* Is RAM mapped in the stream that begins with these bytes? */
bool snap_mapped_begins(const uint8_t *head, size_t bytes);

/*
 * Let the stream in @source pass @reader, which is a fresh one, but for the
 * content of pages, and finish it. What is read is part of the stream, or in
 * the same 512 bytes, so that there may be holes elsewhere. Yields. Returns
 * false and fills @errp: those of migration_reader_feed() and _finish(), and
 * that of `fetch'.
 */
bool coroutine_fn snap_mapped_read_frame(const SnapSource *source,
                                         MigrationReader *reader,
                                         GError **errp);

#endif /* SNAP_MAPPED_H */
