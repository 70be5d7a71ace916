/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Numbers and strings as an index writes them down. A number takes seven bits
 * of a byte, the low ones first, and as many bytes as it needs; all but its
 * last byte have the eighth bit set. What is read may be of anybody: after the
 * first thing that is wrong everything reads as 0.
 */
#ifndef INDEX_CODEC_H
#define INDEX_CODEC_H

#include <stdbool.h>
#include <string.h>
#include <glib.h>

#define INDEX_NUMBER_BYTES 10 /* of the largest one */

static inline void index_put(GByteArray *to, uint64_t number)
{
    uint8_t bytes[INDEX_NUMBER_BYTES];
    unsigned count = 0;

    do {
        bytes[count++] = (number & 0x7f) | (number > 0x7f ? 0x80 : 0);
        number >>= 7;
    } while (number);
    g_byte_array_append(to, bytes, count);
}

/* Small ones of both signs are small: 0, -1, 1, -2 are 0, 1, 2, 3. */
static inline void index_put_signed(GByteArray *to, int64_t number)
{
    index_put(to, ((uint64_t)number << 1) ^ (number < 0 ? G_MAXUINT64 : 0));
}

static inline void index_put_string(GByteArray *to, const char *text)
{
    size_t bytes = strlen(text);

    index_put(to, bytes);
    g_byte_array_append(to, (const uint8_t *)text, bytes);
}

typedef struct IndexInput {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
} IndexInput;

static inline uint64_t index_get(IndexInput *input)
{
    uint64_t number = 0;
    unsigned shift;

    for (shift = 0; !input->failed && shift < 64; shift += 7) {
        uint8_t byte;

        if (input->at == input->end) {
            break;
        }
        byte = *input->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return number;
        }
    }
    input->failed = true;
    return 0;
}

static inline int64_t index_get_signed(IndexInput *input)
{
    uint64_t number = index_get(input);

    return (int64_t)((number >> 1) ^ (number & 1 ? G_MAXUINT64 : 0));
}

/* @bytes as they are; NULL: there are fewer. */
static inline const uint8_t *index_get_bytes(IndexInput *input, uint64_t bytes)
{
    const uint8_t *at = input->at;

    if (input->failed || bytes > (uint64_t)(input->end - at)) {
        input->failed = true;
        return NULL;
    }
    input->at += bytes;
    return at;
}

/* The caller frees it; NULL: it is none. Names are at most 255 bytes long. */
static inline char *index_get_string(IndexInput *input)
{
    uint64_t bytes = index_get(input);
    const uint8_t *text = bytes <= 255 ? index_get_bytes(input, bytes) : NULL;

    if (!text || memchr(text, 0, bytes)) {
        input->failed = true;
        return NULL;
    }
    return g_strndup((const char *)text, bytes);
}

#endif /* INDEX_CODEC_H */
