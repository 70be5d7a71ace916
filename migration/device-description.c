/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the names of the devices out of the description that ends a stream.
 *
 * A tree of the whole text is not built: descriptions of machines with many
 * CPUs reach tens of megabytes, a tree takes about twenty times as much, and
 * this runs at the moment when QEMU waits for us. Nothing recurses, so nesting
 * costs no stack: the reader may run on the small one of a coroutine.
 */
#include <string.h>

#include "reader-internal.h"
#include "stream-devices.h"

/* QEMU nests three levels for each structure in a structure; 40 are seen. */
#define JSON_MAX_DEPTH 256

typedef struct JsonText {
    const char *pos;
    const char *end;
} JsonText;

/* The next character that is not blank, or 0 at the end. It is not taken. */
static char json_peek(JsonText *json)
{
    while (json->pos < json->end && g_ascii_isspace(*json->pos)) {
        json->pos++;
    }
    return json->pos < json->end ? *json->pos : '\0';
}

static bool json_take(JsonText *json, char wanted)
{
    if (json_peek(json) != wanted) {
        return false;
    }
    json->pos++;
    return true;
}

/*
 * The string is left as it is written: QEMU escapes nothing in the ids of
 * devices, and an escaped one will just not match.
 */
static bool json_string(JsonText *json, StreamName *string)
{
    if (!json_take(json, '"')) {
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
    return json_take(json, '"');
}

static bool json_key(JsonText *json, StreamName *key)
{
    return json_string(json, key) && json_take(json, ':');
}

/* A number or one of true, false, null. */
static bool json_word(JsonText *json, StreamName *word)
{
    json_peek(json);
    word->text = json->pos;
    while (json->pos < json->end &&
           (g_ascii_isalnum(*json->pos) || *json->pos == '-' ||
            *json->pos == '+' || *json->pos == '.')) {
        json->pos++;
    }
    word->bytes = json->pos - word->text;
    return word->bytes > 0;
}

static bool json_integer(JsonText *json, int64_t *value)
{
    StreamName word;
    char text[24];
    char *end;

    if (!json_word(json, &word) || word.bytes >= sizeof(text)) {
        return false;
    }
    memcpy(text, word.text, word.bytes);
    text[word.bytes] = '\0';
    *value = g_ascii_strtoll(text, &end, 10);
    return *end == '\0';
}

/*
 * Take one value of any kind. @closers holds, for each object or array that is
 * open, the character that closes it.
 */
static bool json_skip(JsonText *json)
{
    char closers[JSON_MAX_DEPTH];
    unsigned depth = 0;
    StreamName ignored;

    do {
        char first = json_peek(json);
        bool opens = first == '{' || first == '[';

        if (opens) {
            if (depth == JSON_MAX_DEPTH) {
                return false;
            }
            json->pos++;
            closers[depth++] = first == '{' ? '}' : ']';
        } else if (first == '"' ? !json_string(json, &ignored)
                                : !json_word(json, &ignored)) {
            return false;
        }
        /* A value is complete, or an object or array has just begun. */
        while (depth > 0 && json_take(json, closers[depth - 1])) {
            depth--;
            opens = false;
        }
        if (depth > 0) {
            if (!opens && !json_take(json, ',')) {
                return false;
            }
            if (closers[depth - 1] == '}' && !json_key(json, &ignored)) {
                return false;
            }
        }
    } while (depth > 0);
    return true;
}

/* After an element: is there another one? Takes the comma or the closer. */
static bool json_more(JsonText *json, char closer, bool *more)
{
    *more = json_take(json, ',');
    return *more || json_take(json, closer);
}

static bool device_parse(JsonText *json, GPtrArray *devices)
{
    StreamName name = { NULL, 0 };
    int64_t instance = -1;
    bool has_instance = false;
    bool more = true;

    if (!json_take(json, '{')) {
        return false;
    }
    while (more) {
        StreamName key;
        bool ok;

        if (!json_key(json, &key)) {
            return false;
        }
        if (stream_name_is(key, "name")) {
            ok = json_string(json, &name);
        } else if (stream_name_is(key, "instance_id")) {
            ok = has_instance = json_integer(json, &instance);
        } else {
            ok = json_skip(json);
        }
        if (!ok || !json_more(json, '}', &more)) {
            return false;
        }
    }
    if (name.text == NULL || !has_instance ||
        devices->len == STREAM_MAX_SECTIONS) {
        return false;
    }
    stream_devices_add(devices, name.text, name.bytes, (uint32_t)instance);
    return true;
}

static bool devices_parse(JsonText *json, GPtrArray *devices)
{
    bool more = true;

    if (!json_take(json, '[')) {
        return false;
    }
    if (json_take(json, ']')) {
        return true;
    }
    while (more) {
        if (!device_parse(json, devices) || !json_more(json, ']', &more)) {
            return false;
        }
    }
    return true;
}

GPtrArray *device_description_parse(const char *text, size_t bytes,
                                    uint32_t *page_size)
{
    JsonText json = { .pos = text, .end = text + bytes };
    g_autoptr(GPtrArray) devices = stream_devices_new();
    bool has_devices = false;
    bool more = true;

    *page_size = 0;
    if (!json_take(&json, '{')) {
        return NULL;
    }
    while (more) {
        StreamName key;
        int64_t number;
        bool ok;

        if (!json_key(&json, &key)) {
            return NULL;
        }
        if (stream_name_is(key, "devices") && !has_devices) {
            ok = has_devices = devices_parse(&json, devices);
        } else if (stream_name_is(key, "page_size")) {
            ok = json_integer(&json, &number);
            if (ok && number > 0 && number <= UINT32_MAX) {
                *page_size = number;
            }
        } else {
            ok = json_skip(&json);
        }
        if (!ok || !json_more(&json, '}', &more)) {
            return NULL;
        }
    }
    if (!has_devices || json_peek(&json) != '\0' || json.pos != json.end) {
        return NULL;
    }
    return g_steal_pointer(&devices);
}
