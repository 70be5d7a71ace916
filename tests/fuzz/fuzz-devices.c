/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The state of a device and its description. The input is two bytes of a
 * length, so much payload, and a description, in which the device is called
 * "d". What is told must be nested soundly, and each byte of the payload be
 * part of one value at most, in order; or nothing is told.
 */
#include <string.h>

#include "device-state.h"
#include "fuzz.h"

typedef struct Told {
    const uint8_t *next; /* no value begins before it */
    const uint8_t *end;
    GArray *open; /* the closers of what is open, as char */
    uint64_t calls;
} Told;

static void begin(Told *told, char closer)
{
    told->calls++;
    g_array_append_val(told->open, closer);
}

static void end(Told *told, char closer)
{
    told->calls++;
    fuzz_assert(told->open->len > 0 &&
                    g_array_index(told->open, char, told->open->len - 1) ==
                        closer,
                "%c closes nothing", closer);
    g_array_set_size(told->open, told->open->len - 1);
}

/* Elements are told inside of arrays, all else is told by name. */
static void check_label(const Told *told, const DeviceLabel *label)
{
    bool array = told->open->len > 0 &&
                 g_array_index(told->open, char, told->open->len - 1) == ']';

    fuzz_assert(array == !label->name, "%s in an array", array ? "not" : "is");
}

static void begin_struct(const DeviceLabel *label, void *opaque)
{
    check_label(opaque, label);
    begin(opaque, '}');
}

static void end_struct(void *opaque)
{
    end(opaque, '}');
}

static void begin_array(const DeviceLabel *label, void *opaque)
{
    check_label(opaque, label);
    begin(opaque, ']');
}

static void end_array(void *opaque)
{
    end(opaque, ']');
}

static void value(const DeviceLabel *label, const DeviceValue *what,
                  void *opaque)
{
    Told *told = opaque;

    check_label(told, label);
    told->calls++;
    if (what->bytes == 0) {
        return;
    }
    fuzz_assert(what->data >= told->next &&
                    what->bytes <= (size_t)(told->end - what->data),
                "value '%s' of %" G_GUINT64_FORMAT " bytes is elsewhere",
                what->type, what->bytes);
    told->next = what->data + what->bytes;
}

static const DeviceVisitor visitor = {
    .begin_struct = begin_struct,
    .end_struct = end_struct,
    .begin_array = begin_array,
    .end_array = end_array,
    .value = value,
};

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { data, bytes };
    size_t length = fuzz_take(&input, 2);
    size_t payload_bytes = MIN(length, input.bytes);
    /* In memory of their very lengths, so that a byte too many is noticed. */
    g_autofree uint8_t *payload = g_memdup2(input.data, payload_bytes);
    size_t text_bytes = input.bytes - payload_bytes;
    g_autofree char *text = g_memdup2(input.data + payload_bytes, text_bytes);
    g_autoptr(DeviceDescriptions) descriptions = NULL;
    g_autoptr(GError) error = NULL;
    Told told = { .next = payload };
    bool decoded;

    if (text_bytes == 0) {
        return;
    }
    descriptions = device_descriptions_new(text, text_bytes, &error);
    fuzz_assert_error(descriptions != NULL, error);
    if (descriptions == NULL) {
        return;
    }
    told.end = payload_bytes > 0 ? payload + payload_bytes : NULL;
    told.open = g_array_new(FALSE, FALSE, 1);
    decoded = device_state_decode(descriptions, "d", 0, payload, payload_bytes,
                                  &visitor, &told, &error);
    fuzz_say("%s", decoded ? "decoded" : error->message);
    fuzz_assert_error(decoded, error);
    fuzz_assert(decoded || told.calls == 0, "something is told");
    fuzz_assert(told.open->len == 0, "something is left open");
    g_array_unref(told.open);
}

const FuzzTarget fuzz_devices = { "devices", run };
