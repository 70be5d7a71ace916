/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The list of RAM blocks in the START of section `ram'. It ends when the
 * lengths sum up to the announced total. What an entry consists of depends on
 * capabilities; one field is announced by nothing and is found by looking at
 * what follows.
 */
#include <string.h>

#include "mapped-bitmap.h"
#include "ram-records.h"

/* A block states its page size when it is not that of the host: huge pages. */
#define RAM_MIN_STATED_PAGE_SIZE (64 * 1024)

#define MAPPED_RAM_VERSION 1

static StepFunc ram_block_list_step;

/* @end: of what has been taken of the list; bytes of the stream. */
static void block_list_next(MigrationReader *reader, uint64_t end)
{
    if (reader->ram.bytes_to_list > 0) {
        reader_next(reader, ram_block_list_step, "in the list of RAM blocks");
    } else {
        reader->ram.listed = true;
        reader->info.list_bytes = end - reader->info.list_offset;
        reader_next(reader, ram_records_step, "in section 'ram'");
    }
}

StepResult ram_block_list_begin(MigrationReader *reader,
                                const StreamCursor *cursor, uint64_t bytes)
{
    if (reader->ram.listed) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "a second list of RAM blocks");
    }
    reader->ram.bytes_to_list = bytes;
    reader->info.list_offset = reader->position + cursor->pos;
    block_list_next(reader, reader->info.list_offset);
    return STEP_DONE;
}

/*
 * Does the page size of a block follow? Sources that may switch to postcopy
 * add it for some blocks. If it is not there, then behind the address, if any,
 * come the length of the next name, which is not 0, or the EOS record.
 */
static bool block_states_page_size(const MigrationReader *reader,
                                   StreamCursor *cursor, bool last,
                                   bool *states)
{
    const RamState *ram = &reader->ram;
    size_t address_bytes = ram->ignore_shared ? sizeof(uint64_t) : 0;
    uint64_t page_size;
    const uint8_t *next;

    *states = false;
    if (!ram->postcopy_advised || reader->info.mapped_ram) {
        return true;
    }
    if (!stream_cursor_has(cursor, address_bytes + sizeof(uint64_t))) {
        return false;
    }
    page_size = load_be64(cursor->data + cursor->pos);
    next = cursor->data + cursor->pos + address_bytes;
    *states = (last ? load_be64(next) != RAM_RECORD_EOS : next[0] == 0) &&
              page_size >= RAM_MIN_STATED_PAGE_SIZE &&
              (page_size & (page_size - 1)) == 0;
    return true;
}

static StepResult block_check(MigrationReader *reader,
                              const StreamCursor *cursor, StreamName name,
                              uint64_t bytes)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    uint64_t page_size =
        MAX(reader->info.page_size, UINT32_C(1) << RAM_MIN_PAGE_BITS);
    g_autofree char *escaped = stream_escape(name.text, name.bytes);
    g_autofree char *key = g_strndup(name.text, name.bytes);

    if (!stream_name_printable(name)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "RAM block '%s' has no printable name", escaped);
    }
    if (g_hash_table_contains(reader->ram.by_name, key) ||
        reader->info.blocks->len == RAM_MAX_BLOCKS) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "RAM block '%s' is listed twice, or after %u "
                            "others",
                            escaped, reader->info.blocks->len);
    }
    if (bytes > reader->ram.bytes_to_list || !is_aligned(bytes, page_size)) {
        return stream_error(
            &reader->error, SNAP_ERROR_STREAM, offset,
            "RAM block '%s' of %" G_GUINT64_FORMAT " bytes: %" G_GUINT64_FORMAT
            " are left of the total, and pages have at least "
            "%" G_GUINT64_FORMAT,
            escaped, bytes, reader->ram.bytes_to_list, page_size);
    }
    return STEP_DONE;
}

static MigrationBlock *block_add(MigrationReader *reader, StreamName name,
                                 uint64_t bytes)
{
    MigrationBlock *block = g_new0(MigrationBlock, 1);

    block->name = g_strndup(name.text, name.bytes);
    block->bytes = bytes;
    block->number = reader->info.blocks->len;
    g_ptr_array_add(reader->info.blocks, block);
    g_hash_table_insert(reader->ram.by_name, block->name, block);
    reader->ram.multiples |= bytes;
    reader->ram.bytes_to_list -= bytes;
    return block;
}

/* Bitmap and all before it have been taken. */
static StepResult mapped_block_end(MigrationReader *reader,
                                   const StreamCursor *cursor)
{
    uint64_t bytes = reader->ram.bytes_after_bitmap;

    block_list_next(reader, reader->position + cursor->pos + bytes);
    return reader_skip(reader, cursor, bytes);
}

/* Pages of a mapped block that are alike: stored, or not. */
typedef struct MappedRun {
    bool stored;
    uint64_t first;
    uint64_t count;
} MappedRun;

/* Those that are not stored are zero, but for RAM that others share. */
static void mapped_run_tell(MigrationReader *reader, const MappedRun *run)
{
    const RamState *ram = &reader->ram;
    uint32_t page_size = reader->info.page_size;
    MigrationPages pages = {
        .block = ram->mapped,
        .page_size = page_size,
        .kind = run->stored ? MIGRATION_PAGE_MAPPED : MIGRATION_PAGE_FILL,
        .start = run->first * page_size,
        .count = run->count,
    };

    if (run->stored) {
        pages.offset = ram->mapped->pages_offset + pages.start;
        pages.bytes = pages.stride = page_size;
    }
    if (run->count > 0 && (run->stored || !ram->ignore_shared)) {
        ram_pages_passed(reader, &pages);
    }
}

/* Go on with the @bits lowest bits of @word. */
static void mapped_word_take(MigrationReader *reader, MappedRun *run,
                             uint64_t word, unsigned bits)
{
    unsigned at = 0;

    while (at < bits) {
        bool stored = word >> at & 1;
        uint64_t others = stored ? ~(word >> at) : word >> at;
        unsigned alike = others ? (unsigned)__builtin_ctzll(others) : bits - at;

        alike = MIN(alike, bits - at);
        if (stored != run->stored) {
            mapped_run_tell(reader, run);
            run->stored = stored;
            run->first += run->count;
            run->count = 0;
        }
        run->count += alike;
        at += alike;
    }
}

static StepResult mapped_bitmap_step(MigrationReader *reader,
                                     StreamCursor *cursor)
{
    RamState *ram = &reader->ram;
    size_t bytes = MIN(ram->bitmap_bytes, stream_cursor_left(cursor));
    MappedRun run = { .first = ram->mapped_page };
    uint64_t end = ram->mapped->bytes / reader->info.page_size;
    const uint8_t *bitmap;

    bytes = round_down(bytes, MAPPED_WORD_BYTES);
    bitmap = stream_cursor_take(cursor, MAX(bytes, MAPPED_WORD_BYTES));
    if (bitmap == NULL) {
        return STEP_MORE;
    }
    for (size_t i = 0; i < bytes; i += MAPPED_WORD_BYTES) {
        uint64_t word = mapped_bitmap_word(bitmap + i);
        unsigned bits = MIN(end - ram->mapped_page, MAPPED_WORD_PAGES);

        if (bits < MAPPED_WORD_PAGES && word >> bits != 0) {
            mapped_run_tell(reader, &run);
            return stream_error(&reader->error, SNAP_ERROR_STREAM,
                                reader_item_offset(reader, cursor) + i,
                                "the bitmap of RAM block '%s' has pages behind "
                                "its end",
                                ram->mapped->name);
        }
        mapped_word_take(reader, &run, word, bits);
        ram->mapped_page += bits;
    }
    mapped_run_tell(reader, &run);
    ram->bitmap_bytes -= bytes;
    if (ram->bitmap_bytes > 0) {
        return STEP_DONE;
    }
    return mapped_block_end(reader, cursor);
}

typedef struct MappedBlock {
    uint32_t version;
    uint64_t page_size;
    uint64_t bitmap_offset;
    uint64_t pages_offset;
} MappedBlock;

static bool mapped_block_take(StreamCursor *cursor, MappedBlock *mapped)
{
    return stream_cursor_be32(cursor, &mapped->version) &&
           stream_cursor_be64(cursor, &mapped->page_size) &&
           stream_cursor_be64(cursor, &mapped->bitmap_offset) &&
           stream_cursor_be64(cursor, &mapped->pages_offset);
}

/* May pages of @block be where @mapped says? Its bitmap begins at @offset. */
static bool mapped_pages_fit(const MigrationBlock *block,
                             const MappedBlock *mapped, uint64_t offset,
                             uint64_t bitmap_bytes)
{
    uint64_t end;

    /* No overflow of the first sum: a bitmap is far shorter than its pages. */
    return mapped->pages_offset >= offset + bitmap_bytes &&
           checked_add(mapped->pages_offset, block->bytes, &end) &&
           end <= G_MAXINT64;
}

/*
 * Bitmap and pages of a mapped block stand at offsets of the file they were
 * written to. Those are offsets of the stream too, or else the stream was not
 * at the start of that file, and nobody could load it from any other place.
 */
static StepResult mapped_block_begin(MigrationReader *reader,
                                     const StreamCursor *cursor,
                                     const MappedBlock *mapped,
                                     MigrationBlock *block)
{
    RamState *ram = &reader->ram;
    uint64_t offset = reader->position + cursor->pos;

    if (mapped->version != MAPPED_RAM_VERSION ||
        !ram_page_size_valid(mapped->page_size) ||
        !is_aligned(block->bytes, mapped->page_size) ||
        (reader->info.page_size != 0 &&
         reader->info.page_size != mapped->page_size)) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "mapped RAM of version %u with pages of "
                            "%" G_GUINT64_FORMAT " bytes",
                            mapped->version, mapped->page_size);
    }
    if (mapped->bitmap_offset != offset) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "mapped RAM was written for offset "
                            "%" G_GUINT64_FORMAT " of a file",
                            mapped->bitmap_offset);
    }
    ram->bitmap_bytes = mapped_bitmap_bytes(block->bytes / mapped->page_size);
    if (!mapped_pages_fit(block, mapped, offset, ram->bitmap_bytes)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "pages of mapped RAM at offset %" G_GUINT64_FORMAT,
                            mapped->pages_offset);
    }
    reader->info.page_size = mapped->page_size;
    block->bitmap_offset = offset;
    block->pages_offset = mapped->pages_offset;
    ram->mapped = block;
    ram->mapped_page = 0;
    ram->bytes_after_bitmap = mapped->pages_offset + block->bytes - offset -
                              ram->bitmap_bytes;
    if (ram->bitmap_bytes == 0) {
        return mapped_block_end(reader, cursor);
    }
    reader_next(reader, mapped_bitmap_step, "in the bitmap of a RAM block");
    return STEP_DONE;
}

static StepResult ram_block_list_step(MigrationReader *reader,
                                      StreamCursor *cursor)
{
    RamState *ram = &reader->ram;
    MappedBlock mapped = { 0 };
    MigrationBlock *block;
    bool states_page_size;
    StepResult result;
    StreamName name;
    uint64_t bytes;

    if (!stream_cursor_name(cursor, &name) ||
        !stream_cursor_be64(cursor, &bytes)) {
        return STEP_MORE;
    }
    result = block_check(reader, cursor, name, bytes);
    if (result != STEP_DONE) {
        return result;
    }
    if (!block_states_page_size(reader, cursor, bytes == ram->bytes_to_list,
                                &states_page_size) ||
        (states_page_size && !stream_cursor_take(cursor, sizeof(uint64_t))) ||
        (ram->ignore_shared && !stream_cursor_take(cursor, sizeof(uint64_t))) ||
        (reader->info.mapped_ram && !mapped_block_take(cursor, &mapped))) {
        return STEP_MORE;
    }
    block = block_add(reader, name, bytes);
    if (reader->info.mapped_ram) {
        return mapped_block_begin(reader, cursor, &mapped, block);
    }
    block_list_next(reader, reader->position + cursor->pos);
    return STEP_DONE;
}
