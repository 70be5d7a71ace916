/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Decodes what a stream holds of a device, by the description at its end: the
 * names, types and sizes of all fields, in the order of the payload's bytes.
 */
#ifndef DEVICE_STATE_H
#define DEVICE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

typedef enum DeviceValueKind {
    DEVICE_VALUE_UNSIGNED,
    DEVICE_VALUE_SIGNED,
    DEVICE_VALUE_BOOL,
    DEVICE_VALUE_FLOAT,
    DEVICE_VALUE_NULL,  /* the pointer to a structure that is not there */
    DEVICE_VALUE_BYTES, /* anything else */
} DeviceValueKind;

typedef struct DeviceValue {
    const char *type; /* as described: "uint32", "timer", "pci config", ... */
    DeviceValueKind kind;
    union {
        uint64_t as_unsigned; /* BOOL: 0 or 1 */
        int64_t as_signed;
        double as_float;
    };
    const uint8_t *data; /* as it is in the payload */
    uint64_t bytes;
} DeviceValue;

/* What a value, structure or array is called. */
typedef struct DeviceLabel {
    const char *name; /* NULL: it is an element of the array that is open */
    uint64_t index;   /* of the element */
} DeviceLabel;

/*
 * Is called for all fields in order, begins and ends nested as they are. What
 * is passed is gone when a call returns. Names come from the stream: they may
 * be empty, not printable and not UTF-8, and two can be the same. Subsections
 * are structures behind the fields of the one they belong to. Never yields.
 */
typedef struct DeviceVisitor {
    void (*begin_struct)(const DeviceLabel *label, void *opaque);
    void (*end_struct)(void *opaque);
    void (*begin_array)(const DeviceLabel *label, void *opaque);
    void (*end_array)(void *opaque);
    void (*value)(const DeviceLabel *label, const DeviceValue *value,
                  void *opaque);
} DeviceVisitor;

typedef struct DeviceDescriptions DeviceDescriptions;

/*
 * The descriptions in @text, which must outlive them. Returns NULL and fills
 * @errp (STREAM) when it is no description of devices.
 */
DeviceDescriptions *device_descriptions_new(const char *text, size_t bytes,
                                            GError **errp);
void device_descriptions_free(DeviceDescriptions *descriptions);

/*
 * Tell @visitor what the @bytes of @payload are, which a stream holds of a
 * device. Returns false and fills @errp when nothing was told: NOT_FOUND, it
 * is not described; STREAM, the description does not fit the payload, or all
 * descriptions together ask for more work than belongs to their length.
 */
bool device_state_decode(DeviceDescriptions *descriptions, const char *name,
                         uint32_t instance, const uint8_t *payload,
                         size_t bytes, const DeviceVisitor *visitor,
                         void *opaque, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DeviceDescriptions, device_descriptions_free)

#endif /* DEVICE_STATE_H */
