/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Decides whether a device description that has come to its end is the one
 * that ends the stream, by what stands in front of it.
 */
#include <string.h>

#include "opaque-region.h"
#include "stream-devices.h"

#define VERSION_BYTES sizeof(uint32_t)

/*
 * Returns the offset behind the next header of @device in @data, from the
 * offset @from on, or 0. Its section id can be any.
 */
static size_t header_find(const uint8_t *data, size_t bytes, size_t from,
                          const StreamDevice *device)
{
    const size_t before_name = 1 + sizeof(uint32_t);
    const size_t name_bytes = strlen(device->name);
    uint8_t pattern[1 + UINT8_MAX + sizeof(uint32_t)];
    const size_t pattern_bytes = 1 + name_bytes + sizeof(uint32_t);
    size_t at = from + before_name;

    if (name_bytes == 0 || name_bytes > UINT8_MAX) {
        return 0;
    }
    pattern[0] = name_bytes;
    memcpy(pattern + 1, device->name, name_bytes);
    store_be32(pattern + 1 + name_bytes, device->instance);

    for (; at + pattern_bytes + VERSION_BYTES <= bytes; at++) {
        const uint8_t *found = memmem(data + at, bytes - at - VERSION_BYTES,
                                      pattern, pattern_bytes);

        if (found == NULL) {
            break;
        }
        at = found - data;
        if (data[at - before_name] == STREAM_SECTION_FULL) {
            return at + pattern_bytes + VERSION_BYTES;
        }
    }
    return 0;
}

/*
 * Do the headers of all @devices stand in the region before @end, in that
 * order, the first one where the region begins?
 */
static bool headers_in_order(MigrationReader *reader, const GPtrArray *devices,
                             uint64_t end)
{
    const OpaqueRegion *region = reader->opaque;
    const uint8_t *data = region->bytes->data;
    size_t bytes = end - region->base;
    size_t behind = 0;

    for (guint i = 0; i < devices->len; i++) {
        const StreamDevice *device = g_ptr_array_index(devices, i);
        size_t header = behind;

        behind = header_find(data, bytes, header, device);
        if (behind == 0 ||
            (i == 0 && behind != 1 + sizeof(uint32_t) + 1 +
                                     strlen(device->name) + sizeof(uint32_t) +
                                     VERSION_BYTES)) {
            return false;
        }
        if (strcmp(device->name, "timer") == 0) {
            region_note_clock(reader, region->base + behind,
                              load_be32(data + behind - VERSION_BYTES));
        }
    }
    return devices->len > 0;
}

/* The sections are not delimited; the devices as described are what counts. */
static void complete_as_described(MigrationReader *reader,
                                  const GPtrArray *devices)
{
    reader->info.devices = devices->len;
    reader_complete(reader, reader->opaque->finder.end);
}

static bool resolve_without_footers(MigrationReader *reader,
                                    const GPtrArray *devices)
{
    const OpaqueRegion *region = reader->opaque;
    uint64_t start = region->finder.start;

    if (region->live_end) {
        /* The end marker comes right behind the RAM: there are no devices. */
        if (region->chain->next == start) {
            reader_complete(reader, region->finder.end);
        }
        return region->chain->next == start;
    }
    if (devices == NULL || reader->phase != MIGRATION_PHASE_DEVICES ||
        !(region->trimmed || headers_in_order(reader, devices, start))) {
        return false;
    }
    complete_as_described(reader, devices);
    return true;
}

static bool resolve_by_footers(MigrationReader *reader,
                               const GPtrArray *devices)
{
    OpaqueRegion *region = reader->opaque;
    uint64_t start = region->finder.start;
    StreamSpan span = region_span(region, start + 1);
    g_autoptr(SectionChain) chain = NULL;
    ChainResult result = CHAIN_NONE;

    if (devices != NULL &&
        stream_devices_begin_with(devices, reader->devices)) {
        result = region_search(region, &span, start, devices, &chain);
    }
    if (result == CHAIN_NONE) {
        result = region_search(region, &span, start, NULL, &chain);
    }
    switch (result) {
    case CHAIN_KNOWN:
        region_close(reader, chain);
        return true;
    case CHAIN_END:
        region_note_sections(reader, chain);
        reader_complete(reader, region->finder.end);
        return true;
    case CHAIN_GIVEN_UP:
        stream_error(&reader->error, SNAP_ERROR_STREAM, region->base,
                     "the device sections can be told apart in too many ways; "
                     "gave up");
        return true;
    default:
        break;
    }
    /* What was settled when the region was full may have been wrong. */
    if (!region->trimmed || devices == NULL ||
        reader->phase != MIGRATION_PHASE_DEVICES) {
        return false;
    }
    complete_as_described(reader, devices);
    return true;
}

bool region_resolve_description(MigrationReader *reader)
{
    const OpaqueRegion *region = reader->opaque;
    StreamSpan span = region_span(region, region->finder.end);
    g_autoptr(GPtrArray) devices = NULL;
    uint32_t page_size;
    bool resolved;

    devices = device_description_parse(
        description_finder_text(&region->finder, &span),
        region->finder.end - region->finder.text, &page_size);
    if (reader->footers == FOOTERS_OFF) {
        resolved = resolve_without_footers(reader, devices);
    } else {
        resolved = resolve_by_footers(reader, devices);
    }
    if (reader->phase == MIGRATION_PHASE_COMPLETE &&
        reader->info.page_size == 0) {
        reader->info.page_size = page_size;
    }
    return resolved;
}
