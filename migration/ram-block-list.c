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

#include "ram-records.h"

/* A block states its page size when it is not that of the host: huge pages. */
#define RAM_MIN_STATED_PAGE_SIZE (64 * 1024)

#define MAPPED_RAM_VERSION 1

static StepFunc ram_block_list_step;

static void block_list_next(MigrationReader *reader)
{
    if (reader->ram.bytes_to_list > 0) {
        reader_next(reader, ram_block_list_step, "in the list of RAM blocks");
    } else {
        reader->ram.listed = true;
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
    block_list_next(reader);
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

static void block_add(MigrationReader *reader, StreamName name, uint64_t bytes)
{
    MigrationBlock *block = g_new0(MigrationBlock, 1);

    block->name = g_strndup(name.text, name.bytes);
    block->bytes = bytes;
    block->number = reader->info.blocks->len;
    g_ptr_array_add(reader->info.blocks, block);
    g_hash_table_insert(reader->ram.by_name, block->name, block);
    reader->ram.multiples |= bytes;
    reader->ram.bytes_to_list -= bytes;
}

/* Set bits are pages that are stored; the byte order does not matter here. */
static StepResult mapped_bitmap_step(MigrationReader *reader,
                                     StreamCursor *cursor)
{
    size_t bytes = MIN(reader->ram.bitmap_bytes, stream_cursor_left(cursor));
    const uint8_t *bitmap = stream_cursor_take(cursor, MAX(bytes, 1));

    if (bitmap == NULL) {
        return STEP_MORE;
    }
    for (size_t i = 0; i < bytes; i++) {
        reader->info.data_pages += __builtin_popcount(bitmap[i]);
    }
    reader->ram.bitmap_bytes -= bytes;
    if (reader->ram.bitmap_bytes > 0) {
        return STEP_DONE;
    }
    block_list_next(reader);
    return reader_skip(reader, cursor, reader->ram.bytes_after_bitmap);
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

/*
 * Bitmap and pages of a mapped block stand at offsets of the file they were
 * written to. Those are offsets of the stream too, or else the stream was not
 * at the start of that file, and nobody could load it from any other place.
 */
static StepResult mapped_block_begin(MigrationReader *reader,
                                     const StreamCursor *cursor,
                                     const MappedBlock *mapped, uint64_t bytes)
{
    RamState *ram = &reader->ram;
    uint64_t offset = reader->position + cursor->pos;
    uint64_t bitmap_bytes, pages;

    if (mapped->version != MAPPED_RAM_VERSION ||
        !ram_page_size_valid(mapped->page_size) ||
        !is_aligned(bytes, mapped->page_size) ||
        (reader->info.page_size != 0 &&
         reader->info.page_size != mapped->page_size)) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "mapped RAM of version %u with pages of "
                            "%" G_GUINT64_FORMAT " bytes",
                            mapped->version, mapped->page_size);
    }
    pages = bytes / mapped->page_size;
    bitmap_bytes = div_round_up(pages, 64) * sizeof(uint64_t);
    if (mapped->bitmap_offset != offset) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "mapped RAM was written for offset "
                            "%" G_GUINT64_FORMAT " of a file",
                            mapped->bitmap_offset);
    }
    /* No overflow: a bitmap is far shorter than the 2^63 of a skip. */
    if (mapped->pages_offset < offset + bitmap_bytes ||
        !checked_add(mapped->pages_offset - offset - bitmap_bytes, bytes,
                     &ram->bytes_after_bitmap)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "pages of mapped RAM at offset %" G_GUINT64_FORMAT,
                            mapped->pages_offset);
    }
    reader->info.page_size = mapped->page_size;
    ram->bitmap_bytes = bitmap_bytes;
    reader_next(reader, mapped_bitmap_step, "in the bitmap of a RAM block");
    return STEP_DONE;
}

static StepResult ram_block_list_step(MigrationReader *reader,
                                      StreamCursor *cursor)
{
    RamState *ram = &reader->ram;
    MappedBlock mapped = { 0 };
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
    block_add(reader, name, bytes);
    if (reader->info.mapped_ram) {
        return mapped_block_begin(reader, cursor, &mapped, bytes);
    }
    block_list_next(reader);
    return STEP_DONE;
}
