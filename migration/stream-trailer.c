/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See stream-trailer.h. Parts with a type and a length, then the footer. A
 * reader passes over parts of types that it does not know.
 */
#include <string.h>
#include <xxhash.h>

#include "bytes.h"
#include "checked.h"
#include "stream-trailer.h"

#define VERSION 1

static const char magic[8] = "QSNPTRLR";

/* The header of a part: type, 4 bytes of zeros, the length of what follows. */
#define PART_HEADER_BYTES 16
#define PART_ALIGNMENT    8

enum {
    PART_INDEX = 0x494e4458,     /* INDX */
    PART_CHECKSUMS = 0x53554d53, /* SUMS */
};

/* Places in the footer. */
enum {
    FOOTER_MAGIC = 0,
    FOOTER_VERSION = 8, /* 4 bytes, then 4 of zeros */
    FOOTER_STREAM_BYTES = 16,
    FOOTER_OFFSET = 24,
    FOOTER_BYTES = 32,
    FOOTER_CHECKSUM = 40, /* of the parts; then 8 bytes of zeros */
    FOOTER_OWN_CHECKSUM = 56,
};

G_STATIC_ASSERT(FOOTER_OWN_CHECKSUM + 8 == STREAM_FOOTER_BYTES);

/*
 * There is at least one zero between: a QEMU that finds no device description
 * looks for its type there.
 */
uint64_t stream_trailer_offset(uint64_t stream_bytes)
{
    return round_up(stream_bytes + 1, STREAM_TRAILER_UNIT);
}

static bool footer_plausible(const StreamFooter *footer, uint64_t vm_state_size)
{
    return footer->trailer_bytes >= STREAM_FOOTER_BYTES &&
           footer->trailer_bytes <= STREAM_TRAILER_MAX_BYTES &&
           footer->trailer_offset == vm_state_size - footer->trailer_bytes &&
           footer->trailer_bytes < vm_state_size && footer->stream_bytes > 0 &&
           footer->stream_bytes <= footer->trailer_offset;
}

StreamTrailerState stream_footer_decode(const uint8_t *data,
                                        uint64_t vm_state_size,
                                        StreamFooter *footer)
{
    StreamFooter found = {
        .stream_bytes = load_be64(data + FOOTER_STREAM_BYTES),
        .trailer_offset = load_be64(data + FOOTER_OFFSET),
        .trailer_bytes = load_be64(data + FOOTER_BYTES),
        .checksum = load_be64(data + FOOTER_CHECKSUM),
    };

    if (memcmp(data + FOOTER_MAGIC, magic, sizeof(magic)) != 0) {
        return STREAM_TRAILER_NONE;
    }
    if (XXH3_64bits(data, FOOTER_OWN_CHECKSUM) !=
        load_be64(data + FOOTER_OWN_CHECKSUM)) {
        return STREAM_TRAILER_DAMAGED;
    }
    if (!footer_plausible(&found, vm_state_size)) {
        return STREAM_TRAILER_DAMAGED;
    }
    *footer = found;
    return load_be32(data + FOOTER_VERSION) == VERSION
               ? STREAM_TRAILER_VALID
               : STREAM_TRAILER_UNSUPPORTED;
}

static void pad(GByteArray *to, unsigned alignment, unsigned left)
{
    guint before = to->len;

    g_byte_array_set_size(to, round_up(before + left, alignment) - left);
    memset(to->data + before, 0, to->len - before);
}

/* Begin a part; end_part() says how long it has become. */
static guint begin_part(GByteArray *to, uint32_t type)
{
    uint8_t header[PART_HEADER_BYTES] = { 0 };

    store_be32(header, type);
    g_byte_array_append(to, header, sizeof(header));
    return to->len;
}

static void end_part(GByteArray *to, guint begin)
{
    store_be64(to->data + begin - 8, to->len - begin);
    pad(to, PART_ALIGNMENT, 0);
}

GByteArray *stream_trailer_encode(const StreamIndex *index,
                                  const StreamChecksums *checksums,
                                  uint64_t offset)
{
    GByteArray *trailer = g_byte_array_new();
    uint8_t footer[STREAM_FOOTER_BYTES] = { 0 };
    guint part;

    g_assert(is_aligned(offset, STREAM_TRAILER_UNIT));
    part = begin_part(trailer, PART_INDEX);
    stream_index_encode(index, trailer);
    end_part(trailer, part);
    part = begin_part(trailer, PART_CHECKSUMS);
    stream_checksums_encode(checksums, trailer);
    end_part(trailer, part);
    pad(trailer, STREAM_TRAILER_UNIT, STREAM_FOOTER_BYTES);

    memcpy(footer + FOOTER_MAGIC, magic, sizeof(magic));
    store_be32(footer + FOOTER_VERSION, VERSION);
    store_be64(footer + FOOTER_STREAM_BYTES,
               stream_checksums_covered(checksums));
    store_be64(footer + FOOTER_OFFSET, offset);
    store_be64(footer + FOOTER_BYTES, trailer->len + sizeof(footer));
    store_be64(footer + FOOTER_CHECKSUM,
               XXH3_64bits(trailer->data, trailer->len));
    store_be64(footer + FOOTER_OWN_CHECKSUM,
               XXH3_64bits(footer, FOOTER_OWN_CHECKSUM));
    g_byte_array_append(trailer, footer, sizeof(footer));
    return trailer;
}

/* Take the part at @data; returns its bytes with header and padding, or 0. */
static uint64_t decode_part(const StreamFooter *footer, const uint8_t *data,
                            uint64_t bytes, StreamIndex **index,
                            StreamChecksums **checksums)
{
    const uint8_t *content = data + PART_HEADER_BYTES;
    uint64_t length;

    if (bytes < PART_HEADER_BYTES) {
        return 0;
    }
    length = load_be64(data + 8);
    if (length > bytes - PART_HEADER_BYTES) {
        return 0;
    }
    if (load_be32(data) == PART_INDEX && !*index) {
        *index = stream_index_decode(content, length, footer->stream_bytes);
    } else if (load_be32(data) == PART_CHECKSUMS && !*checksums) {
        *checksums =
            stream_checksums_decode(content, length, footer->stream_bytes);
    }
    return round_up(PART_HEADER_BYTES + length, PART_ALIGNMENT);
}

bool stream_trailer_decode(const StreamFooter *footer, const uint8_t *data,
                           StreamIndex **index, StreamChecksums **checksums)
{
    uint64_t end = footer->trailer_bytes - STREAM_FOOTER_BYTES;
    uint64_t at = 0;

    *index = NULL;
    *checksums = NULL;
    if (XXH3_64bits(data, end) == footer->checksum) {
        uint64_t taken;

        do {
            taken = decode_part(footer, data + at, end - at, index, checksums);
            at += taken;
        } while (taken && at < end && (!*index || !*checksums));
    }
    if (*index && *checksums) {
        return true;
    }
    g_clear_pointer(index, stream_index_free);
    g_clear_pointer(checksums, stream_checksums_free);
    return false;
}
