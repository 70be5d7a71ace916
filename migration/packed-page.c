/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See packed-page.h.
 */
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "packed-page.h"

int packed_page_inflate(const uint8_t *packed, size_t packed_bytes,
                        uint8_t *page, size_t page_size)
{
    z_stream stream = {
        .next_in = (Bytef *)packed,
        .avail_in = packed_bytes,
        .next_out = page,
        .avail_out = page_size,
    };
    int ret = inflateInit(&stream);

    if (ret != Z_OK) {
        return -ENOMEM;
    }
    ret = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (ret == Z_MEM_ERROR) {
        return -ENOMEM;
    }
    return ret == Z_STREAM_END && stream.avail_out == 0 ? 0 : -EINVAL;
}

/* One or two bytes, seven bits each, the lower ones first. */
static int take_length(const uint8_t **packed, const uint8_t *end,
                       size_t *length)
{
    const uint8_t *at = *packed;

    if (at == end) {
        return -EINVAL;
    }
    *length = *at & 0x7f;
    if (*at++ & 0x80) {
        if (at == end || *at & 0x80) {
            return -EINVAL;
        }
        *length |= (size_t)*at++ << 7;
    }
    *packed = at;
    return 0;
}

int packed_page_change(const uint8_t *packed, size_t packed_bytes,
                       uint8_t *page, size_t page_size)
{
    const uint8_t *end = packed + packed_bytes;
    size_t at = 0;

    while (packed < end) {
        size_t kept;
        size_t changed;

        if (take_length(&packed, end, &kept) < 0 || kept > page_size - at ||
            take_length(&packed, end, &changed) < 0) {
            return -EINVAL;
        }
        at += kept;
        if (changed == 0 || changed > page_size - at ||
            changed > (size_t)(end - packed)) {
            return -EINVAL;
        }
        memcpy(page + at, packed, changed);
        at += changed;
        packed += changed;
    }
    return 0;
}
