/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * All that is known about a complete stream: what the reader has learnt, and
 * where the last content of each page is. It is made while a stream passes, and
 * can be written down and read again, so that nobody has to read the stream
 * once more to find something in it.
 */
#ifndef STREAM_INDEX_H
#define STREAM_INDEX_H

#include "page-map.h"

typedef struct StreamIndex StreamIndex;

/*
 * Of what @reader, which has finished with success, and @pages, which it has
 * told, know. Takes @pages; the reader is not needed any more.
 */
StreamIndex *stream_index_new(const MigrationReader *reader, PageMap *pages);
void stream_index_free(StreamIndex *index);

/*
 * The commands that only a source with a return path has use for were taken
 * out of the stream.
 */
void stream_index_take_out_return_path(StreamIndex *index);

const MigrationInfo *stream_index_info(const StreamIndex *index);

/*
 * NULL: there are more runs than are kept, or nobody was told of them. Of an
 * index that was read it is made when it is asked for first.
 */
const PageMap *stream_index_pages(const StreamIndex *index);

/* Without making it: is there one, and what page_map_count() would say. */
bool stream_index_knows_pages(const StreamIndex *index);
PageCounts stream_index_count(const StreamIndex *index,
                              const MigrationBlock *block);

/* Append what a file keeps of it: docs/trailer.md. */
void stream_index_encode(const StreamIndex *index, GByteArray *to);

/*
 * Bytes of anybody, for a stream of @stream_bytes. Returns NULL when they are
 * no such index, or say what cannot be.
 */
StreamIndex *stream_index_decode(const uint8_t *data, size_t bytes,
                                 uint64_t stream_bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(StreamIndex, stream_index_free)

#endif /* STREAM_INDEX_H */
