/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The parts of a trailer, whose checksums anybody can compute. The input is the
 * length of a stream, 4 bytes, and a part. What is taken for an index or for
 * checksums lies inside that stream, and is the same when it has been written
 * and read once more.
 */
#include <string.h>

#include "checked.h"
#include "fuzz.h"
#include "stream-trailer.h"

static void check_block(const StreamIndex *index, const MigrationBlock *block)
{
    const MigrationInfo *info = stream_index_info(index);
    const GArray *runs = page_map_runs(stream_index_pages(index), block);
    uint64_t next = 0;
    guint i;

    for (i = 0; runs && i < runs->len; i++) {
        const PageRun *run = &g_array_index(runs, PageRun, i);

        fuzz_assert(run->count && run->first >= next, "run %u", i);
        next = (uint64_t)run->first + run->count;
        fuzz_assert(next <= block->bytes / info->page_size, "run %u", i);
        fuzz_assert(
            run->kind == MIGRATION_PAGE_FILL ||
                range_within(run->offset, run->bytes, info->stream_bytes),
            "run %u", i);
    }
}

static void check_index(const StreamIndex *index)
{
    const MigrationInfo *info = stream_index_info(index);
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_autoptr(GByteArray) second = g_byte_array_new();
    g_autoptr(StreamIndex) again = NULL;
    guint i;

    for (i = 0; stream_index_pages(index) && i < info->blocks->len; i++) {
        check_block(index, info->blocks->pdata[i]);
    }
    stream_index_encode(index, first);
    again = stream_index_decode(first->data, first->len, info->stream_bytes);
    fuzz_assert(again, "%u bytes", first->len);
    stream_index_encode(again, second);
    fuzz_assert(first->len == second->len &&
                    !memcmp(first->data, second->data, first->len),
                "%u bytes", first->len);
}

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { .data = data, .bytes = bytes };
    uint64_t stream_bytes = fuzz_take(&input, 4);
    g_autoptr(StreamIndex)
        index = stream_index_decode(input.data, input.bytes, stream_bytes);
    g_autoptr(StreamChecksums) checksums =
        stream_checksums_decode(input.data, input.bytes, stream_bytes);
    StreamFooter footer;

    fuzz_say("index: %s, checksums: %s", index ? "yes" : "no",
             checksums ? "yes" : "no");
    if (index) {
        check_index(index);
    }
    if (input.bytes >= STREAM_FOOTER_BYTES &&
        stream_footer_decode(input.data, stream_bytes, &footer) ==
            STREAM_TRAILER_VALID) {
        fuzz_assert(footer.stream_bytes < stream_bytes, "%" G_GUINT64_FORMAT,
                    footer.stream_bytes);
    }
}

const FuzzTarget fuzz_trailer = { "trailer", run, NULL };
