/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What making an index and writing it down share.
 */
#ifndef STREAM_INDEX_INTERNAL_H
#define STREAM_INDEX_INTERNAL_H

#include "stream-index.h"

/*
 * Runs as they were read. They have been judged and counted; a map of them
 * takes many times the memory, which whoever asks for the numbers only is
 * spared.
 */
typedef struct StreamIndexRuns {
    GByteArray *bytes;
    GArray *counts; /* of PageCounts, by number of block */
} StreamIndexRuns;

struct StreamIndex {
    MigrationInfo *info;
    PageMap *pages;        /* finished; or NULL */
    StreamIndexRuns *runs; /* `pages' can be made of them; or NULL */
};

/* Of runs that have been judged. */
PageMap *stream_index_decode_runs(const StreamIndexRuns *runs,
                                  const MigrationInfo *info);
void stream_index_runs_free(StreamIndexRuns *runs);

#endif /* STREAM_INDEX_INTERNAL_H */
