/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * inspect --devices: one device after the other is read and decoded.
 */
#include <inttypes.h>

#include "checked.h"
#include "snap-device-output.h"
#include "snap-error.h"

/*
 * What is held in memory at once: the description, which is no longer in any
 * stream that is accepted, and one device. Machines have tens of KB of state,
 * graphics cards with memory of their own much more.
 */
#define STATES_MAX_BYTES (64 * 1024 * 1024)

char *snap_device_number(const DeviceValue *value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    switch (value->kind) {
    case DEVICE_VALUE_UNSIGNED:
        return g_strdup_printf("0x%0*" PRIx64, (int)value->bytes * 2,
                               value->as_unsigned);
    case DEVICE_VALUE_SIGNED:
        return g_strdup_printf("%" PRId64, value->as_signed);
    case DEVICE_VALUE_BOOL:
        return g_strdup(value->as_unsigned ? "true" : "false");
    case DEVICE_VALUE_FLOAT:
        return g_strdup(g_ascii_dtostr(text, sizeof(text), value->as_float));
    case DEVICE_VALUE_NULL:
    case DEVICE_VALUE_BYTES:
        break;
    }
    return g_strdup("null");
}

/* A part of the stream, to free. NULL and @errp. */
static uint8_t *coroutine_fn read_part(const SnapState *state, uint64_t offset,
                                       uint64_t bytes, GError **errp)
{
    g_autofree uint8_t *part = NULL;
    uint64_t done;

    if (!range_within(offset, bytes, state->stream_bytes)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "a part of the stream at offset %" PRIu64
                    " is behind its end",
                    offset);
        return NULL;
    }
    part = g_malloc(bytes + 1);
    for (done = 0; done < bytes; done += SNAP_BUFFER_BYTES) {
        if (!qcow2_vmstate_pread(state->vmstate, offset + done, part + done,
                                 MIN(bytes - done, SNAP_BUFFER_BYTES), errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&part);
}

static bool coroutine_fn show_device(const SnapState *state,
                                     const MigrationSection *device,
                                     DeviceDescriptions *descriptions,
                                     const char *why,
                                     const SnapDeviceOutput *output,
                                     void *opaque, GError **errp)
{
    g_autofree uint8_t *payload = NULL;
    g_autoptr(GError) error = NULL;

    if (snap_section_is_lost(device)) {
        output->undecoded("where its state ends in the stream cannot be told",
                          NULL, 0, opaque);
        return true;
    }
    if (device->payload_bytes > STATES_MAX_BYTES) {
        output->undecoded("its state is too large", NULL, 0, opaque);
        return true;
    }
    payload =
        read_part(state, device->payload_offset, device->payload_bytes, errp);
    if (!payload) {
        return false;
    }
    if (!descriptions) {
        output->undecoded(why, payload, device->payload_bytes, opaque);
    } else if (!device_state_decode(
                   descriptions, device->name, device->instance, payload,
                   device->payload_bytes, &output->visitor, opaque, &error)) {
        output->undecoded(error->message, payload, device->payload_bytes,
                          opaque);
    }
    return true;
}

/* All of them, or @only, unless that is NULL. */
static bool coroutine_fn show_all(const SnapState *state,
                                  const MigrationSection *only,
                                  DeviceDescriptions *descriptions,
                                  const char *why,
                                  const SnapDeviceOutput *output, GError **errp)
{
    const MigrationInfo *info = stream_index_info(state->index);
    void *opaque = output->begin(state->snapshot);
    bool shown = true;
    guint i;

    for (i = 0; shown && i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        if (section->device && (!only || section == only)) {
            output->begin_device(section, opaque);
            shown = show_device(state, section, descriptions, why, output,
                                opaque, errp);
            output->end_device(opaque);
        }
    }
    output->end(opaque);
    return shown;
}

bool coroutine_fn snap_show_devices(const SnapOptions *options,
                                    const SnapState *state, GError **errp)
{
    const MigrationInfo *info = stream_index_info(state->index);
    g_autofree uint8_t *text = NULL;
    g_autoptr(DeviceDescriptions) descriptions = NULL;
    g_autoptr(GError) error = NULL;
    const char *why = "the stream has no description of its devices";
    const MigrationSection *only = NULL;

    if (options->device) {
        only = snap_find_device(info, options->device, errp);
        if (!only) {
            return false;
        }
    }
    if (info->description_bytes > STATES_MAX_BYTES) {
        why = "the description of the devices is too large";
    } else if (info->description_bytes > 0) {
        text = read_part(state, info->description_offset,
                         info->description_bytes, errp);
        if (!text) {
            return false;
        }
        descriptions = device_descriptions_new((const char *)text,
                                               info->description_bytes, &error);
        why = error ? error->message : NULL;
    }
    return show_all(state, only, descriptions, why,
                    options->json ? &snap_device_json : &snap_device_text,
                    errp);
}
