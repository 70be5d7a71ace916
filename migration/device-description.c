/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the names of the devices out of the description that ends a stream, at
 * the moment when QEMU waits for us.
 */
#include "json-walk.h"
#include "reader-internal.h"
#include "stream-devices.h"

static bool device_parse(JsonWalk *json, GPtrArray *devices)
{
    StreamName name = { NULL, 0 };
    int64_t instance = -1;
    bool has_instance = false;
    bool more = true;

    if (!json_walk_take(json, '{')) {
        return false;
    }
    while (more) {
        StreamName key;
        bool ok;

        if (!json_walk_key(json, &key)) {
            return false;
        }
        if (stream_name_is(key, "name")) {
            ok = json_walk_string(json, &name);
        } else if (stream_name_is(key, "instance_id")) {
            ok = has_instance = json_walk_integer(json, &instance);
        } else {
            ok = json_walk_skip(json);
        }
        if (!ok || !json_walk_more(json, '}', &more)) {
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

static bool devices_parse(JsonWalk *json, GPtrArray *devices)
{
    bool more = true;

    if (!json_walk_take(json, '[')) {
        return false;
    }
    if (json_walk_take(json, ']')) {
        return true;
    }
    while (more) {
        if (!device_parse(json, devices) || !json_walk_more(json, ']', &more)) {
            return false;
        }
    }
    return true;
}

GPtrArray *device_description_parse(const char *text, size_t bytes,
                                    uint32_t *page_size)
{
    JsonWalk json = { .pos = text, .end = text + bytes };
    g_autoptr(GPtrArray) devices = stream_devices_new();
    bool has_devices = false;
    bool more = true;

    *page_size = 0;
    if (!json_walk_take(&json, '{')) {
        return NULL;
    }
    while (more) {
        StreamName key;
        int64_t number;
        bool ok;

        if (!json_walk_key(&json, &key)) {
            return NULL;
        }
        if (stream_name_is(key, "devices") && !has_devices) {
            ok = has_devices = devices_parse(&json, devices);
        } else if (stream_name_is(key, "page_size")) {
            ok = json_walk_integer(&json, &number);
            if (ok && number > 0 && number <= UINT32_MAX) {
                *page_size = number;
            }
        } else {
            ok = json_walk_skip(&json);
        }
        if (!ok || !json_walk_more(&json, '}', &more)) {
            return NULL;
        }
    }
    if (!has_devices || json_walk_peek(&json) != '\0' || json.pos != json.end) {
        return NULL;
    }
    return g_steal_pointer(&devices);
}
