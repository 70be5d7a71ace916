/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Lists of devices, to be compared with each other.
 */
#include <string.h>

#include "stream-devices.h"

static void stream_device_free(gpointer opaque)
{
    StreamDevice *device = opaque;

    g_free(device->name);
    g_free(device);
}

GPtrArray *stream_devices_new(void)
{
    return g_ptr_array_new_with_free_func(stream_device_free);
}

void stream_devices_add(GPtrArray *devices, const char *name, size_t bytes,
                        uint32_t instance)
{
    StreamDevice *device = g_new(StreamDevice, 1);

    device->name = g_strndup(name, bytes);
    device->instance = instance;
    g_ptr_array_add(devices, device);
}

bool stream_devices_match(const GPtrArray *devices, guint index,
                          const char *name, size_t bytes, uint32_t instance)
{
    const StreamDevice *device;

    if (index >= devices->len) {
        return false;
    }
    device = g_ptr_array_index(devices, index);
    return device->instance == instance && strlen(device->name) == bytes &&
           memcmp(device->name, name, bytes) == 0;
}

bool stream_devices_begin_with(const GPtrArray *devices,
                               const GPtrArray *prefix)
{
    for (guint i = 0; i < prefix->len; i++) {
        const StreamDevice *device = g_ptr_array_index(prefix, i);

        if (!stream_devices_match(devices, i, device->name,
                                  strlen(device->name), device->instance)) {
            return false;
        }
    }
    return true;
}
