/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Walks over a JSON text from left to right. There is no tree of it:
 * descriptions of machines with many CPUs reach tens of megabytes, a tree takes
 * about twenty times as much. Nothing recurses, so nesting costs no stack: the
 * callers may run on the small one of a coroutine.
 */
#ifndef JSON_WALK_H
#define JSON_WALK_H

#include "stream-cursor.h"

/* Where one is in a text. What is wrong ends the walk: false is returned. */
typedef struct JsonWalk {
    const char *pos;
    const char *end;
} JsonWalk;

/* The next character that is not blank, or 0 at the end. It is not taken. */
char json_walk_peek(JsonWalk *json);

/* Take the next character that is not blank, if it is @wanted. */
bool json_walk_take(JsonWalk *json, char wanted);

/*
 * The string is left as it is written: QEMU escapes nothing in the names of
 * devices and fields, and an escaped one will just not match.
 */
bool json_walk_string(JsonWalk *json, StreamName *string);

/* A string and the colon behind it. */
bool json_walk_key(JsonWalk *json, StreamName *key);

/* A number or one of true, false, null. */
bool json_walk_word(JsonWalk *json, StreamName *word);

bool json_walk_integer(JsonWalk *json, int64_t *value);

/* One value of any kind. */
bool json_walk_skip(JsonWalk *json);

/* After an element: is there another one? Takes the comma or the closer. */
bool json_walk_more(JsonWalk *json, char closer, bool *more);

#endif /* JSON_WALK_H */
