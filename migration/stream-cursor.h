/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reading one item of a stream out of the bytes that happen to be there. An
 * item is what is parsed at one go: a header, a record, a footer. When bytes
 * are missing, the item is tried again from its start once there are more.
 * That makes the outcome independent of how the input was cut into buffers, on
 * one condition: a parser takes bytes from left to right, lets nothing but
 * them decide, and changes no state before it has taken its last one.
 */
#ifndef STREAM_CURSOR_H
#define STREAM_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bytes.h"

typedef struct StreamCursor {
    const uint8_t *data;
    size_t bytes;
    size_t start; /* of the item that is being parsed; before it: all done */
    size_t pos;
    size_t need; /* bytes from @start that are at least needed; after false */
} StreamCursor;

/* A length byte and that many bytes, without terminator. Points into data. */
typedef struct StreamName {
    const char *text;
    size_t bytes;
} StreamName;

/* All up to here is done with: what is short from now on starts here. */
static inline void stream_cursor_begin_item(StreamCursor *cursor)
{
    cursor->start = cursor->pos;
}

static inline size_t stream_cursor_left(const StreamCursor *cursor)
{
    return cursor->bytes - cursor->pos;
}

/* Are there @bytes more? They are not taken. */
static inline bool stream_cursor_has(StreamCursor *cursor, size_t bytes)
{
    if (stream_cursor_left(cursor) < bytes) {
        cursor->need = cursor->pos - cursor->start + bytes;
        return false;
    }
    return true;
}

/* The next byte, which is not taken. */
static inline bool stream_cursor_peek(StreamCursor *cursor, uint8_t *value)
{
    if (!stream_cursor_has(cursor, 1)) {
        return false;
    }
    *value = cursor->data[cursor->pos];
    return true;
}

/* The next @bytes, in place, or NULL. */
static inline const uint8_t *stream_cursor_take(StreamCursor *cursor,
                                                size_t bytes)
{
    const uint8_t *taken = cursor->data + cursor->pos;

    if (!stream_cursor_has(cursor, bytes)) {
        return NULL;
    }
    cursor->pos += bytes;
    return taken;
}

static inline bool stream_cursor_u8(StreamCursor *cursor, uint8_t *value)
{
    const uint8_t *taken = stream_cursor_take(cursor, 1);

    if (taken != NULL) {
        *value = *taken;
    }
    return taken != NULL;
}

static inline bool stream_cursor_be16(StreamCursor *cursor, uint16_t *value)
{
    const uint8_t *taken = stream_cursor_take(cursor, sizeof(*value));

    if (taken != NULL) {
        *value = load_be16(taken);
    }
    return taken != NULL;
}

static inline bool stream_cursor_be32(StreamCursor *cursor, uint32_t *value)
{
    const uint8_t *taken = stream_cursor_take(cursor, sizeof(*value));

    if (taken != NULL) {
        *value = load_be32(taken);
    }
    return taken != NULL;
}

static inline bool stream_cursor_be64(StreamCursor *cursor, uint64_t *value)
{
    const uint8_t *taken = stream_cursor_take(cursor, sizeof(*value));

    if (taken != NULL) {
        *value = load_be64(taken);
    }
    return taken != NULL;
}

static inline bool stream_name_is(StreamName name, const char *text)
{
    return name.bytes == strlen(text) &&
           memcmp(name.text, text, name.bytes) == 0;
}

static inline bool stream_cursor_name(StreamCursor *cursor, StreamName *name)
{
    uint8_t bytes;
    const uint8_t *taken;

    if (!stream_cursor_u8(cursor, &bytes)) {
        return false;
    }
    taken = stream_cursor_take(cursor, bytes);
    if (taken == NULL) {
        return false;
    }
    name->text = (const char *)taken;
    name->bytes = bytes;
    return true;
}

#endif /* STREAM_CURSOR_H */
