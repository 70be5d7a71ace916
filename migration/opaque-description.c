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

/* Bytes of the header of @device */
static size_t header_bytes(const StreamDevice *device)
{
    return 1 + sizeof(uint32_t) + 1 + strlen(device->name) + sizeof(uint32_t) +
           VERSION_BYTES;
}

/*
 * Do the headers of all @devices stand in the region before @end, in that
 * order, the first one where the region begins? Appends the offsets of their
 * payloads to @payloads.
 */
static bool headers_in_order(MigrationReader *reader, const GPtrArray *devices,
                             uint64_t end, GArray *payloads)
{
    const OpaqueRegion *region = reader->opaque;
    const uint8_t *data = region->bytes->data;
    size_t bytes = end - region->base;
    size_t behind = 0;

    for (guint i = 0; i < devices->len; i++) {
        const StreamDevice *device = g_ptr_array_index(devices, i);
        uint64_t payload;

        behind = header_find(data, bytes, behind, device);
        if (behind == 0 || (i == 0 && behind != header_bytes(device))) {
            return false;
        }
        payload = region->base + behind;
        g_array_append_val(payloads, payload);
        if (strcmp(device->name, "timer") == 0) {
            region_note_clock(reader, payload,
                              load_be32(data + behind - VERSION_BYTES));
        }
    }
    return devices->len > 0;
}

/* What stands in front of the description has been understood. */
static void complete_with_description(MigrationReader *reader)
{
    const DescriptionFinder *finder = &reader->opaque->finder;
    MigrationInfo *info = &reader->info;

    info->description_offset = finder->text;
    info->description_bytes = finder->end - finder->text;
    info->framing_bytes += finder->text - finder->start - STREAM_EOF_BYTES;
    reader_complete(reader, finder->end);
}

/* List what is known of a device whose end is not. */
static MigrationSection *list_described(MigrationReader *reader,
                                        const StreamDevice *device,
                                        uint64_t offset)
{
    StreamName name = { device->name, strlen(device->name) };
    MigrationSection *listed =
        section_list_add(reader, name, device->instance, 0, offset);

    if (listed != NULL) {
        listed->device = true;
        listed->delimited = false;
    }
    return listed;
}

/*
 * The sections are not delimited; the devices as described are what counts.
 * Some may have come before the region: these are listed.
 */
static void complete_as_described(MigrationReader *reader,
                                  const GPtrArray *devices)
{
    const OpaqueRegion *region = reader->opaque;
    MigrationInfo *info = &reader->info;
    guint before = 0;

    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *listed = info->sections->pdata[i];

        before += listed->device;
    }
    for (guint i = before; i < devices->len; i++) {
        list_described(reader, devices->pdata[i], 0);
    }
    info->undelimited_bytes = region->finder.start - region->opened;
    info->devices = devices->len;
    complete_with_description(reader);
}

/* The same, but the headers of all of them have been found. */
static void complete_by_headers(MigrationReader *reader,
                                const GPtrArray *devices,
                                const GArray *payloads)
{
    const OpaqueRegion *region = reader->opaque;

    for (guint i = 0; i < devices->len; i++) {
        const StreamDevice *device = devices->pdata[i];
        uint64_t end = region->finder.start;
        uint64_t payload = g_array_index(payloads, uint64_t, i);
        uint64_t header = payload - header_bytes(device);
        MigrationSection *listed = list_described(reader, device, header);

        if (listed == NULL) {
            return;
        }
        listed->version = load_be32(region->bytes->data +
                                    (payload - VERSION_BYTES - region->base));
        if (i + 1 < devices->len) {
            end = g_array_index(payloads, uint64_t, i + 1) -
                  header_bytes(devices->pdata[i + 1]);
        }
        section_list_device(listed, payload, end);
        section_list_piece(listed, header, end);
    }
    reader->info.devices = devices->len;
    complete_with_description(reader);
}

static bool resolve_without_footers(MigrationReader *reader,
                                    const GPtrArray *devices)
{
    const OpaqueRegion *region = reader->opaque;
    g_autoptr(GArray) payloads = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t start = region->finder.start;

    if (region->live_end) {
        /* The end marker comes right behind the RAM: there are no devices. */
        if (region->chain->next == start) {
            complete_with_description(reader);
        }
        return region->chain->next == start;
    }
    if (devices == NULL || reader->phase != MIGRATION_PHASE_DEVICES) {
        return false;
    }
    if (region->trimmed) {
        complete_as_described(reader, devices);
        return true;
    }
    if (!headers_in_order(reader, devices, start, payloads)) {
        return false;
    }
    complete_by_headers(reader, devices, payloads);
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
        region_list_sections(reader, chain);
        complete_with_description(reader);
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
