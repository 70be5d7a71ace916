/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See described-object.h.
 */
#include <string.h>

#include "described-object.h"

/* Take the value of @key, if it is one that counts. */
static bool member_take(JsonWalk *json, StreamName key, DescribedObject *object)
{
    const struct {
        const char *key;
        StreamName *string;
        int64_t *integer;
        const char **place;
    } members[] = {
        { "name", .string = &object->name },
        { "vmsd_name", .string = &object->vmsd_name },
        { "type", .string = &object->type },
        { "instance_id", .integer = &object->instance },
        { "version", .integer = &object->version },
        { "size", .integer = &object->size },
        { "array_len", .integer = &object->array_len },
        { "index", .integer = &object->index },
        { "struct", .place = &object->structure },
        { "fields", .place = &object->fields },
        { "subsections", .place = &object->subsections },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        if (!stream_name_is(key, members[i].key)) {
            continue;
        }
        if (members[i].string != NULL) {
            return json_walk_string(json, members[i].string);
        }
        if (members[i].integer != NULL) {
            object->has_instance |= members[i].integer == &object->instance;
            return json_walk_integer(json, members[i].integer);
        }
        json_walk_peek(json);
        *members[i].place = json->pos;
        break;
    }
    return json_walk_skip(json);
}

bool described_object_take(JsonWalk *json, DescribedObject *object)
{
    bool more;

    *object = (DescribedObject){
        .name = { "", 0 },
        .vmsd_name = { "", 0 },
        .type = { "", 0 },
        .version = -1,
        .size = -1,
        .array_len = -1,
        .index = -1,
    };
    if (!json_walk_take(json, '{')) {
        return false;
    }
    more = !json_walk_take(json, '}');
    while (more) {
        StreamName key;

        if (!json_walk_key(json, &key) || !member_take(json, key, object) ||
            !json_walk_more(json, '}', &more)) {
            return false;
        }
    }
    return true;
}

bool described_list_begin(JsonWalk *json, bool *more)
{
    if (!json_walk_take(json, '[')) {
        return false;
    }
    *more = !json_walk_take(json, ']');
    return true;
}

static uint64_t load_number(const uint8_t *data, uint64_t bytes)
{
    uint64_t number = 0;

    for (uint64_t i = 0; i < bytes; i++) {
        number = number << 8 | data[i];
    }
    return number;
}

/* "int32", and "int32 equal", but not "interrupts" */
static bool is_integer(const char *type)
{
    return g_str_has_prefix(type, "int") && g_ascii_isdigit(type[3]);
}

void described_value(DeviceValue *value, const char *type, const uint8_t *data,
                     uint64_t bytes)
{
    bool number = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    uint64_t raw;

    *value = (DeviceValue){
        .type = type,
        .kind = DEVICE_VALUE_BYTES,
        .data = data,
        .bytes = bytes,
    };
    if (!number) {
        return;
    }
    raw = load_number(data, bytes);
    value->as_unsigned = raw;
    /* A pointer to nothing is one byte; QEMU up to 9.2 calls it "uint64". */
    if (bytes == 1 && data[0] == '0' &&
        (!strcmp(type, "nullptr") || !strcmp(type, "uint64"))) {
        value->kind = DEVICE_VALUE_NULL;
    } else if (!strcmp(type, "bool") && bytes == 1) {
        value->kind = DEVICE_VALUE_BOOL;
        value->as_unsigned = data[0] != 0;
    } else if (g_str_has_prefix(type, "u") && is_integer(type + 1)) {
        value->kind = DEVICE_VALUE_UNSIGNED;
    } else if (is_integer(type) || !strcmp(type, "timer")) {
        unsigned shift = 64 - bytes * 8;

        value->kind = DEVICE_VALUE_SIGNED;
        value->as_signed = (int64_t)(raw << shift) >> shift;
    } else if (bytes == sizeof(double) &&
               (!strcmp(type, "CPU_Double_U") || !strcmp(type, "float64"))) {
        memcpy(&value->as_float, &raw, sizeof(raw));
        value->kind = DEVICE_VALUE_FLOAT;
    }
}
