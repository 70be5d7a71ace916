/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The configuration, which says how some of what follows is to be read: the
 * page size, and capabilities that add fields to the list of RAM blocks.
 * Subsections have no lengths, so one that is not known ends all parsing.
 */
#include "reader-internal.h"

/* QEMU takes any length; names of machine types stay far below this. */
#define CONFIGURATION_MAX_MACHINE_NAME 255

/* QEMU knows some thirty. */
#define CONFIGURATION_MAX_CAPABILITIES 256

static StepResult configuration_subsection_step(MigrationReader *reader,
                                                StreamCursor *cursor);

static StepResult configuration_failed(MigrationReader *reader,
                                       const StreamCursor *cursor,
                                       SnapError code, const char *what,
                                       StreamName name, const char *wrong)
{
    g_autofree char *escaped = stream_escape(name.text, name.bytes);

    return stream_error(&reader->error, code,
                        reader_item_offset(reader, cursor), "%s '%s' %s", what,
                        escaped, wrong);
}

static void configuration_next_subsection(MigrationReader *reader)
{
    reader_next(reader, configuration_subsection_step, "in the configuration");
}

static StepResult configuration_page_bits(MigrationReader *reader,
                                          StreamCursor *cursor)
{
    uint32_t bits;

    if (!stream_cursor_be32(cursor, &bits)) {
        return STEP_MORE;
    }
    if (bits < RAM_MIN_PAGE_BITS || bits > RAM_MAX_PAGE_BITS) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED,
                            reader_item_offset(reader, cursor),
                            "the configuration states pages of 2^%u bytes",
                            bits);
    }
    reader->info.page_size = UINT32_C(1) << bits;
    configuration_next_subsection(reader);
    return STEP_DONE;
}

static StepResult configuration_uuid(MigrationReader *reader,
                                     StreamCursor *cursor)
{
    const uint8_t *uuid = stream_cursor_take(cursor, MIGRATION_UUID_BYTES);

    if (uuid == NULL) {
        return STEP_MORE;
    }
    memcpy(reader->info.uuid, uuid, MIGRATION_UUID_BYTES);
    reader->info.uuid_known = true;
    configuration_next_subsection(reader);
    return STEP_DONE;
}

/*
 * Only capabilities that both sides must have alike are listed. An unknown one
 * would have been listed because it changes the stream.
 */
static StepResult configuration_capability_step(MigrationReader *reader,
                                                StreamCursor *cursor)
{
    StreamName name;

    if (reader->capabilities_left == 0) {
        reader->info.capabilities_bytes = reader_item_offset(reader, cursor) -
                                          reader->info.capabilities_offset;
        configuration_next_subsection(reader);
        return STEP_DONE;
    }
    if (!stream_cursor_name(cursor, &name)) {
        return STEP_MORE;
    }
    if (stream_name_is(name, "x-ignore-shared")) {
        reader->ram.ignore_shared = true;
    } else if (stream_name_is(name, "mapped-ram")) {
        reader->info.mapped_ram = true;
    } else {
        return configuration_failed(reader, cursor, SNAP_ERROR_UNSUPPORTED,
                                    "capability", name, "is not known");
    }
    g_ptr_array_add(reader->info.capabilities,
                    g_strndup(name.text, name.bytes));
    reader->capabilities_left--;
    return STEP_DONE;
}

static StepResult configuration_capabilities(MigrationReader *reader,
                                             StreamCursor *cursor)
{
    uint32_t count;

    if (!stream_cursor_be32(cursor, &count)) {
        return STEP_MORE;
    }
    if (count > CONFIGURATION_MAX_CAPABILITIES) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "the configuration lists %u capabilities", count);
    }
    if (reader->info.capabilities_bytes > 0) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "the configuration lists capabilities twice");
    }
    reader->info.capabilities_offset = reader_item_offset(reader, cursor);
    reader->capabilities_left = count;
    reader_next(reader, configuration_capability_step, "in the configuration");
    return STEP_DONE;
}

static StepResult configuration_subsection_step(MigrationReader *reader,
                                                StreamCursor *cursor)
{
    static const struct {
        const char *name;
        StepFunc *body;
    } subsections[] = {
        { "configuration/target-page-bits", configuration_page_bits },
        { "configuration/capabilities", configuration_capabilities },
        { "configuration/uuid", configuration_uuid },
    };
    uint8_t type;
    StreamName name;
    uint32_t version;

    if (!stream_cursor_peek(cursor, &type)) {
        return STEP_MORE;
    }
    if (type != STREAM_SUBSECTION) {
        reader->info.framing_bytes = reader_item_offset(reader, cursor);
        stream_next_top_level(reader);
        return STEP_DONE;
    }
    if (!stream_cursor_u8(cursor, &type) ||
        !stream_cursor_name(cursor, &name) ||
        !stream_cursor_be32(cursor, &version)) {
        return STEP_MORE;
    }
    for (size_t i = 0; version == 1 && i < G_N_ELEMENTS(subsections); i++) {
        if (stream_name_is(name, subsections[i].name)) {
            return subsections[i].body(reader, cursor);
        }
    }
    return configuration_failed(
        reader, cursor, SNAP_ERROR_UNSUPPORTED, "subsection", name,
        "of the configuration, or its version, is not known");
}

StepResult stream_configuration_step(MigrationReader *reader,
                                     StreamCursor *cursor)
{
    StreamName machine;
    uint8_t type;
    uint32_t bytes;
    const uint8_t *text;

    if (!stream_cursor_u8(cursor, &type) ||
        !stream_cursor_be32(cursor, &bytes)) {
        return STEP_MORE;
    }
    if (bytes > CONFIGURATION_MAX_MACHINE_NAME) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "a machine type with a name of %u bytes", bytes);
    }
    text = stream_cursor_take(cursor, bytes);
    if (text == NULL) {
        return STEP_MORE;
    }
    machine = (StreamName){ (const char *)text, bytes };
    if (bytes > 0 && !stream_name_printable(machine)) {
        return configuration_failed(reader, cursor, SNAP_ERROR_STREAM,
                                    "machine type", machine,
                                    "has no printable name");
    }
    reader->info.machine = g_strndup(machine.text, machine.bytes);
    configuration_next_subsection(reader);
    return STEP_DONE;
}
