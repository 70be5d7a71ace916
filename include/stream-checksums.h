/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Checksums of a stream, one for each MiB and one for all of those, so that a
 * damage has a place, and pieces can be judged in any order. They find what
 * disks and cables do; they do not stop anybody who forges a stream.
 */
#ifndef STREAM_CHECKSUMS_H
#define STREAM_CHECKSUMS_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

/* What one of them is of; the last one is of the rest. */
#define STREAM_CHECKSUM_BYTES (1024 * 1024)

typedef struct StreamChecksums StreamChecksums;

StreamChecksums *stream_checksums_new(void);
void stream_checksums_free(StreamChecksums *checksums);

/* The next @bytes of the stream. */
void stream_checksums_add(StreamChecksums *checksums, const void *data,
                          size_t bytes);

/* All of it has been added. */
void stream_checksums_finish(StreamChecksums *checksums);

/* The length of the stream so far, bytes. */
uint64_t stream_checksums_covered(const StreamChecksums *checksums);

/* They are finished, as in all below: how many there are. */
uint64_t stream_checksums_count(const StreamChecksums *checksums);

/*
 * Is @data the piece with this @number? It must be as long as the piece, that
 * is STREAM_CHECKSUM_BYTES or what is left of the stream.
 */
bool stream_checksums_match(const StreamChecksums *checksums, uint64_t number,
                            const void *data);

/*
 * The same of @bytes of the stream from @position on, which begins a piece and
 * ends one. Fills @errp (DAMAGED), which names the first place that is not
 * right.
 */
bool stream_checksums_verify(const StreamChecksums *checksums,
                             uint64_t position, const uint8_t *data,
                             size_t bytes, GError **errp);

/* The one for the whole. */
uint64_t stream_checksums_whole(const StreamChecksums *checksums);

/* For a file: docs/trailer.md. */
void stream_checksums_encode(const StreamChecksums *checksums, GByteArray *to);

/*
 * Bytes of anybody, for a stream of @stream_bytes. Returns NULL when they are
 * no such checksums or of a kind that is not known.
 */
StreamChecksums *stream_checksums_decode(const uint8_t *data, size_t bytes,
                                         uint64_t stream_bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(StreamChecksums, stream_checksums_free)

#endif /* STREAM_CHECKSUMS_H */
