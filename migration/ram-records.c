/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Parses the records of section `ram', by far the most of a stream. Pages are
 * passed over. The two records that make up nearly all of it, a page and a
 * zero page of the same block as before, are recognised by one comparison, in
 * runs.
 */
#include <inttypes.h>
#include <string.h>

#include "packed-page.h"
#include "ram-records.h"

/* Behind the block of an XBZRLE record: this byte and a be16 length. */
#define XBZRLE_ENCODING 1

static const char *ram_refused_kind(uint64_t flags)
{
    switch (flags) {
    case RAM_RECORD_FULL:
        return "FULL";
    case RAM_RECORD_HOOK:
        return "HOOK";
    case RAM_RECORD_MULTIFD_FLUSH:
        return "MULTIFD_FLUSH";
    default:
        return NULL;
    }
}

/* May a record begin with these flags and this offset? */
static bool ram_word_legal(uint64_t flags, uint64_t offset, bool mapped)
{
    switch (flags & ~(uint64_t)RAM_RECORD_CONTINUE) {
    case RAM_RECORD_ZERO:
    case RAM_RECORD_PAGE:
    case RAM_RECORD_XBZRLE:
    case RAM_RECORD_COMPRESS_PAGE:
        return !mapped;
    case RAM_RECORD_MEM_SIZE:
        return !(flags & RAM_RECORD_CONTINUE);
    case RAM_RECORD_EOS:
        return !(flags & RAM_RECORD_CONTINUE) && offset == 0;
    default:
        return false;
    }
}

static StepResult ram_word_check(uint64_t word, uint32_t page_size, bool mapped,
                                 uint64_t stream_offset, GError **errp)
{
    uint64_t flags = word & RAM_RECORD_FLAGS;
    uint64_t offset = word & ~RAM_RECORD_FLAGS;

    if (ram_refused_kind(flags) != NULL) {
        return stream_error(errp, SNAP_ERROR_UNSUPPORTED, stream_offset,
                            "RAM record of kind %s", ram_refused_kind(flags));
    }
    if (!ram_word_legal(flags, offset, mapped)) {
        return stream_error(errp, SNAP_ERROR_STREAM, stream_offset,
                            "a RAM record cannot begin with 0x%016" PRIx64,
                            word);
    }
    if (page_size != 0 && !is_aligned(offset, page_size)) {
        return stream_error(errp, SNAP_ERROR_STREAM, stream_offset,
                            "a RAM record at 0x%" PRIx64
                            " of its block, amid a page of %u bytes",
                            offset, page_size);
    }
    return STEP_DONE;
}

/* Take the name of a block, unless the record continues one. */
static StepResult ram_block_take(const MigrationReader *reader,
                                 StreamCursor *cursor, bool same,
                                 RamRecord *record, GError **errp)
{
    uint64_t stream_offset = reader_item_offset(reader, cursor);
    char key[UINT8_MAX + 1] = "";
    g_autofree char *escaped = NULL;
    StreamName name;

    if (!same) {
        if (!stream_cursor_name(cursor, &name)) {
            return STEP_MORE;
        }
        memcpy(key, name.text, name.bytes);
        record->block = g_hash_table_lookup(reader->ram.by_name, key);
        if (record->block == NULL || strlen(key) != name.bytes) {
            escaped = stream_escape(name.text, name.bytes);
            return stream_error(errp, SNAP_ERROR_STREAM, stream_offset,
                                "a page of the unknown RAM block '%s'",
                                escaped);
        }
    }
    if (record->block == NULL) {
        return stream_error(errp, SNAP_ERROR_STREAM, stream_offset,
                            "a RAM record continues no block");
    }
    if (record->offset >= record->block->bytes) {
        return stream_error(errp, SNAP_ERROR_STREAM, stream_offset,
                            "a page at 0x%" PRIx64
                            " of RAM block '%s', which has 0x%" PRIx64 " bytes",
                            record->offset, record->block->name,
                            record->block->bytes);
    }
    return STEP_DONE;
}

/* Take what says how long the payload is. */
static StepResult ram_payload_take(const MigrationReader *reader,
                                   StreamCursor *cursor, uint32_t page_size,
                                   RamRecord *record, GError **errp)
{
    uint32_t max = page_size != 0 ? page_size : 1 << RAM_MAX_PAGE_BITS;
    uint8_t byte;
    uint16_t packed;
    uint32_t deflated;

    switch (record->kind) {
    case RAM_RECORD_ZERO:
        record->payload = 0;
        return stream_cursor_u8(cursor, &record->fill) ? STEP_DONE : STEP_MORE;
    case RAM_RECORD_XBZRLE:
        if (!stream_cursor_u8(cursor, &byte) ||
            !stream_cursor_be16(cursor, &packed)) {
            return STEP_MORE;
        }
        record->payload = packed;
        if (byte == XBZRLE_ENCODING && packed <= max) {
            return STEP_DONE;
        }
        break;
    case RAM_RECORD_COMPRESS_PAGE:
        if (!stream_cursor_be32(cursor, &deflated)) {
            return STEP_MORE;
        }
        record->payload = deflated;
        if (deflated > 0 && deflated <= max + PACKED_PAGE_OVERHEAD) {
            return STEP_DONE;
        }
        break;
    default:
        record->payload = record->kind == RAM_RECORD_PAGE ? page_size : 0;
        return STEP_DONE;
    }
    return stream_error(errp, SNAP_ERROR_STREAM,
                        reader_item_offset(reader, cursor),
                        "a packed RAM page of %" G_GUINT64_FORMAT
                        " bytes, or in an unknown encoding",
                        record->payload);
}

StepResult ram_record_take(const MigrationReader *reader, StreamCursor *cursor,
                           const MigrationBlock *block, uint32_t page_size,
                           RamRecord *record, GError **errp)
{
    StepResult result;
    uint64_t word;

    if (!stream_cursor_be64(cursor, &word)) {
        return STEP_MORE;
    }
    result = ram_word_check(word, page_size, reader->info.mapped_ram,
                            reader_item_offset(reader, cursor), errp);
    if (result != STEP_DONE) {
        return result;
    }
    record->kind = word & RAM_RECORD_FLAGS & ~(uint64_t)RAM_RECORD_CONTINUE;
    record->offset = word & ~RAM_RECORD_FLAGS;
    record->block = block;
    if (record->kind != RAM_RECORD_MEM_SIZE && record->kind != RAM_RECORD_EOS) {
        result = ram_block_take(reader, cursor, word & RAM_RECORD_CONTINUE,
                                record, errp);
        if (result != STEP_DONE) {
            return result;
        }
    }
    return ram_payload_take(reader, cursor, page_size, record, errp);
}

static MigrationPageKind ram_page_kind(const RamRecord *record)
{
    switch (record->kind) {
    case RAM_RECORD_ZERO:
        return MIGRATION_PAGE_FILL;
    case RAM_RECORD_XBZRLE:
        return MIGRATION_PAGE_XBZRLE;
    case RAM_RECORD_COMPRESS_PAGE:
        return MIGRATION_PAGE_DEFLATED;
    default:
        return MIGRATION_PAGE_DATA;
    }
}

void ram_pages_passed(MigrationReader *reader, const MigrationPages *pages)
{
    if (pages->kind == MIGRATION_PAGE_FILL) {
        reader->info.zero_pages += pages->count;
    } else {
        reader->info.data_pages += pages->count;
    }
    if (reader->tell_pages) {
        reader->tell_pages(pages, reader->tell_opaque);
    }
}

/* @cursor is behind what says how long the payload is. */
static StepResult ram_page_passed(MigrationReader *reader, StreamCursor *cursor,
                                  const RamRecord *record)
{
    RamState *ram = &reader->ram;
    MigrationPages pages = {
        .block = record->block,
        .page_size = reader->info.page_size,
        .kind = ram_page_kind(record),
        .fill = record->fill,
        .start = record->offset,
        .count = 1,
        .offset = reader->position + cursor->pos,
        .bytes = record->payload,
    };

    /* The byte that fills a page is taken with the head. */
    if (pages.kind == MIGRATION_PAGE_FILL) {
        pages.offset--;
        pages.bytes = 1;
    }
    pages.stride = sizeof(uint64_t) + pages.bytes;
    ram->block = record->block;
    ram->multiples |= record->offset;
    ram_pages_passed(reader, &pages);
    return reader_skip(reader, cursor, record->payload);
}

/* One record of any kind. */
static StepResult ram_record_parse(MigrationReader *reader,
                                   StreamCursor *cursor)
{
    uint32_t page_size = reader->info.page_size;
    RamRecord record;
    StepResult result;

    result = ram_record_take(reader, cursor, reader->ram.block, page_size,
                             &record, &reader->error);
    if (result != STEP_DONE) {
        return result;
    }
    switch (record.kind) {
    case RAM_RECORD_MEM_SIZE:
        return ram_block_list_begin(reader, cursor, record.offset);
    case RAM_RECORD_EOS:
        section_end_payload(reader);
        return STEP_DONE;
    case RAM_RECORD_PAGE:
        if (page_size == 0) {
            result = ram_page_size_infer(reader, cursor, &record, &page_size);
            if (result != STEP_DONE) {
                return result;
            }
            reader->info.page_size = page_size;
            record.payload = page_size;
        }
        break;
    default:
        break;
    }
    return ram_page_passed(reader, cursor, &record);
}

/*
 * How many records like the one at @data, each with the page behind that of
 * the one before, there are in @bytes? @max at most.
 */
static uint64_t ram_count_run(const uint8_t *data, size_t bytes,
                              const MigrationPages *pages, uint64_t max)
{
    uint64_t word = load_be64(data);
    uint64_t count = 1;

    max = MIN(max, bytes / pages->stride);
    while (count < max) {
        const uint8_t *next = data + count * pages->stride;

        if (load_be64(next) != word + count * pages->page_size ||
            (pages->kind == MIGRATION_PAGE_FILL &&
             next[sizeof(word)] != pages->fill)) {
            break;
        }
        count++;
    }
    return count;
}

/*
 * Pass over pages and zero pages that continue the current block and lie in
 * the buffer with all their bytes; leave @cursor at the first other thing.
 */
static void ram_pass_run(MigrationReader *reader, StreamCursor *cursor)
{
    const uint32_t page_size = reader->info.page_size;
    const uint64_t mask = page_size - 1;
    const uint8_t *data = cursor->data + cursor->pos;
    const uint8_t *end = cursor->data + cursor->bytes;
    MigrationPages pages = {
        .block = reader->ram.block,
        .page_size = page_size,
    };

    while ((size_t)(end - data) >= sizeof(uint64_t) + 1) {
        uint64_t word = load_be64(data);

        pages.start = word & ~mask;
        if (pages.start >= pages.block->bytes) {
            break;
        }
        if ((word & mask) == (RAM_RECORD_PAGE | RAM_RECORD_CONTINUE) &&
            (size_t)(end - data) >= sizeof(word) + page_size) {
            pages.kind = MIGRATION_PAGE_DATA;
            pages.bytes = page_size;
            pages.fill = 0;
        } else if ((word & mask) == (RAM_RECORD_ZERO | RAM_RECORD_CONTINUE)) {
            pages.kind = MIGRATION_PAGE_FILL;
            pages.bytes = 1;
            pages.fill = data[sizeof(word)];
        } else {
            break;
        }
        pages.stride = sizeof(word) + pages.bytes;
        pages.offset = reader->position + (data - cursor->data) + sizeof(word);
        pages.count =
            ram_count_run(data, end - data, &pages,
                          (pages.block->bytes - pages.start) / page_size);
        ram_pages_passed(reader, &pages);
        data += pages.count * pages.stride;
    }
    cursor->pos = data - cursor->data;
}

StepResult ram_records_step(MigrationReader *reader, StreamCursor *cursor)
{
    StepResult result;

    reader->ram.started = true;
    if (reader->phase == MIGRATION_PHASE_SETUP) {
        reader->phase = MIGRATION_PHASE_RAM;
    }
    do {
        if (reader->info.page_size != 0 && reader->ram.block != NULL &&
            !reader->info.mapped_ram) {
            ram_pass_run(reader, cursor);
            stream_cursor_begin_item(cursor);
        }
        result = ram_record_parse(reader, cursor);
        if (result != STEP_DONE) {
            return result;
        }
        stream_cursor_begin_item(cursor);
    } while (reader->step == ram_records_step && reader->skip == 0);
    return STEP_DONE;
}
