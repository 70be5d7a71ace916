/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-classic.h. The classic stream consists of segments: copies of what
 * is in the other one, a few bytes that are not, and the pages of each block,
 * which go into a PART of their own:
 *
 *   copied    header, configuration but for the capabilities, what follows up
 *             to the list of blocks
 *   new       the list
 *   copied    the end of that section
 *   new       the header of a PART
 *   pages     of each block: a record for each page
 *   new       the end of the PART
 *   copied    all that is left
 *
 * Records of pages that are stored are longer than those of others. Where one
 * begins follows from how many stored pages are before it; these are counted
 * once, and their sums kept for each chunk of pages. The bits of a chunk are
 * read again when it is needed: that is less than a hundredth of its pages.
 */
#include <string.h>

#include "bytes.h"
#include "mapped-bitmap.h"
#include "printable.h"
#include "snap-buffers.h"
#include "snap-classic.h"
#include "snap-error.h"
#include "snap-mapped.h"
#include "stream-format.h"

#define CHUNK_PAGES 32768
#define CHUNK_BYTES (CHUNK_PAGES / 8)

/* Of pages that are read together. */
#define REQUEST_BYTES (1024 * 1024)

/*
 * To read so much in vain costs less than another request. Less than QEMU's
 * clusters have, so that there are mostly no holes in it.
 */
#define GAP_BYTES (32 * 1024)

/* The word that a record begins with, and the byte that fills a page. */
#define HEAD_BYTES sizeof(uint64_t)
#define FILL_BYTES 1

/* A section's type and its id, with which it goes on or ends. */
#define PART_BYTES   5
#define FOOTER_BYTES 5

/* The word that ends what a section `ram' holds. */
#define END_BYTES sizeof(uint64_t)

typedef struct ClassicBlock {
    const MigrationBlock *block;
    uint64_t pages;
    uint64_t name_bytes; /* in the first record */
    GArray *stored;      /* of uint64_t: stored pages before each chunk; all */
} ClassicBlock;

typedef enum SegmentKind {
    SEGMENT_COPY,
    SEGMENT_TEXT,
    SEGMENT_PAGES,
} SegmentKind;

typedef struct Segment {
    SegmentKind kind;
    uint64_t start; /* in the classic stream */
    uint64_t bytes;
    /* COPY: in the other one; TEXT: in `text'; PAGES: the block's number */
    uint64_t from;
} Segment;

struct SnapClassic {
    const SnapSource *source;
    MigrationInfo *info;
    ClassicBlock *blocks; /* by number */
    guint block_count;
    GByteArray *text;
    GArray *segments; /* of Segment, in the order of the classic stream */
    uint64_t bytes;

    AioBufferPool *memory; /* of REQUEST_BYTES each, for requests */
};

/* While the frame is read. */
typedef struct Counting {
    GPtrArray *stored; /* of GArray, by block: stored pages of each chunk */
} Counting;

/* A range of the records of a block, and where it is to go. */
typedef struct Window {
    uint64_t from;
    uint64_t to;
    uint8_t *data;
} Window;

/* A stored page of which some is in the window. */
typedef struct WantedPage {
    uint64_t position; /* in the stream */
    uint64_t at;       /* among the records of the block */
} WantedPage;

/* What a call reads of one block. */
typedef struct PageRead {
    const SnapClassic *classic;
    const ClassicBlock *block;
    Window window;
    GArray *wanted; /* of WantedPage */
} PageRead;

static void note_pages(const MigrationPages *pages, void *opaque)
{
    Counting *counting = opaque;
    uint64_t page = pages->start / pages->page_size;
    uint64_t end = page + pages->count;
    GArray *counts;

    if (pages->kind != MIGRATION_PAGE_MAPPED) {
        return;
    }
    while (counting->stored->len <= pages->block->number) {
        g_ptr_array_add(counting->stored,
                        g_array_new(FALSE, TRUE, sizeof(uint64_t)));
    }
    counts = counting->stored->pdata[pages->block->number];
    while (page < end) {
        guint chunk = page / CHUNK_PAGES;
        uint64_t behind = MIN(end, (uint64_t)(chunk + 1) * CHUNK_PAGES);

        if (counts->len <= chunk) {
            g_array_set_size(counts, chunk + 1);
        }
        g_array_index(counts, uint64_t, chunk) += behind - page;
        page = behind;
    }
}

static uint64_t chunk_count(const ClassicBlock *block)
{
    return div_round_up(block->pages, CHUNK_PAGES);
}

/* Where the record of @page begins, that many pages before it being stored. */
static uint64_t record_start(const SnapClassic *classic,
                             const ClassicBlock *block, uint64_t page,
                             uint64_t stored)
{
    return page * (HEAD_BYTES + FILL_BYTES) +
           stored * (classic->info->page_size - FILL_BYTES) +
           (page > 0 ? block->name_bytes : 0);
}

static uint64_t stored_before(const ClassicBlock *block, uint64_t chunk)
{
    return g_array_index(block->stored, uint64_t, chunk);
}

static void add_segment(SnapClassic *classic, SegmentKind kind, uint64_t from,
                        uint64_t bytes)
{
    Segment segment = {
        .kind = kind,
        .start = classic->bytes,
        .bytes = bytes,
        .from = from,
    };

    if (bytes > 0) {
        g_array_append_val(classic->segments, segment);
        classic->bytes += bytes;
    }
}

static void add_copy(SnapClassic *classic, uint64_t from, uint64_t to)
{
    add_segment(classic, SEGMENT_COPY, from, to - from);
}

static void add_text(SnapClassic *classic, const void *data, size_t bytes)
{
    add_segment(classic, SEGMENT_TEXT, classic->text->len, bytes);
    g_byte_array_append(classic->text, data, bytes);
}

/* Entries of the list have neither bitmap nor pages. */
static void add_list(SnapClassic *classic)
{
    g_autoptr(GByteArray) list = g_byte_array_new();
    guint i;

    for (i = 0; i < classic->block_count; i++) {
        const MigrationBlock *block = classic->blocks[i].block;
        uint8_t name_bytes = strlen(block->name);
        uint8_t bytes[sizeof(uint64_t)];

        store_be64(bytes, block->bytes);
        g_byte_array_append(list, &name_bytes, sizeof(name_bytes));
        g_byte_array_append(list, (const uint8_t *)block->name, name_bytes);
        g_byte_array_append(list, bytes, sizeof(bytes));
    }
    add_text(classic, list->data, list->len);
}

static void add_pages(SnapClassic *classic, guint number)
{
    const ClassicBlock *block = &classic->blocks[number];
    uint64_t stored = stored_before(block, chunk_count(block));

    if (block->pages > 0) {
        add_segment(classic, SEGMENT_PAGES, number,
                    record_start(classic, block, block->pages, stored));
    }
}

/* The section that the list of blocks is in. */
static const MigrationSection *find_ram(const MigrationInfo *info)
{
    const MigrationSection *found = NULL;
    guint i;

    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        if (!strcmp(section->name, "ram") &&
            section->offset < info->list_offset) {
            found = section;
        }
    }
    return found;
}

/*
 * Read the type and the id of section `ram' into @header, and what is behind the
 * list of blocks into @end: the word that ends it and, *@footer, perhaps a
 * footer.
 */
static bool coroutine_fn read_ram_ends(SnapClassic *classic,
                                       uint8_t header[PART_BYTES],
                                       uint8_t end[END_BYTES + FOOTER_BYTES],
                                       bool *footer, GError **errp)
{
    const SnapSource *source = classic->source;
    const MigrationInfo *info = classic->info;
    const MigrationSection *ram = find_ram(info);
    uint64_t behind = info->list_offset + info->list_bytes;
    size_t bytes = MIN(END_BYTES + FOOTER_BYTES, info->stream_bytes - behind);

    if (!ram) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "the list of RAM blocks is in no section");
        return false;
    }
    memset(end, 0, END_BYTES + FOOTER_BYTES);
    if (!source->fetch(source->opaque, ram->offset, header, PART_BYTES, errp) ||
        !source->fetch(source->opaque, behind, end, bytes, errp)) {
        return false;
    }
    *footer = end[END_BYTES] == STREAM_SECTION_FOOTER &&
              !memcmp(end + END_BYTES + 1, header + 1, sizeof(uint32_t));
    return true;
}

static bool coroutine_fn lay_out(SnapClassic *classic, GError **errp)
{
    const MigrationInfo *info = classic->info;
    uint64_t list_end = info->list_offset + info->list_bytes;
    uint8_t header[PART_BYTES];
    uint8_t end[END_BYTES + FOOTER_BYTES];
    size_t end_bytes;
    bool footer;
    guint i;

    if (!read_ram_ends(classic, header, end, &footer, errp)) {
        return false;
    }
    end_bytes = END_BYTES + (footer ? FOOTER_BYTES : 0);
    add_copy(classic, 0, info->capabilities_offset);
    add_copy(classic, info->capabilities_offset + info->capabilities_bytes,
             info->list_offset);
    add_list(classic);
    add_copy(classic, list_end, list_end + end_bytes);
    header[0] = STREAM_SECTION_PART;
    add_text(classic, header, sizeof(header));
    for (i = 0; i < classic->block_count; i++) {
        add_pages(classic, i);
    }
    add_text(classic, end, end_bytes);
    add_copy(classic, list_end + end_bytes, info->stream_bytes);
    return true;
}

/* Make sums of what was counted. */
static void take_blocks(SnapClassic *classic, const Counting *counting)
{
    guint i;
    uint64_t chunk;

    classic->block_count = classic->info->blocks->len;
    classic->blocks = g_new0(ClassicBlock, classic->block_count);
    for (i = 0; i < classic->block_count; i++) {
        ClassicBlock *block = &classic->blocks[i];
        const GArray *counts =
            i < counting->stored->len ? counting->stored->pdata[i] : NULL;
        uint64_t sum = 0;

        block->block = classic->info->blocks->pdata[i];
        block->pages = block->block->bytes / classic->info->page_size;
        block->name_bytes = 1 + strlen(block->block->name);
        block->stored = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        for (chunk = 0; chunk < chunk_count(block); chunk++) {
            g_array_append_val(block->stored, sum);
            if (counts && chunk < counts->len) {
                sum += g_array_index(counts, uint64_t, chunk);
            }
        }
        g_array_append_val(block->stored, sum);
    }
}

static bool check_info(const MigrationInfo *info, GError **errp)
{
    guint i;

    if (!info->mapped_ram || info->page_size == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the RAM of the stream is not mapped");
        return false;
    }
    for (i = 0; i < info->capabilities->len; i++) {
        if (!strcmp(info->capabilities->pdata[i], "x-ignore-shared")) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                        "nobody can load a stream with mapped RAM some of "
                        "which is shared");
            return false;
        }
    }
    return true;
}

static void counts_free(void *opaque)
{
    g_array_unref(opaque);
}

SnapClassic *coroutine_fn snap_classic_open(const SnapSource *source,
                                            GError **errp)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(GPtrArray) stored = g_ptr_array_new_with_free_func(counts_free);
    g_autoptr(SnapClassic) classic = NULL;
    Counting counting = { .stored = stored };

    migration_reader_tell_pages(reader, note_pages, &counting);
    if (!snap_mapped_read_frame(source, reader, errp) ||
        !check_info(migration_reader_info(reader), errp)) {
        return NULL;
    }
    classic = g_new0(SnapClassic, 1);
    classic->source = source;
    classic->info = migration_info_copy(migration_reader_info(reader));
    classic->text = g_byte_array_new();
    classic->segments = g_array_new(FALSE, FALSE, sizeof(Segment));
    classic->memory = aio_buffer_pool_new(REQUEST_BYTES, SNAP_MAX_DEPTH,
                                          SNAP_MAX_DEPTH, errp);
    if (!classic->memory) {
        return NULL;
    }
    take_blocks(classic, &counting);
    return lay_out(classic, errp) ? g_steal_pointer(&classic) : NULL;
}

void snap_classic_close(SnapClassic *classic)
{
    guint i;

    if (!classic) {
        return;
    }
    for (i = 0; i < classic->block_count; i++) {
        g_array_unref(classic->blocks[i].stored);
    }
    g_free(classic->blocks);
    migration_info_free(classic->info);
    g_byte_array_unref(classic->text);
    g_array_unref(classic->segments);
    aio_buffer_pool_free(classic->memory);
    g_free(classic);
}

uint64_t snap_classic_bytes(const SnapClassic *classic)
{
    return classic->bytes;
}

/* What is at @at among the records, as far as it is in the window. */
static void put(const Window *window, uint64_t at, const void *data,
                size_t bytes)
{
    uint64_t from = MAX(at, window->from);
    uint64_t to = MIN(at + bytes, window->to);

    if (from < to) {
        memcpy(window->data + (from - window->from),
               (const uint8_t *)data + (from - at), to - from);
    }
}

/* The record of @page but for the content of one that is stored. */
static void put_record(PageRead *read, uint64_t page, bool stored, uint64_t at)
{
    const MigrationBlock *block = read->block->block;
    uint32_t page_size = read->classic->info->page_size;
    uint64_t word = page * page_size |
                    (stored ? RAM_RECORD_PAGE : RAM_RECORD_ZERO) |
                    (page > 0 ? RAM_RECORD_CONTINUE : 0);
    const uint8_t fill = 0;
    uint8_t head[HEAD_BYTES];

    store_be64(head, word);
    put(&read->window, at, head, sizeof(head));
    at += sizeof(head);
    if (page == 0) {
        uint8_t name_bytes = strlen(block->name);

        put(&read->window, at, &name_bytes, sizeof(name_bytes));
        put(&read->window, at + 1, block->name, name_bytes);
        at += read->block->name_bytes;
    }
    if (!stored) {
        put(&read->window, at, &fill, FILL_BYTES);
    } else if (at < read->window.to) {
        WantedPage wanted = {
            .position = block->pages_offset + page * page_size,
            .at = at,
        };

        g_array_append_val(read->wanted, wanted);
    }
}

/* Read the bits of a chunk: as many are set as there were. */
static bool coroutine_fn read_bits(const PageRead *read, uint64_t chunk,
                                   uint8_t *bits, GError **errp)
{
    const SnapSource *source = read->classic->source;
    const ClassicBlock *block = read->block;
    uint64_t all = mapped_bitmap_bytes(block->pages);
    uint64_t offset = chunk * CHUNK_BYTES;
    size_t bytes = MIN(CHUNK_BYTES, all - offset);
    uint64_t stored = 0;
    size_t i;

    if (!source->fetch(source->opaque, block->block->bitmap_offset + offset,
                       bits, bytes, errp)) {
        return false;
    }
    for (i = 0; i < bytes; i++) {
        stored += __builtin_popcount(bits[i]);
    }
    if (stored !=
        stored_before(block, chunk + 1) - stored_before(block, chunk)) {
        g_autofree char *name = printable(block->block->name);

        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "the bitmap of RAM block '%s' is not what it was a moment "
                    "ago",
                    name);
        return false;
    }
    return true;
}

/* Put the records of a chunk that are in the window. */
static bool coroutine_fn put_chunk(PageRead *read, uint64_t chunk,
                                   GError **errp)
{
    const ClassicBlock *block = read->block;
    uint32_t page_size = read->classic->info->page_size;
    uint64_t first = chunk * CHUNK_PAGES;
    uint64_t end = MIN(first + CHUNK_PAGES, block->pages);
    uint64_t at =
        record_start(read->classic, block, first, stored_before(block, chunk));
    uint8_t bits[CHUNK_BYTES];
    uint64_t page;

    if (!read_bits(read, chunk, bits, errp)) {
        return false;
    }
    for (page = first; page < end && at < read->window.to; page++) {
        uint64_t i = page - first;
        uint64_t word = mapped_bitmap_word(bits + i / MAPPED_WORD_PAGES *
                                                      MAPPED_WORD_BYTES);
        bool stored = word >> i % MAPPED_WORD_PAGES & 1;
        uint64_t bytes = HEAD_BYTES + (stored ? page_size : FILL_BYTES) +
                         (page == 0 ? block->name_bytes : 0);

        if (at + bytes > read->window.from) {
            put_record(read, page, stored, at);
        }
        at += bytes;
    }
    return true;
}

/* The wanted pages from @first on that are read together: where they end. */
static guint find_request(const PageRead *read, guint first, uint64_t gap)
{
    uint32_t page_size = read->classic->info->page_size;
    const WantedPage *wanted = (const WantedPage *)read->wanted->data;
    guint i;

    for (i = first + 1; i < read->wanted->len; i++) {
        uint64_t last_end = wanted[i - 1].position + page_size;

        if (wanted[i].position > last_end + gap ||
            wanted[i].position + page_size - wanted[first].position >
                REQUEST_BYTES) {
            break;
        }
    }
    return i;
}

static bool coroutine_fn read_request(const PageRead *read, guint first,
                                      guint behind, uint8_t *memory,
                                      GError **errp)
{
    const SnapSource *source = read->classic->source;
    uint32_t page_size = read->classic->info->page_size;
    const WantedPage *wanted = (const WantedPage *)read->wanted->data;
    uint64_t start = wanted[first].position;
    uint64_t end = wanted[behind - 1].position + page_size;
    guint i;

    if (!source->fetch(source->opaque, start, memory, end - start, errp)) {
        return false;
    }
    for (i = first; i < behind; i++) {
        put(&read->window, wanted[i].at, memory + (wanted[i].position - start),
            page_size);
    }
    return true;
}

/*
 * What fails may have a hole between pages: try again without what is between.
 * A hole where a page is stored is damage.
 */
static bool coroutine_fn read_wanted(const PageRead *read, uint8_t *memory,
                                     GError **errp)
{
    guint first = 0;

    while (first < read->wanted->len) {
        guint behind = find_request(read, first, GAP_BYTES);
        g_autoptr(GError) error = NULL;

        if (!read_request(read, first, behind, memory, &error)) {
            guint alone = find_request(read, first, 0);

            if (alone == behind) {
                g_propagate_error(errp, g_steal_pointer(&error));
                return false;
            }
            if (!read_request(read, first, alone, memory, errp)) {
                return false;
            }
            behind = alone;
        }
        first = behind;
    }
    return true;
}

/* The last chunk whose records begin at @from or before. */
static uint64_t find_chunk(const PageRead *read)
{
    uint64_t low = 0;
    uint64_t high = chunk_count(read->block);

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (record_start(read->classic, read->block, middle * CHUNK_PAGES,
                         stored_before(read->block, middle)) <=
            read->window.from) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool coroutine_fn read_records(PageRead *read, GError **errp)
{
    const ClassicBlock *block = read->block;
    uint64_t chunk = find_chunk(read);
    AioBuffer *memory;
    bool done;

    for (; chunk < chunk_count(block) &&
           record_start(read->classic, block, chunk * CHUNK_PAGES,
                        stored_before(block, chunk)) < read->window.to;
         chunk++) {
        if (!put_chunk(read, chunk, errp)) {
            return false;
        }
    }
    if (read->wanted->len == 0) {
        return true;
    }
    memory = aio_buffer_pool_get(read->classic->memory);
    done = read_wanted(read, memory->data, errp);
    aio_buffer_pool_put(read->classic->memory, memory);
    return done;
}

static bool coroutine_fn read_pages(const SnapClassic *classic,
                                    const Segment *segment, uint64_t offset,
                                    uint8_t *data, size_t bytes, GError **errp)
{
    g_autoptr(GArray) wanted = g_array_new(FALSE, FALSE, sizeof(WantedPage));
    PageRead read = {
        .classic = classic,
        .block = &classic->blocks[segment->from],
        .window = { .from = offset, .to = offset + bytes, .data = data },
        .wanted = wanted,
    };

    return read_records(&read, errp);
}

static bool coroutine_fn read_segment(const SnapClassic *classic,
                                      const Segment *segment, uint64_t offset,
                                      uint8_t *data, size_t bytes,
                                      GError **errp)
{
    const SnapSource *source = classic->source;

    switch (segment->kind) {
    case SEGMENT_COPY:
        return source->fetch(source->opaque, segment->from + offset, data,
                             bytes, errp);
    case SEGMENT_TEXT:
        memcpy(data, classic->text->data + segment->from + offset, bytes);
        return true;
    case SEGMENT_PAGES:
        return read_pages(classic, segment, offset, data, bytes, errp);
    }
    g_assert_not_reached();
}

/* The segment that @position is in. */
static guint find_segment(const SnapClassic *classic, uint64_t position)
{
    guint low = 0;
    guint high = classic->segments->len;

    while (high - low > 1) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(classic->segments, Segment, middle).start <=
            position) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

bool coroutine_fn snap_classic_read(SnapClassic *classic, uint64_t position,
                                    uint8_t *data, size_t bytes, GError **errp)
{
    guint at = find_segment(classic, position);

    g_assert(range_within(position, bytes, classic->bytes));
    for (; bytes > 0; at++) {
        const Segment *segment = &g_array_index(classic->segments, Segment, at);
        uint64_t offset = position - segment->start;
        size_t now = MIN(bytes, segment->bytes - offset);

        if (!read_segment(classic, segment, offset, data, now, errp)) {
            return false;
        }
        position += now;
        data += now;
        bytes -= now;
    }
    return true;
}
