/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The frame of a stream: its header, and the headers and footers of sections.
 *
 * Footers are a setting of the source that nothing announces. What follows the
 * first section that knows its own end shows whether there are any; from then
 * on they are demanded or refused.
 */
#include <string.h>

#include "reader-internal.h"
#include "stream-devices.h"

#define STREAM_MAGIC   "QEVM"
#define STREAM_VERSION 3

void stream_next_top_level(MigrationReader *reader)
{
    reader_next(reader, stream_top_level_step, "between two sections");
}

static StepResult stream_after_header_step(MigrationReader *reader,
                                           StreamCursor *cursor)
{
    uint8_t type;

    if (!stream_cursor_peek(cursor, &type)) {
        return STEP_MORE;
    }
    reader->info.framing_bytes = reader_item_offset(reader, cursor);
    if (type == STREAM_CONFIGURATION) {
        reader_next(reader, stream_configuration_step, "in the configuration");
    } else {
        stream_next_top_level(reader);
    }
    return STEP_DONE;
}

StepResult stream_header_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint32_t version;
    uint8_t byte;

    /* Byte by byte: a foreign stream is refused at the first wrong one. */
    for (unsigned i = 0; i < strlen(STREAM_MAGIC); i++) {
        if (!stream_cursor_u8(cursor, &byte)) {
            return STEP_MORE;
        }
        if (byte != (uint8_t)STREAM_MAGIC[i]) {
            return stream_error(&reader->error, SNAP_ERROR_STREAM, i,
                                "not a QEMU migration stream");
        }
    }
    if (!stream_cursor_be32(cursor, &version)) {
        return STEP_MORE;
    }
    if (version != STREAM_VERSION) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED,
                            strlen(STREAM_MAGIC),
                            "migration stream of version %u; only version %d "
                            "is handled",
                            version, STREAM_VERSION);
    }
    reader_next(reader, stream_after_header_step, "behind the header");
    return STEP_DONE;
}

bool section_header_take(StreamCursor *cursor, SectionHeader *header)
{
    if (!stream_cursor_u8(cursor, &header->type) ||
        !stream_cursor_be32(cursor, &header->id)) {
        return false;
    }
    if (header->type == STREAM_SECTION_PART ||
        header->type == STREAM_SECTION_END) {
        return true;
    }
    return stream_cursor_name(cursor, &header->name) &&
           stream_cursor_be32(cursor, &header->instance) &&
           stream_cursor_be32(cursor, &header->version);
}

char *section_describe(const char *name, uint32_t id)
{
    g_autofree char *escaped = stream_escape(name, strlen(name));

    return g_strdup_printf("section '%s' (id %u)", escaped, id);
}

bool section_register(MigrationReader *reader, uint32_t id, StreamName name,
                      const SectionFormat *format)
{
    gpointer key = GUINT_TO_POINTER(id);
    Section *section;

    if (g_hash_table_contains(reader->sections, key) ||
        g_hash_table_size(reader->sections) == STREAM_MAX_SECTIONS) {
        return false;
    }
    section = g_new0(Section, 1);
    section->id = id;
    section->name = g_strndup(name.text, name.bytes);
    section->format = format;
    g_hash_table_insert(reader->sections, key, section);
    return true;
}

static StepResult section_footer_step(MigrationReader *reader,
                                      StreamCursor *cursor)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    g_autofree char *section = NULL;
    uint8_t type;
    uint32_t id;

    if (!stream_cursor_peek(cursor, &type)) {
        return STEP_MORE;
    }
    if (reader->footers == FOOTERS_UNKNOWN) {
        reader->footers = type == STREAM_SECTION_FOOTER ? FOOTERS_ON
                                                        : FOOTERS_OFF;
    }
    if (reader->footers == FOOTERS_OFF) {
        goto out;
    }
    section = section_describe(reader->section->name, reader->section->id);
    if (type != STREAM_SECTION_FOOTER) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "no footer after %s, but a byte 0x%02x", section,
                            type);
    }
    if (!stream_cursor_u8(cursor, &type) || !stream_cursor_be32(cursor, &id)) {
        return STEP_MORE;
    }
    if (id != reader->section->id) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "the footer of %s is that of section %u", section,
                            id);
    }
out:
    section_list_piece(reader->section->listed, reader->section_offset,
                       reader->position + cursor->pos);
    reader->section = NULL;
    stream_next_top_level(reader);
    return STEP_DONE;
}

void section_end_payload(MigrationReader *reader)
{
    reader_next(reader, section_footer_step, "in a section footer");
}

static StepResult section_begin(MigrationReader *reader, Section *section,
                                uint8_t type, uint64_t offset)
{
    reader->section = section;
    reader->section_type = type;
    reader->section_offset = offset;
    reader->section_items = 0;
    reader_next(reader, section->format->step, "in a section");
    return STEP_DONE;
}

static StepResult section_start_step(MigrationReader *reader,
                                     StreamCursor *cursor)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    const SectionFormat *format;
    SectionHeader header = { 0 };
    g_autofree char *name = NULL;
    Section *section;

    if (!section_header_take(cursor, &header)) {
        return STEP_MORE;
    }
    format = section_format_find(header.name, header.version);
    if (format == NULL) {
        return opaque_begin(reader, cursor);
    }
    name = stream_escape(header.name.text, header.name.bytes);
    if (header.version != format->version) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "section '%s' of version %u", name, header.version);
    }
    if (!section_register(reader, header.id, header.name, format)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "the id %u of section '%s' is taken", header.id,
                            name);
    }
    section =
        g_hash_table_lookup(reader->sections, GUINT_TO_POINTER(header.id));
    section->listed = section_list_add(reader, header.name, header.instance,
                                       header.version, offset);
    if (section->listed == NULL) {
        return STEP_FAILED;
    }
    return section_begin(reader, section, header.type, offset);
}

/* A PART or END */
static StepResult section_continue_step(MigrationReader *reader,
                                        StreamCursor *cursor)
{
    SectionHeader header;
    Section *section;

    if (!section_header_take(cursor, &header)) {
        return STEP_MORE;
    }
    section =
        g_hash_table_lookup(reader->sections, GUINT_TO_POINTER(header.id));
    if (section == NULL) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "section %u goes on without having begun",
                            header.id);
    }
    if (section->format == NULL) {
        return opaque_begin(reader, cursor);
    }
    return section_begin(reader, section, header.type,
                         reader_item_offset(reader, cursor));
}

StepResult stream_top_level_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint8_t type;

    if (!stream_cursor_peek(cursor, &type)) {
        return STEP_MORE;
    }
    switch (type) {
    case STREAM_SECTION_START:
        reader->place = "in a section header";
        return section_start_step(reader, cursor);
    case STREAM_SECTION_PART:
    case STREAM_SECTION_END:
        reader->place = "in a section header";
        return section_continue_step(reader, cursor);
    case STREAM_SECTION_FULL:
    case STREAM_EOF:
        return opaque_begin(reader, cursor);
    case STREAM_COMMAND:
        reader_next(reader, stream_command_step, "in a command");
        return STEP_DONE;
    default:
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "a byte 0x%02x where a section should begin", type);
    }
}
