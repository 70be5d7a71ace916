/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * An index as it is written down; docs/trailer.md says how. It is small: of a
 * run it holds what cannot be told from the run before. What is read is judged
 * like a stream: places are inside it, and pages inside their blocks.
 */
#include "checked.h"
#include "index-codec.h"
#include "reader-internal.h"
#include "stream-index-internal.h"

/* QEMU has some thirty, of which a stream names two. */
#define MAX_CAPABILITIES 256

/* Of the whole stream. */
enum {
    FLAG_MAPPED_RAM = 1,
    FLAG_VM_CLOCK = 2,
    FLAG_UUID = 4,
    FLAG_PAGES = 8, /* the runs follow */
    FLAG_MACHINE = 16,
};

/* Of a section. */
enum {
    SECTION_DEVICE = 1,
    SECTION_DELIMITED = 2,
};

/* Kinds of runs; those of MigrationPageKind, and the usual ones in short. */
enum {
    RUN_ZERO,
    RUN_DATA,
    RUN_FILL,     /* the byte follows */
    RUN_XBZRLE,   /* how many bytes there are follows */
    RUN_DEFLATED, /* how many bytes there are follows */
    RUN_MAPPED,
    RUN_KINDS,
};

/*
 * Bytes from one page to the next; of what is packed as if it were not, which is
 * as good a guess as any.
 */
static uint32_t stride(unsigned code, uint32_t page_size)
{
    return code == RUN_MAPPED ? page_size : page_size + sizeof(uint64_t);
}

/* Where the next page is if nothing comes between. */
static uint64_t behind(const PageRun *run, unsigned code, uint32_t page_size)
{
    return run->offset + (uint64_t)run->count * stride(code, page_size);
}

static unsigned run_code(const PageRun *run)
{
    switch (run->kind) {
    case MIGRATION_PAGE_DATA:
        return RUN_DATA;
    case MIGRATION_PAGE_FILL:
        return run->fill ? RUN_FILL : RUN_ZERO;
    case MIGRATION_PAGE_XBZRLE:
        return RUN_XBZRLE;
    case MIGRATION_PAGE_DEFLATED:
        return RUN_DEFLATED;
    case MIGRATION_PAGE_MAPPED:
        return RUN_MAPPED;
    }
    g_assert_not_reached();
}

static void put_runs(GByteArray *to, const GArray *runs, uint32_t page_size)
{
    uint64_t page = 0;
    uint64_t offset = 0;
    guint i;

    index_put(to, runs ? runs->len : 0);
    for (i = 0; runs && i < runs->len; i++) {
        const PageRun *run = &g_array_index(runs, PageRun, i);
        unsigned code = run_code(run);

        index_put(to, run->first - page);
        index_put(to, run->count);
        index_put(to, code);
        page = (uint64_t)run->first + run->count;
        if (code == RUN_FILL) {
            index_put(to, run->fill);
        } else if (code != RUN_ZERO) {
            index_put_signed(to, (int64_t)(run->offset - offset));
            offset = behind(run, code, page_size);
        }
        if (code == RUN_XBZRLE || code == RUN_DEFLATED) {
            index_put(to, run->bytes);
        }
    }
}

static void put_sections(GByteArray *to, const GPtrArray *sections)
{
    guint i;

    index_put(to, sections->len);
    for (i = 0; i < sections->len; i++) {
        const MigrationSection *section = g_ptr_array_index(sections, i);

        index_put_string(to, section->name);
        index_put(to, section->instance);
        index_put(to, section->version);
        index_put(to, (section->device ? SECTION_DEVICE : 0) |
                          (section->delimited ? SECTION_DELIMITED : 0));
        index_put(to, section->offset);
        index_put(to, section->bytes);
        index_put(to, section->payload_offset);
        index_put(to, section->payload_bytes);
    }
}

static void put_info(GByteArray *to, const MigrationInfo *info, bool pages)
{
    guint i;

    index_put(to, (info->mapped_ram ? FLAG_MAPPED_RAM : 0) |
                      (info->vm_clock_known ? FLAG_VM_CLOCK : 0) |
                      (info->uuid_known ? FLAG_UUID : 0) |
                      (pages ? FLAG_PAGES : 0) |
                      (info->machine ? FLAG_MACHINE : 0));
    if (info->machine) {
        index_put_string(to, info->machine);
    }
    if (info->vm_clock_known) {
        index_put_signed(to, info->vm_clock_ns);
    }
    if (info->uuid_known) {
        g_byte_array_append(to, info->uuid, sizeof(info->uuid));
    }
    index_put(to, info->page_size);
    index_put(to, info->data_pages);
    index_put(to, info->zero_pages);
    index_put(to, info->devices);
    index_put(to, info->framing_bytes);
    index_put(to, info->undelimited_bytes);
    index_put(to, info->description_offset);
    index_put(to, info->description_bytes);
    index_put(to, info->capabilities->len);
    for (i = 0; i < info->capabilities->len; i++) {
        index_put_string(to, g_ptr_array_index(info->capabilities, i));
    }
    index_put(to, info->blocks->len);
    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);

        index_put_string(to, block->name);
        index_put(to, block->bytes);
    }
    put_sections(to, info->sections);
}

void stream_index_encode(const StreamIndex *index, GByteArray *to)
{
    const MigrationInfo *info = index->info;
    const PageMap *pages = stream_index_pages(index);
    guint i;

    put_info(to, info, pages != NULL);
    for (i = 0; pages && i < info->blocks->len; i++) {
        put_runs(to, page_map_runs(pages, info->blocks->pdata[i]),
                 info->page_size);
    }
}

/* A place of @bytes inside the stream; fails the input otherwise. */
static void check_place(IndexInput *input, uint64_t offset, uint64_t bytes,
                        uint64_t stream_bytes)
{
    if (!range_within(offset, bytes, stream_bytes)) {
        input->failed = true;
    }
}

static void get_sections(IndexInput *input, MigrationInfo *info)
{
    uint64_t count = index_get(input);
    uint64_t i;

    for (i = 0; i < count && !input->failed; i++) {
        MigrationSection *section = g_new0(MigrationSection, 1);
        uint64_t flags;

        g_ptr_array_add(info->sections, section);
        section->name = index_get_string(input);
        section->instance = index_get(input);
        section->version = index_get(input);
        flags = index_get(input);
        section->device = flags & SECTION_DEVICE;
        section->delimited = flags & SECTION_DELIMITED;
        section->offset = index_get(input);
        section->bytes = index_get(input);
        section->payload_offset = index_get(input);
        section->payload_bytes = index_get(input);
        check_place(input, section->offset, section->bytes, info->stream_bytes);
        check_place(input, section->payload_offset, section->payload_bytes,
                    info->stream_bytes);
        input->failed |= info->sections->len > STREAM_MAX_SECTIONS;
    }
}

static void get_blocks(IndexInput *input, MigrationInfo *info)
{
    uint64_t count = index_get(input);
    uint64_t i;

    for (i = 0; i < count && !input->failed; i++) {
        MigrationBlock *block = g_new0(MigrationBlock, 1);

        g_ptr_array_add(info->blocks, block);
        block->number = i;
        block->name = index_get_string(input);
        block->bytes = index_get(input);
        input->failed |= info->blocks->len > RAM_MAX_BLOCKS ||
                         !is_aligned(block->bytes, MAX(info->page_size, 1));
    }
}

static void get_capabilities(IndexInput *input, MigrationInfo *info)
{
    uint64_t count = index_get(input);
    uint64_t i;

    for (i = 0; i < count && !input->failed; i++) {
        char *name = index_get_string(input);

        if (name) {
            g_ptr_array_add(info->capabilities, name);
        }
        input->failed |= info->capabilities->len > MAX_CAPABILITIES;
    }
}

/* Returns the flags. */
static uint64_t get_info(IndexInput *input, MigrationInfo *info)
{
    uint64_t flags = index_get(input);
    const uint8_t *uuid;

    info->mapped_ram = flags & FLAG_MAPPED_RAM;
    info->vm_clock_known = flags & FLAG_VM_CLOCK;
    info->uuid_known = flags & FLAG_UUID;
    if (flags & FLAG_MACHINE) {
        info->machine = index_get_string(input);
    }
    if (info->vm_clock_known) {
        info->vm_clock_ns = index_get_signed(input);
    }
    if (info->uuid_known) {
        uuid = index_get_bytes(input, sizeof(info->uuid));
        if (uuid) {
            memcpy(info->uuid, uuid, sizeof(info->uuid));
        }
    }
    info->page_size = index_get(input);
    if (info->page_size && !ram_page_size_valid(info->page_size)) {
        input->failed = true;
    }
    info->data_pages = index_get(input);
    info->zero_pages = index_get(input);
    info->devices = index_get(input);
    info->framing_bytes = index_get(input);
    info->undelimited_bytes = index_get(input);
    info->description_offset = index_get(input);
    info->description_bytes = index_get(input);
    check_place(input, info->description_offset, info->description_bytes,
                info->stream_bytes);
    get_capabilities(input, info);
    get_blocks(input, info);
    get_sections(input, info);
    input->failed = input->failed || !migration_info_adds_up(info);
    return flags;
}

/* Of a kind that has a place in the stream. */
static void get_place(IndexInput *input, MigrationPages *pages, uint64_t code,
                      uint64_t *offset, uint64_t stream_bytes)
{
    uint32_t page_size = pages->page_size;

    pages->offset = *offset + (uint64_t)index_get_signed(input);
    pages->bytes = page_size;
    pages->stride = stride(code, page_size);
    if (code == RUN_XBZRLE || code == RUN_DEFLATED) {
        pages->bytes = index_get(input);
        input->failed |= pages->count != 1 || pages->bytes > stream_bytes;
    }
    /* No product of these is large: a block has less than 2^32 pages. */
    check_place(input, pages->offset,
                (pages->count - 1) * pages->stride + pages->bytes,
                stream_bytes);
    *offset = pages->offset + pages->count * pages->stride;
}

/* Who is to hear of the runs. */
typedef struct RunsSink {
    PageMap *map;   /* or NULL */
    GArray *counts; /* the same; of PageCounts, one for each block */
} RunsSink;

static void count_run(PageCounts *counts, const MigrationPages *pages)
{
    if (pages->kind != MIGRATION_PAGE_FILL) {
        counts->data += pages->count;
        counts->xbzrle += pages->kind == MIGRATION_PAGE_XBZRLE;
        counts->deflated += pages->kind == MIGRATION_PAGE_DEFLATED;
    } else if (pages->fill == 0) {
        counts->zero += pages->count;
    } else {
        counts->filled += pages->count;
    }
}

static void sink_run(RunsSink *sink, const MigrationPages *pages)
{
    if (sink->map) {
        page_map_add(pages, sink->map);
    }
    if (sink->counts) {
        count_run(
            &g_array_index(sink->counts, PageCounts, pages->block->number),
            pages);
    }
}

/* Take one run of @block that begins @*page at the earliest. */
static void get_run(IndexInput *input, const MigrationBlock *block,
                    const MigrationInfo *info, uint64_t *page, uint64_t *offset,
                    RunsSink *sink)
{
    MigrationPages pages = {
        .block = block,
        .page_size = info->page_size,
    };
    static const MigrationPageKind kinds[RUN_KINDS] = {
        [RUN_ZERO] = MIGRATION_PAGE_FILL,
        [RUN_DATA] = MIGRATION_PAGE_DATA,
        [RUN_FILL] = MIGRATION_PAGE_FILL,
        [RUN_XBZRLE] = MIGRATION_PAGE_XBZRLE,
        [RUN_DEFLATED] = MIGRATION_PAGE_DEFLATED,
        [RUN_MAPPED] = MIGRATION_PAGE_MAPPED,
    };
    uint64_t block_pages = block->bytes / info->page_size;
    uint64_t gap = index_get(input);
    uint64_t code;

    pages.count = index_get(input);
    code = index_get(input);
    if (pages.count == 0 || code >= RUN_KINDS || block_pages > G_MAXUINT32 ||
        !range_within(gap, pages.count, block_pages - *page)) {
        input->failed = true;
        return;
    }
    pages.start = (*page + gap) * info->page_size;
    *page += gap + pages.count;
    pages.kind = kinds[code];
    if (code == RUN_FILL) {
        pages.fill = index_get(input);
    } else if (code != RUN_ZERO) {
        get_place(input, &pages, code, offset, info->stream_bytes);
    }
    if (!input->failed) {
        sink_run(sink, &pages);
    }
}

static void get_runs(IndexInput *input, const MigrationInfo *info,
                     RunsSink *sink)
{
    guint i;

    for (i = 0; i < info->blocks->len && !input->failed; i++) {
        uint64_t count = index_get(input);
        uint64_t page = 0;
        uint64_t offset = 0;

        if (count && !info->page_size) {
            input->failed = true;
        }
        for (; count && !input->failed; count--) {
            get_run(input, info->blocks->pdata[i], info, &page, &offset, sink);
        }
    }
}

/* The pages that no run of a block has. */
static void count_absent(const MigrationInfo *info, GArray *counts)
{
    guint i;

    for (i = 0; info->page_size && i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        PageCounts *of_block = &g_array_index(counts, PageCounts, i);

        of_block->absent = block->bytes / info->page_size - of_block->data -
                           of_block->zero - of_block->filled;
    }
}

/* Judge and count the runs, which are all that is left; then keep them. */
static StreamIndexRuns *take_runs(IndexInput *input, const MigrationInfo *info)
{
    RunsSink sink = {
        .counts = g_array_new(FALSE, TRUE, sizeof(PageCounts)),
    };
    const uint8_t *begin = input->at;
    StreamIndexRuns *runs = g_new0(StreamIndexRuns, 1);

    g_array_set_size(sink.counts, info->blocks->len);
    get_runs(input, info, &sink);
    count_absent(info, sink.counts);
    runs->counts = sink.counts;
    runs->bytes = g_byte_array_new();
    g_byte_array_append(runs->bytes, begin, input->at - begin);
    return runs;
}

PageMap *stream_index_decode_runs(const StreamIndexRuns *runs,
                                  const MigrationInfo *info)
{
    g_autoptr(PageMap) map = page_map_new();
    RunsSink sink = { .map = map };
    IndexInput input = { .at = runs->bytes->data };

    /* Without blocks there are no runs, and no data. */
    if (runs->bytes->len) {
        input.end = input.at + runs->bytes->len;
        get_runs(&input, info, &sink);
    }
    g_assert(!input.failed);
    return page_map_finish(map, info->page_size) ? g_steal_pointer(&map) : NULL;
}

void stream_index_runs_free(StreamIndexRuns *runs)
{
    if (runs) {
        g_byte_array_unref(runs->bytes);
        g_array_unref(runs->counts);
        g_free(runs);
    }
}

StreamIndex *stream_index_decode(const uint8_t *data, size_t bytes,
                                 uint64_t stream_bytes)
{
    g_autoptr(StreamIndex) index = g_new0(StreamIndex, 1);
    IndexInput input = { .at = data, .end = data + bytes };
    uint64_t flags;

    index->info = g_new0(MigrationInfo, 1);
    migration_info_init(index->info);
    index->info->stream_bytes = stream_bytes;
    flags = get_info(&input, index->info);
    if (!input.failed && (flags & FLAG_PAGES)) {
        index->runs = take_runs(&input, index->info);
    }
    if (input.failed || input.at != input.end) {
        return NULL;
    }
    return g_steal_pointer(&index);
}
