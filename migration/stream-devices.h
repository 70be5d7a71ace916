/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A list of devices in stream order: of those found in the stream, or of those
 * that its device description names. The two are compared.
 */
#ifndef STREAM_DEVICES_H
#define STREAM_DEVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef struct StreamDevice {
    char *name;
    uint32_t instance;
} StreamDevice;

/* An empty array of StreamDevice, which it owns. */
GPtrArray *stream_devices_new(void);

void stream_devices_add(GPtrArray *devices, const char *name, size_t bytes,
                        uint32_t instance);

/* Is the device at @index of that name and instance? */
bool stream_devices_match(const GPtrArray *devices, guint index,
                          const char *name, size_t bytes, uint32_t instance);

/* Does @devices begin with all of @prefix? */
bool stream_devices_begin_with(const GPtrArray *devices,
                               const GPtrArray *prefix);

/*
 * Read the JSON object that ends a stream. Returns the devices it names, or
 * NULL when it is no such object. *page_size is the one it states, or 0.
 */
GPtrArray *device_description_parse(const char *text, size_t bytes,
                                    uint32_t *page_size);

#endif /* STREAM_DEVICES_H */
