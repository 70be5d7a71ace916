/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See stream-checksums.h. XXH3 is as fast as memory, and a save must not wait
 * for its checksums.
 */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "bytes.h"
#include "checked.h"
#include "snap-error.h"
#include "stream-checksums.h"

/* How they are written down: this, the stream's length, the whole, each one. */
#define KIND         1 /* XXH3, 64 bits, of a MiB each */
#define HEADER_BYTES 24

struct StreamChecksums {
    GArray *pieces; /* of uint64_t */
    uint64_t covered;
    uint64_t whole;
    XXH3_state_t *state; /* of a piece that is not complete */
};

StreamChecksums *stream_checksums_new(void)
{
    StreamChecksums *checksums = g_new0(StreamChecksums, 1);

    checksums->pieces = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    checksums->state = XXH3_createState();
    g_assert(checksums->state);
    XXH3_64bits_reset(checksums->state);
    return checksums;
}

void stream_checksums_free(StreamChecksums *checksums)
{
    if (checksums) {
        g_array_unref(checksums->pieces);
        XXH3_freeState(checksums->state);
        g_free(checksums);
    }
}

static void end_piece(StreamChecksums *checksums)
{
    uint64_t digest = XXH3_64bits_digest(checksums->state);

    g_array_append_val(checksums->pieces, digest);
    XXH3_64bits_reset(checksums->state);
}

void stream_checksums_add(StreamChecksums *checksums, const void *data,
                          size_t bytes)
{
    const uint8_t *from = data;

    while (bytes > 0) {
        size_t begun = checksums->covered % STREAM_CHECKSUM_BYTES;
        size_t piece = MIN(bytes, STREAM_CHECKSUM_BYTES - begun);

        XXH3_64bits_update(checksums->state, from, piece);
        checksums->covered += piece;
        from += piece;
        bytes -= piece;
        if (checksums->covered % STREAM_CHECKSUM_BYTES == 0) {
            end_piece(checksums);
        }
    }
}

/* Of all, as they are written down. */
static uint64_t compute_whole(const StreamChecksums *checksums)
{
    XXH3_state_t *state = checksums->state;
    guint i;

    XXH3_64bits_reset(state);
    for (i = 0; i < checksums->pieces->len; i++) {
        uint8_t bytes[sizeof(uint64_t)];

        store_be64(bytes, g_array_index(checksums->pieces, uint64_t, i));
        XXH3_64bits_update(state, bytes, sizeof(bytes));
    }
    return XXH3_64bits_digest(state);
}

void stream_checksums_finish(StreamChecksums *checksums)
{
    if (checksums->covered % STREAM_CHECKSUM_BYTES) {
        end_piece(checksums);
    }
    checksums->whole = compute_whole(checksums);
}

uint64_t stream_checksums_covered(const StreamChecksums *checksums)
{
    return checksums->covered;
}

uint64_t stream_checksums_count(const StreamChecksums *checksums)
{
    return checksums->pieces->len;
}

bool stream_checksums_match(const StreamChecksums *checksums, uint64_t number,
                            const void *data)
{
    uint64_t left = checksums->covered - number * STREAM_CHECKSUM_BYTES;

    g_assert(number < checksums->pieces->len);
    return XXH3_64bits(data, MIN(left, STREAM_CHECKSUM_BYTES)) ==
           g_array_index(checksums->pieces, uint64_t, number);
}

bool stream_checksums_verify(const StreamChecksums *checksums,
                             uint64_t position, const uint8_t *data,
                             size_t bytes, GError **errp)
{
    size_t at;

    for (at = 0; at < bytes; at += STREAM_CHECKSUM_BYTES) {
        uint64_t piece = (position + at) / STREAM_CHECKSUM_BYTES;

        if (!stream_checksums_match(checksums, piece, data + at)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                        "MiB %" PRIu64 " of the VM state (at %" PRIu64
                        ") is not what was saved",
                        piece, piece * STREAM_CHECKSUM_BYTES);
            return false;
        }
    }
    return true;
}

uint64_t stream_checksums_whole(const StreamChecksums *checksums)
{
    return checksums->whole;
}

static void append_be64(GByteArray *to, uint64_t value)
{
    uint8_t bytes[sizeof(value)];

    store_be64(bytes, value);
    g_byte_array_append(to, bytes, sizeof(bytes));
}

void stream_checksums_encode(const StreamChecksums *checksums, GByteArray *to)
{
    guint i;

    append_be64(to, KIND);
    append_be64(to, checksums->covered);
    append_be64(to, checksums->whole);
    for (i = 0; i < checksums->pieces->len; i++) {
        append_be64(to, g_array_index(checksums->pieces, uint64_t, i));
    }
}

StreamChecksums *stream_checksums_decode(const uint8_t *data, size_t bytes,
                                         uint64_t stream_bytes)
{
    g_autoptr(StreamChecksums) checksums = NULL;
    uint64_t count = div_round_up(stream_bytes, STREAM_CHECKSUM_BYTES);
    uint64_t i;

    if (bytes < HEADER_BYTES || load_be64(data) != KIND ||
        load_be64(data + 8) != stream_bytes ||
        (bytes - HEADER_BYTES) / sizeof(uint64_t) != count) {
        return NULL;
    }
    checksums = stream_checksums_new();
    for (i = 0; i < count; i++) {
        uint64_t piece = load_be64(data + HEADER_BYTES + i * sizeof(piece));

        g_array_append_val(checksums->pieces, piece);
    }
    checksums->covered = stream_bytes;
    checksums->whole = load_be64(data + 16);
    if (compute_whole(checksums) != checksums->whole) {
        return NULL;
    }
    return g_steal_pointer(&checksums);
}
