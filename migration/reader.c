/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The input side of the stream reader: hands what is fed to the steps that
 * parse it, and keeps the little that a step wants to see whole.
 *
 * Design. The reader is in one of four states:
 *
 *   stepping   reader->step parses the next item. It gets the bytes where the
 *              caller has them; only an item that lies across two buffers is
 *              put together in reader->carry first.
 *   opaque     reader->opaque has the input: a section without a length. It
 *              goes back to stepping when it has found the section's end, or
 *              to complete.
 *   complete   phase COMPLETE; all further input is ignored.
 *   failed     reader->error is set; it is what every later call reports.
 *
 * Invariants:
 *  1. Feeding a stream in any pieces gives the same result: steps obey the
 *     rule in stream-cursor.h, and events of the opaque state are tied to
 *     stream offsets, not to buffers.
 *  2. What a step does not need whole is never copied: the contents of RAM
 *     pages only lower reader->skip.
 *  3. reader->position is the offset of the first byte that is not taken yet.
 *     Bytes in the carry are not taken.
 *  4. Only reader_complete() makes a stream complete, and there are two ways
 *     to it: a device description that is all there, or, from _finish(), an
 *     end marker with nothing but zeros behind it.
 *
 * A stream that was cut right behind its end marker cannot be told from one
 * whose machine type writes no description: QEMU loads both, and both count as
 * complete. That byte closes the last section; what is lost is a description
 * that no loading needs.
 */
#include <string.h>

#include "reader-internal.h"
#include "stream-devices.h"

StepResult stream_error(GError **errp, SnapError code, uint64_t offset,
                        const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (errp == NULL) {
        return STEP_FAILED;
    }
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(errp, SNAP_ERROR, code, "%s (offset %" G_GUINT64_FORMAT ")",
                text, offset);
    return STEP_FAILED;
}

uint64_t reader_item_offset(const MigrationReader *reader,
                            const StreamCursor *cursor)
{
    return reader->position + cursor->start;
}

void reader_next(MigrationReader *reader, StepFunc *step, const char *place)
{
    reader->step = step;
    reader->place = place;
}

StepResult reader_skip(MigrationReader *reader, const StreamCursor *cursor,
                       uint64_t bytes)
{
    uint64_t end;

    if (!checked_add(reader->position + cursor->pos, bytes, &end) ||
        end > G_MAXINT64) {
        return stream_error(
            &reader->error, SNAP_ERROR_STREAM, reader->position + cursor->pos,
            "a length of %" G_GUINT64_FORMAT " bytes is beyond any stream",
            bytes);
    }
    reader->skip = bytes;
    return STEP_DONE;
}

void reader_complete(MigrationReader *reader, uint64_t stream_bytes)
{
    if (reader->error != NULL) {
        return;
    }
    if (!reader->ram.started) {
        stream_error(&reader->error, SNAP_ERROR_STREAM, stream_bytes,
                     "the stream ends without a section 'ram'");
        return;
    }
    reader->phase = MIGRATION_PHASE_COMPLETE;
    reader->info.stream_bytes = stream_bytes;
    reader->info.framing_bytes += STREAM_EOF_BYTES;
}

char *stream_escape(const char *text, size_t bytes)
{
    GString *escaped = g_string_sized_new(bytes);

    for (size_t i = 0; i < bytes; i++) {
        if (g_ascii_isprint(text[i]) && text[i] != '\\') {
            g_string_append_c(escaped, text[i]);
        } else {
            g_string_append_printf(escaped, "\\x%02x", (uint8_t)text[i]);
        }
    }
    return g_string_free(escaped, FALSE);
}

bool stream_name_printable(StreamName name)
{
    const char *end = name.text + name.bytes;

    if (name.bytes == 0 || !g_utf8_validate(name.text, name.bytes, NULL)) {
        return false;
    }
    for (const char *p = name.text; p < end; p = g_utf8_next_char(p)) {
        if (!g_unichar_isprint(g_utf8_get_char(p))) {
            return false;
        }
    }
    return true;
}

bool stream_name_ascii(StreamName name)
{
    for (size_t i = 0; i < name.bytes; i++) {
        if (!g_ascii_isprint(name.text[i])) {
            return false;
        }
    }
    return name.bytes > 0;
}

static void section_free(gpointer opaque)
{
    Section *section = opaque;

    g_free(section->name);
    g_free(section);
}

MigrationReader *migration_reader_new(void)
{
    MigrationReader *reader = g_new0(MigrationReader, 1);

    migration_info_init(&reader->info);
    reader->ram.by_name = g_hash_table_new(g_str_hash, g_str_equal);
    reader->sections = g_hash_table_new_full(g_direct_hash, g_direct_equal,
                                             NULL, section_free);
    reader->devices = stream_devices_new();
    reader->carry = g_byte_array_new();
    reader->unread = g_byte_array_new();
    reader_next(reader, stream_header_step, "in the header");
    return reader;
}

void migration_reader_free(MigrationReader *reader)
{
    if (reader == NULL) {
        return;
    }
    opaque_region_free(reader->opaque);
    g_byte_array_unref(reader->carry);
    g_byte_array_unref(reader->unread);
    g_ptr_array_unref(reader->devices);
    g_hash_table_unref(reader->sections);
    g_hash_table_unref(reader->ram.by_name);
    migration_info_clear(&reader->info);
    g_clear_error(&reader->error);
    g_free(reader);
}

void migration_reader_tell_pages(MigrationReader *reader,
                                 MigrationPagesFunc *func, void *opaque)
{
    reader->tell_pages = func;
    reader->tell_opaque = opaque;
}

static bool reader_stopped(const MigrationReader *reader)
{
    return reader->error != NULL || reader->phase == MIGRATION_PHASE_COMPLETE;
}

/*
 * Let whoever is in charge parse from @data on, and return how much was taken.
 * *need stays 0, unless a step cannot go on without as many bytes in one piece
 * from there on.
 */
static size_t reader_parse(MigrationReader *reader, const uint8_t *data,
                           size_t bytes, size_t *need)
{
    StreamCursor cursor = { .data = data, .bytes = bytes };

    if (reader->skip > 0) {
        size_t skipped = MIN(reader->skip, bytes);

        reader->skip -= skipped;
        return skipped;
    }
    if (reader->opaque != NULL) {
        return opaque_region_feed(reader, data, bytes);
    }
    switch (reader->step(reader, &cursor)) {
    case STEP_MORE:
        g_assert(cursor.need > bytes - cursor.start);
        *need = cursor.need;
        return cursor.start;
    case STEP_DONE:
    case STEP_FAILED:
        break;
    }
    return cursor.pos;
}

static size_t carry_bytes(const MigrationReader *reader)
{
    return reader->carry->len - reader->carry_start;
}

static void carry_drop(MigrationReader *reader, size_t bytes)
{
    reader->carry_start += bytes;
    if (reader->carry_start == reader->carry->len) {
        g_byte_array_set_size(reader->carry, 0);
        reader->carry_start = 0;
    }
}

void reader_unread(MigrationReader *reader, const uint8_t *data, size_t bytes)
{
    g_byte_array_append(reader->unread, data, bytes);
}

/*
 * Put what the last step gave back in front of the carry. Mostly it was the
 * carry that it came from, so that there is room for it.
 */
static void carry_take_back(MigrationReader *reader)
{
    GByteArray *unread = reader->unread;

    if (unread->len == 0) {
        return;
    }
    if (reader->carry_start >= unread->len) {
        reader->carry_start -= unread->len;
        memcpy(reader->carry->data + reader->carry_start, unread->data,
               unread->len);
    } else {
        g_byte_array_remove_range(reader->carry, 0, reader->carry_start);
        g_byte_array_prepend(reader->carry, unread->data, unread->len);
        reader->carry_start = 0;
    }
    reader->position -= unread->len;
    g_byte_array_set_size(unread, 0);
}

/*
 * Parse the carry until it is empty or too short, taking from @data only what
 * its last item lacks. Returns how much of @data went into it.
 */
static size_t reader_parse_carry(MigrationReader *reader, const uint8_t *data,
                                 size_t bytes)
{
    size_t moved = 0;

    while (carry_bytes(reader) > 0 && !reader_stopped(reader)) {
        size_t available = carry_bytes(reader);
        size_t taken;

        if (available < reader->carry_need) {
            size_t lacking = MIN(reader->carry_need - available, bytes - moved);

            if (lacking == 0) {
                break;
            }
            g_byte_array_append(reader->carry, data + moved, lacking);
            moved += lacking;
            continue;
        }
        reader->carry_need = 0;
        taken = reader_parse(reader, reader->carry->data + reader->carry_start,
                             available, &reader->carry_need);
        reader->position += taken;
        carry_drop(reader, taken);
        carry_take_back(reader);
    }
    return moved;
}

/* Parse @data in place until it is used up or its rest is in the carry. */
static size_t reader_parse_input(MigrationReader *reader, const uint8_t *data,
                                 size_t bytes)
{
    size_t done = 0;

    while (done < bytes && carry_bytes(reader) == 0 &&
           !reader_stopped(reader)) {
        size_t need = 0;
        size_t taken = reader_parse(reader, data + done, bytes - done, &need);

        reader->position += taken;
        done += taken;
        if (need > 0) {
            g_byte_array_append(reader->carry, data + done, bytes - done);
            reader->carry_need = need;
            done = bytes;
        }
        carry_take_back(reader);
    }
    return done;
}

static void reader_parse_all(MigrationReader *reader, const uint8_t *data,
                             size_t bytes)
{
    size_t done = 0;

    do {
        done += reader_parse_carry(reader, data + done, bytes - done);
        done += reader_parse_input(reader, data + done, bytes - done);
    } while (done < bytes && !reader_stopped(reader));

    if (reader_stopped(reader)) {
        /* No need to hold memory for what is not looked at any more. */
        g_clear_pointer(&reader->opaque, opaque_region_free);
        g_byte_array_set_size(reader->carry, 0);
        reader->carry_start = 0;
    }
}

static bool reader_result(const MigrationReader *reader, GError **errp)
{
    if (reader->error != NULL) {
        g_propagate_error(errp, g_error_copy(reader->error));
        return false;
    }
    return true;
}

bool migration_reader_feed(MigrationReader *reader, const void *data,
                           size_t bytes, GError **errp)
{
    if (bytes > 0 && !reader_stopped(reader)) {
        reader_parse_all(reader, data, bytes);
    }
    return reader_result(reader, errp);
}

uint64_t migration_reader_passable(const MigrationReader *reader)
{
    return reader_stopped(reader) ? 0 : reader->skip;
}

void migration_reader_pass(MigrationReader *reader, uint64_t bytes)
{
    g_assert(bytes <= migration_reader_passable(reader));
    reader->skip -= bytes;
    reader->position += bytes;
}

/* The stream is cut: say in the middle of what. */
static void reader_fail_short(MigrationReader *reader)
{
    g_autofree char *section = NULL;
    const char *place = reader->place;
    const char *name = "";

    if (reader->opaque != NULL) {
        place = section = opaque_region_describe(reader);
    } else if (reader->step == ram_records_step && reader->skip > 0 &&
               reader->ram.block != NULL) {
        place = "in a page of RAM block ";
        name = reader->ram.block->name;
    } else if (reader->section != NULL &&
               reader->step == reader->section->format->step) {
        place = "in ";
        name = section =
            section_describe(reader->section->name, reader->section->id);
    }
    stream_error(&reader->error, SNAP_ERROR_STREAM,
                 reader->position + carry_bytes(reader),
                 "the stream ends early, %s%s", place, name);
}

bool migration_reader_finish(MigrationReader *reader, GError **errp)
{
    if (!reader_stopped(reader) && carry_bytes(reader) > 0) {
        /* A step that wants to look ahead has to do with what there is. */
        reader->input_ended = true;
        reader->carry_need = 0;
        reader_parse_all(reader, (const uint8_t *)"", 0);
    }
    while (!reader_stopped(reader) && reader->opaque != NULL &&
           opaque_region_finish(reader)) {
        /* What seemed to be opaque to the end was not: parse the rest. */
        carry_take_back(reader);
        reader_parse_all(reader, (const uint8_t *)"", 0);
    }
    if (!reader_stopped(reader)) {
        reader_fail_short(reader);
    }
    return reader_result(reader, errp);
}

MigrationPhase migration_reader_phase(const MigrationReader *reader)
{
    return reader->phase;
}

bool migration_reader_may_end(const MigrationReader *reader)
{
    return reader->phase == MIGRATION_PHASE_COMPLETE ||
           (!reader_stopped(reader) && reader->opaque != NULL &&
            opaque_region_may_end(reader));
}

const MigrationInfo *migration_reader_info(const MigrationReader *reader)
{
    return &reader->info;
}
