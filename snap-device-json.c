/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The state of devices for programs, in the form of all our JSON. It is printed
 * as it comes: a tree of it would take many times the memory that the stream's
 * device part has.
 */
#include <math.h>
#include <stdio.h>

#include "printable.h"
#include "snap-device-output.h"

#define INDENTATION 4

typedef struct DeviceJson {
    unsigned depth;
    bool first;  /* nothing is in what is open yet */
    bool fields; /* of the device: they have begun */
} DeviceJson;

static void print_line_start(const DeviceJson *json)
{
    printf("\n%*s", (int)(json->depth * INDENTATION), "");
}

/* @text as JSON, quoted. */
static void print_string(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), valid);
    g_autofree char *quoted = json_to_string(node, FALSE);
    g_autofree char *safe = printable_json(quoted);

    fputs(safe, stdout);
}

/* What follows is a member, or an element when @name is NULL. */
static void begin_item(DeviceJson *json, const char *name)
{
    if (!json->first) {
        putchar(',');
    }
    json->first = false;
    print_line_start(json);
    if (name) {
        print_string(name);
        fputs(" : ", stdout);
    }
}

static void open_item(DeviceJson *json, char opener)
{
    putchar(opener);
    json->depth++;
    json->first = true;
}

static void close_item(DeviceJson *json, char closer)
{
    json->depth--;
    if (!json->first) {
        print_line_start(json);
    }
    json->first = false;
    putchar(closer);
}

static void begin_field(DeviceJson *json, const char *name)
{
    if (!json->fields) {
        begin_item(json, "fields");
        open_item(json, '{');
        json->fields = true;
    }
    begin_item(json, name);
}

static void print_hex(const uint8_t *data, uint64_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t i;

    putchar('"');
    for (i = 0; i < bytes; i++) {
        putchar(digits[data[i] >> 4]);
        putchar(digits[data[i] & 15]);
    }
    putchar('"');
}

static void begin_struct(const DeviceLabel *label, void *opaque)
{
    begin_field(opaque, label->name);
    open_item(opaque, '{');
}

static void end_struct(void *opaque)
{
    close_item(opaque, '}');
}

static void begin_array(const DeviceLabel *label, void *opaque)
{
    begin_field(opaque, label->name);
    open_item(opaque, '[');
}

static void end_array(void *opaque)
{
    close_item(opaque, ']');
}

/* JSON has no numbers in base 16, and few readers have all 64 bits. */
static void value(const DeviceLabel *label, const DeviceValue *what,
                  void *opaque)
{
    g_autofree char *number = NULL;

    begin_field(opaque, label->name);
    if (what->kind == DEVICE_VALUE_BYTES) {
        print_hex(what->data, what->bytes);
        return;
    }
    number = snap_device_number(what);
    if (what->kind == DEVICE_VALUE_UNSIGNED ||
        (what->kind == DEVICE_VALUE_FLOAT && !isfinite(what->as_float))) {
        print_string(number);
    } else {
        fputs(number, stdout);
    }
}

static void *begin(const Qcow2Snapshot *snapshot)
{
    DeviceJson *json = g_new0(DeviceJson, 1);

    open_item(json, '{');
    begin_item(json, "snapshot");
    open_item(json, '{');
    begin_item(json, "id");
    print_string(snapshot->id);
    begin_item(json, "name");
    print_string(snapshot->name);
    close_item(json, '}');
    begin_item(json, "devices");
    open_item(json, '[');
    return json;
}

static void begin_device(const MigrationSection *device, void *opaque)
{
    DeviceJson *json = opaque;

    begin_item(json, NULL);
    open_item(json, '{');
    begin_item(json, "name");
    print_string(device->name);
    begin_item(json, "instance");
    printf("%u", device->instance);
    if (!snap_section_is_lost(device)) {
        begin_item(json, "version");
        printf("%u", device->version);
        begin_item(json, "bytes");
        printf("%" G_GUINT64_FORMAT, device->payload_bytes);
    }
    json->fields = false;
}

static void end_device(void *opaque)
{
    DeviceJson *json = opaque;

    if (json->fields) {
        close_item(json, '}');
    }
    close_item(json, '}');
}

static void undecoded(const char *why, const uint8_t *data, uint64_t bytes,
                      void *opaque)
{
    begin_item(opaque, "error");
    print_string(why);
    if (data) {
        begin_item(opaque, "data");
        print_hex(data, bytes);
    }
}

static void end(void *opaque)
{
    close_item(opaque, ']');
    close_item(opaque, '}');
    putchar('\n');
    g_free(opaque);
}

const SnapDeviceOutput snap_device_json = {
    .begin = begin,
    .begin_device = begin_device,
    .visitor = {
        .begin_struct = begin_struct,
        .end_struct = end_struct,
        .begin_array = begin_array,
        .end_array = end_array,
        .value = value,
    },
    .end_device = end_device,
    .undecoded = undecoded,
    .end = end,
};
