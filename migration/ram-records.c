/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Parses the records of section `ram', by far the most of a stream. Pages are
 * passed over. The two records that make up nearly all of it, a page and a
 * zero page of the same block as before, are recognised by one comparison.
 */
#include <inttypes.h>
#include <string.h>

#include "ram-records.h"

/* Behind the block of an XBZRLE record: this byte and a be16 length. */
#define XBZRLE_ENCODING 1

/* What deflate can add to a page at most, generously. */
#define COMPRESS_MAX_OVERHEAD 1024

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
        return stream_cursor_u8(cursor, &byte) ? STEP_DONE : STEP_MORE;
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
        if (deflated > 0 && deflated <= max + COMPRESS_MAX_OVERHEAD) {
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
    result = ram_word_check(word, page_size, reader->ram.mapped,
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

static StepResult ram_page_passed(MigrationReader *reader, StreamCursor *cursor,
                                  const RamRecord *record)
{
    RamState *ram = &reader->ram;

    ram->block = record->block;
    ram->multiples |= record->offset;
    if (record->kind == RAM_RECORD_ZERO) {
        reader->info.zero_pages++;
    } else {
        reader->info.data_pages++;
    }
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
 * Pass over pages and zero pages that continue the current block and lie in
 * the buffer with all their bytes; leave @cursor at the first other thing.
 */
static void ram_pass_run(MigrationReader *reader, StreamCursor *cursor)
{
    const uint64_t page_size = reader->info.page_size;
    const uint64_t mask = page_size - 1;
    const uint64_t block_bytes = reader->ram.block->bytes;
    const uint8_t *data = cursor->data + cursor->pos;
    const uint8_t *end = cursor->data + cursor->bytes;
    uint64_t pages = 0, zero_pages = 0;

    while ((size_t)(end - data) >= sizeof(uint64_t) + 1) {
        uint64_t word = load_be64(data);

        if ((word & ~mask) >= block_bytes) {
            break;
        }
        if ((word & mask) == (RAM_RECORD_PAGE | RAM_RECORD_CONTINUE) &&
            (size_t)(end - data) >= sizeof(word) + page_size) {
            data += sizeof(word) + page_size;
            pages++;
        } else if ((word & mask) == (RAM_RECORD_ZERO | RAM_RECORD_CONTINUE)) {
            data += sizeof(word) + 1;
            zero_pages++;
        } else {
            break;
        }
    }
    reader->info.data_pages += pages;
    reader->info.zero_pages += zero_pages;
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
            !reader->ram.mapped) {
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
