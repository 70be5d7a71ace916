/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See stream-index.h. How it is written down is in index-format.c.
 */
#include "stream-index-internal.h"

StreamIndex *stream_index_new(const MigrationReader *reader, PageMap *pages)
{
    StreamIndex *index = g_new0(StreamIndex, 1);

    g_assert(migration_reader_phase(reader) == MIGRATION_PHASE_COMPLETE);
    index->info = migration_info_copy(migration_reader_info(reader));
    index->pages = pages;
    if (!page_map_finish(pages, index->info->page_size)) {
        g_clear_pointer(&index->pages, page_map_free);
    }
    return index;
}

void stream_index_free(StreamIndex *index)
{
    if (index) {
        migration_info_free(index->info);
        page_map_free(index->pages);
        stream_index_runs_free(index->runs);
        g_free(index);
    }
}

void stream_index_take_out_return_path(StreamIndex *index)
{
    g_assert(!index->runs);
    if (index->pages) {
        page_map_take_out(index->pages, index->info->return_bytes);
    }
    migration_info_take_out_return_path(index->info);
}

const MigrationInfo *stream_index_info(const StreamIndex *index)
{
    return index->info;
}

const PageMap *stream_index_pages(const StreamIndex *index)
{
    /* Nobody can tell that it was not there before. */
    StreamIndex *made = (StreamIndex *)index;

    if (index->runs) {
        made->pages = stream_index_decode_runs(index->runs, index->info);
        g_clear_pointer(&made->runs, stream_index_runs_free);
    }
    return index->pages;
}

bool stream_index_knows_pages(const StreamIndex *index)
{
    return index->pages || index->runs;
}

PageCounts stream_index_count(const StreamIndex *index,
                              const MigrationBlock *block)
{
    return index->runs
               ? g_array_index(index->runs->counts, PageCounts, block->number)
               : page_map_count(index->pages, block);
}
