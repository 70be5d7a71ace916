/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See json-walk.h.
 */
#include <string.h>
#include <glib.h>

#include "json-walk.h"

/* QEMU nests three levels for each structure in a structure; 40 are seen. */
#define JSON_MAX_DEPTH 256

char json_walk_peek(JsonWalk *json)
{
    while (json->pos < json->end && g_ascii_isspace(*json->pos)) {
        json->pos++;
    }
    return json->pos < json->end ? *json->pos : '\0';
}

bool json_walk_take(JsonWalk *json, char wanted)
{
    if (json_walk_peek(json) != wanted) {
        return false;
    }
    json->pos++;
    return true;
}

bool json_walk_string(JsonWalk *json, StreamName *string)
{
    if (!json_walk_take(json, '"')) {
        return false;
    }
    string->text = json->pos;
    while (json->pos < json->end && *json->pos != '"') {
        if (*json->pos == '\\' && json->end - json->pos > 1) {
            json->pos++;
        }
        json->pos++;
    }
    string->bytes = json->pos - string->text;
    return json_walk_take(json, '"');
}

bool json_walk_key(JsonWalk *json, StreamName *key)
{
    return json_walk_string(json, key) && json_walk_take(json, ':');
}

bool json_walk_word(JsonWalk *json, StreamName *word)
{
    json_walk_peek(json);
    word->text = json->pos;
    while (json->pos < json->end &&
           (g_ascii_isalnum(*json->pos) || *json->pos == '-' ||
            *json->pos == '+' || *json->pos == '.')) {
        json->pos++;
    }
    word->bytes = json->pos - word->text;
    return word->bytes > 0;
}

bool json_walk_integer(JsonWalk *json, int64_t *value)
{
    StreamName word;
    char text[24];
    char *end;

    if (!json_walk_word(json, &word) || word.bytes >= sizeof(text)) {
        return false;
    }
    memcpy(text, word.text, word.bytes);
    text[word.bytes] = '\0';
    *value = g_ascii_strtoll(text, &end, 10);
    return *end == '\0';
}

/* closers[] holds, for what is open, the character that closes it. */
bool json_walk_skip(JsonWalk *json)
{
    char closers[JSON_MAX_DEPTH];
    unsigned depth = 0;
    StreamName ignored;

    do {
        char first = json_walk_peek(json);
        bool opens = first == '{' || first == '[';

        if (opens) {
            if (depth == JSON_MAX_DEPTH) {
                return false;
            }
            json->pos++;
            closers[depth++] = first == '{' ? '}' : ']';
        } else if (first == '"' ? !json_walk_string(json, &ignored)
                                : !json_walk_word(json, &ignored)) {
            return false;
        }
        /* A value is complete, or an object or array has just begun. */
        while (depth > 0 && json_walk_take(json, closers[depth - 1])) {
            depth--;
            opens = false;
        }
        if (depth > 0) {
            if (!opens && !json_walk_take(json, ',')) {
                return false;
            }
            if (closers[depth - 1] == '}' && !json_walk_key(json, &ignored)) {
                return false;
            }
        }
    } while (depth > 0);
    return true;
}

bool json_walk_more(JsonWalk *json, char closer, bool *more)
{
    *more = json_walk_take(json, ',');
    return *more || json_walk_take(json, closer);
}
