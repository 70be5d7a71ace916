/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Commands of the source to the destination. A stored stream may hold those
 * that ask for a return path or announce what may come. The others belong to a
 * postcopy migration or to COLO, where pages are requested by a running guest:
 * what is sent on one channel is never the whole state.
 */
#include "reader-internal.h"

enum StreamCommand {
    COMMAND_OPEN_RETURN_PATH = 1,
    COMMAND_PING = 2,
    COMMAND_POSTCOPY_ADVISE = 3,
};

#define COMMAND_HEADER_BYTES 5 /* the type of the section included */

/* Of POSTCOPY_ADVISE for RAM; without, only dirty bitmaps are meant. */
#define ADVISE_RAM_BYTES 16

static const struct {
    const char *name;
    bool stored;       /* may be part of a stored stream */
    uint16_t bytes;    /* of payload */
    uint16_t or_bytes; /* the other length it may have */
} commands[] = {
    [1] = { "OPEN_RETURN_PATH", true, 0, 0 },
    [2] = { "PING", true, 4, 4 },
    [3] = { "POSTCOPY_ADVISE", true, 0, ADVISE_RAM_BYTES },
    [4] = { "POSTCOPY_LISTEN", false },
    [5] = { "POSTCOPY_RUN", false },
    [6] = { "POSTCOPY_RAM_DISCARD", false },
    [7] = { "PACKAGED", false },
    [8] = { "ENABLE_COLO", false },
    [9] = { "POSTCOPY_RESUME", false },
    [10] = { "RECV_BITMAP", false },
    [11] = { "SWITCHOVER_START", true, 0, 0 },
};

bool stream_command_plausible(uint16_t command, uint16_t bytes)
{
    return command > 0 && command < G_N_ELEMENTS(commands) &&
           (!commands[command].stored || bytes == commands[command].bytes ||
            bytes == commands[command].or_bytes);
}

/* The page size that a source states which may switch to postcopy. */
static StepResult command_postcopy_advise(MigrationReader *reader,
                                          const StreamCursor *cursor,
                                          const uint8_t *payload)
{
    uint64_t page_size = load_be64(payload + sizeof(uint64_t));

    reader->ram.postcopy_advised = true;
    if (!ram_page_size_valid(page_size)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "POSTCOPY_ADVISE states pages of "
                            "%" G_GUINT64_FORMAT " bytes",
                            page_size);
    }
    if (reader->info.page_size != 0 && reader->info.page_size != page_size) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM,
                            reader_item_offset(reader, cursor),
                            "POSTCOPY_ADVISE states pages of "
                            "%" G_GUINT64_FORMAT
                            " bytes, the configuration %u bytes",
                            page_size, reader->info.page_size);
    }
    reader->info.page_size = page_size;
    return STEP_DONE;
}

/*
 * OPEN_RETURN_PATH, and pings right behind it, ask for answers that nobody
 * will ever want who loads the stream later.
 */
static void note_return_command(MigrationInfo *info, uint64_t offset,
                                uint16_t bytes)
{
    if (info->return_bytes == 0) {
        info->return_offset = offset;
    }
    if (offset == info->return_offset + info->return_bytes) {
        info->return_bytes += COMMAND_HEADER_BYTES + bytes;
    }
}

StepResult stream_command_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    StepResult result = STEP_DONE;
    uint16_t command, bytes;
    const uint8_t *payload;
    uint8_t type;

    if (!stream_cursor_u8(cursor, &type) ||
        !stream_cursor_be16(cursor, &command) ||
        !stream_cursor_be16(cursor, &bytes)) {
        return STEP_MORE;
    }
    if (command == 0 || command >= G_N_ELEMENTS(commands)) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "unknown command %u", command);
    }
    if (!commands[command].stored) {
        return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                            "command %s: only precopy streams can be stored",
                            commands[command].name);
    }
    if (!stream_command_plausible(command, bytes)) {
        return stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                            "command %s with %u bytes of payload",
                            commands[command].name, bytes);
    }
    payload = stream_cursor_take(cursor, bytes);
    if (payload == NULL) {
        return STEP_MORE;
    }
    reader->info.framing_bytes += COMMAND_HEADER_BYTES + bytes;
    if (command == COMMAND_OPEN_RETURN_PATH) {
        reader->info.return_path = true;
        note_return_command(&reader->info, offset, bytes);
    } else if (command == COMMAND_PING && reader->info.return_path) {
        note_return_command(&reader->info, offset, bytes);
    } else if (command == COMMAND_POSTCOPY_ADVISE &&
               bytes == ADVISE_RAM_BYTES) {
        result = command_postcopy_advise(reader, cursor, payload);
    }
    stream_next_top_level(reader);
    return result;
}
