/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-mapped.h.
 */
#include "checked.h"
#include "snap-mapped.h"

/* The smallest cluster: what shares it with a byte of the stream is no hole. */
#define UNIT_BYTES 512

/* So much is read at once where nothing is known of what comes. */
#define MOST_BYTES ((size_t)256 * 1024)

bool snap_mapped_begins(const uint8_t *head, size_t bytes)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();

    /* Whatever is wrong, others will say. */
    (void)migration_reader_feed(reader, head, bytes, NULL);
    return migration_reader_info(reader)->mapped_ram;
}

/*
 * Read from @position on *@bytes, or less when there is a hole behind what is
 * needed, or the file ends there: then *@bytes is what could be read.
 */
static bool coroutine_fn read_some(const SnapSource *source, uint64_t position,
                                   uint8_t *data, size_t *bytes, GError **errp)
{
    while (true) {
        uint64_t end = MIN(position + *bytes, source->bytes);
        g_autoptr(GError) error = NULL;

        if (*bytes >= UNIT_BYTES && end < source->bytes) {
            end = round_down(end, UNIT_BYTES);
        }
        if (source->fetch(source->opaque, position, data, end - position,
                          &error)) {
            *bytes = end - position;
            return true;
        }
        if (*bytes == 1) {
            g_propagate_error(errp, g_steal_pointer(&error));
            return false;
        }
        *bytes /= 2;
    }
}

bool coroutine_fn snap_mapped_read_frame(const SnapSource *source,
                                         MigrationReader *reader, GError **errp)
{
    g_autofree uint8_t *data = g_malloc(MOST_BYTES);
    size_t bytes = SNAP_MAPPED_HEAD_BYTES;
    uint64_t position = 0;

    while (position < source->bytes &&
           migration_reader_phase(reader) != MIGRATION_PHASE_COMPLETE) {
        uint64_t passable =
            MIN(migration_reader_passable(reader), source->bytes - position);

        if (passable > 0) {
            migration_reader_pass(reader, passable);
            position += passable;
            bytes = SNAP_MAPPED_HEAD_BYTES;
            continue;
        }
        if (!read_some(source, position, data, &bytes, errp) ||
            !migration_reader_feed(reader, data, bytes, errp)) {
            return false;
        }
        position += bytes;
        bytes = MIN(2 * bytes, MOST_BYTES);
    }
    return migration_reader_finish(reader, errp);
}
