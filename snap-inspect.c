/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * inspect: what an image is, or what is inside one of its snapshots.
 */
#include <inttypes.h>
#include <stdio.h>

#include "printable.h"
#include "size.h"
#include "snap-devices.h"
#include "snap-error.h"

/* Of all blocks. */
static PageCounts count_all(const StreamIndex *index)
{
    const MigrationInfo *info = stream_index_info(index);
    PageCounts all = { 0 };
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        PageCounts counts = stream_index_count(index, info->blocks->pdata[i]);

        all.data += counts.data;
        all.zero += counts.zero;
        all.filled += counts.filled;
        all.xbzrle += counts.xbzrle;
        all.deflated += counts.deflated;
    }
    return all;
}

/* Pages that were written again while the stream was: they are there twice. */
static uint64_t count_repeated(const MigrationInfo *info, const PageCounts *all)
{
    return info->data_pages + info->zero_pages -
           (all->data + all->zero + all->filled);
}

static void print_counts(const StreamIndex *index)
{
    const MigrationInfo *info = stream_index_info(index);
    PageCounts all = count_all(index);

    printf("repeated pages: %" PRIu64 "\n", count_repeated(info, &all));
    if (all.xbzrle) {
        printf("pages that end in an XBZRLE difference: %" PRIu64 "\n",
               all.xbzrle);
    }
    if (all.deflated) {
        printf("compressed pages: %" PRIu64 "\n", all.deflated);
    }
}

static void print_blocks(const StreamIndex *index)
{
    const MigrationInfo *info = stream_index_info(index);
    bool pages = stream_index_knows_pages(index);
    guint i;

    printf("%-32s %9s", "RAM blocks:", "size");
    if (pages) {
        printf(" %10s %10s %8s %10s", "data", "zero", "filled", "absent");
    }
    printf("\n");
    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);
        g_autofree char *name = printable(block->name);
        g_autofree char *size = size_format(block->bytes);

        printf("    %-28s %9s", name, size);
        if (pages) {
            PageCounts counts = stream_index_count(index, block);

            printf(" %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %10" PRIu64,
                   counts.data, counts.zero, counts.filled, counts.absent);
        }
        printf("\n");
    }
}

static const char *trailer_state(const SnapState *state)
{
    switch (state->trailer.state) {
    case STREAM_TRAILER_NONE:
        return "none";
    case STREAM_TRAILER_VALID:
        return "valid";
    case STREAM_TRAILER_DAMAGED:
        return "damaged";
    case STREAM_TRAILER_UNSUPPORTED:
        return "of a later version";
    }
    g_assert_not_reached();
}

/* VM state that is not the stream. Bytes. */
static uint64_t overhead(const SnapState *state)
{
    uint64_t recorded = state->snapshot->vm_state_size;

    return state->trailer.state == STREAM_TRAILER_NONE && state->mapped
               ? 0
               : recorded - MIN(recorded, state->stream_bytes);
}

static void print_trailer(const SnapState *state)
{
    g_autofree char *size = size_format(overhead(state));

    printf("trailer: %s (%s)\n", trailer_state(state), size);
}

/* As it is usually written, in five groups. To free. */
static char *format_uuid(const uint8_t *uuid)
{
    GString *text = g_string_new(NULL);
    guint i;

    for (i = 0; i < MIGRATION_UUID_BYTES; i++) {
        g_string_append_printf(text, "%s%02x",
                               i >= 4 && i <= 10 && i % 2 == 0 ? "-" : "",
                               uuid[i]);
    }
    return g_string_free(text, FALSE);
}

static void print_configuration(const MigrationInfo *info)
{
    guint i;

    if (info->machine) {
        g_autofree char *machine = printable(info->machine);

        printf("machine: %s\n", machine);
    }
    if (info->uuid_known) {
        g_autofree char *uuid = format_uuid(info->uuid);

        printf("uuid: %s\n", uuid);
    }
    for (i = 0; i < info->capabilities->len; i++) {
        g_autofree char *name = printable(info->capabilities->pdata[i]);

        printf("%s%s%s", i ? ", " : "capabilities: ", name,
               i + 1 < info->capabilities->len ? "" : "\n");
    }
}

static void print_state(const SnapState *state)
{
    const Qcow2Snapshot *snapshot = state->snapshot;
    const MigrationInfo *info = stream_index_info(state->index);
    bool pages = stream_index_knows_pages(state->index);
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);
    g_autofree char *size = size_format(info->stream_bytes);

    printf("snapshot: %s (ID %s)\n", name, id);
    printf("stream size: %s (%" PRIu64 " bytes)\n", size, info->stream_bytes);
    print_trailer(state);
    if (info->vm_clock_known) {
        g_autofree char *clock = snap_clock_format(info->vm_clock_ns);

        printf("vm clock: %s\n", clock);
    }
    print_configuration(info);
    if (info->page_size) {
        printf("page size: %u\n", info->page_size);
    }
    if (info->mapped_ram) {
        printf("RAM: mapped\n");
    }
    printf("data pages: %" PRIu64 "\n", info->data_pages);
    printf("zero pages: %" PRIu64 "\n", info->zero_pages);
    if (pages) {
        print_counts(state->index);
    }
    printf("device sections: %u\n", info->devices);
    print_blocks(state->index);
    snap_print_sections(info);
}

static void add_blocks(JsonBuilder *json, const StreamIndex *index)
{
    const GPtrArray *blocks = stream_index_info(index)->blocks;
    bool pages = stream_index_knows_pages(index);
    guint i;

    json_builder_set_member_name(json, "ram-blocks");
    json_builder_begin_array(json);
    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(blocks, i);

        json_builder_begin_object(json);
        snap_json_string(json, "name", block->name);
        snap_json_number(json, "size", block->bytes);
        if (pages) {
            PageCounts counts = stream_index_count(index, block);

            snap_json_number(json, "data-pages", counts.data);
            snap_json_number(json, "zero-pages", counts.zero);
            snap_json_number(json, "filled-pages", counts.filled);
            snap_json_number(json, "absent-pages", counts.absent);
        }
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
}

static void add_configuration(JsonBuilder *json, const MigrationInfo *info)
{
    guint i;

    if (info->machine) {
        snap_json_string(json, "machine", info->machine);
    }
    if (info->uuid_known) {
        g_autofree char *uuid = format_uuid(info->uuid);

        snap_json_string(json, "uuid", uuid);
    }
    json_builder_set_member_name(json, "capabilities");
    json_builder_begin_array(json);
    for (i = 0; i < info->capabilities->len; i++) {
        json_builder_add_string_value(json, info->capabilities->pdata[i]);
    }
    json_builder_end_array(json);
}

static void print_state_json(const SnapState *state)
{
    const Qcow2Snapshot *snapshot = state->snapshot;
    const MigrationInfo *info = stream_index_info(state->index);
    bool pages = stream_index_knows_pages(state->index);
    g_autoptr(JsonBuilder) json = snap_json_begin();

    json_builder_set_member_name(json, "snapshot");
    snap_json_snapshot(json, snapshot);
    snap_json_number(json, "stream-size", info->stream_bytes);
    snap_json_string(json, "trailer", trailer_state(state));
    snap_json_number(json, "trailer-size", overhead(state));
    if (info->vm_clock_known) {
        snap_json_number(json, "vm-clock-ns", info->vm_clock_ns);
    }
    add_configuration(json, info);
    if (info->page_size) {
        snap_json_number(json, "page-size", info->page_size);
    }
    snap_json_boolean(json, "mapped-ram", info->mapped_ram);
    snap_json_number(json, "data-pages", info->data_pages);
    snap_json_number(json, "zero-pages", info->zero_pages);
    if (pages) {
        PageCounts all = count_all(state->index);

        snap_json_number(json, "repeated-pages", count_repeated(info, &all));
        snap_json_number(json, "xbzrle-pages", all.xbzrle);
        snap_json_number(json, "compressed-pages", all.deflated);
    }
    snap_json_number(json, "device-sections", info->devices);
    add_blocks(json, state->index);
    snap_json_sections(json, info);
    snap_json_print(json);
}

static bool shows_devices(const SnapOptions *options)
{
    return options->devices || options->device;
}

/* What is inside one snapshot. */
static bool coroutine_fn inspect_state(const SnapOptions *options,
                                       const SnapImage *image,
                                       SnapResult *result, GError **errp)
{
    const Qcow2Snapshot *snapshot = snap_choose(options, image->qcow2, errp);
    SnapState state = { 0 };
    bool shown;

    if (!snapshot || !snap_state_open(options, image, snapshot, &state, errp)) {
        return false;
    }
    shown = snap_state_need_index(options, &state, errp);
    if (shown && shows_devices(options)) {
        shown = snap_show_devices(options, &state, errp);
    } else if (shown && options->json) {
        print_state_json(&state);
    } else if (shown) {
        print_state(&state);
    }
    if (shown && options->map) {
        shown = snap_state_print_map(options, &state, errp);
    }
    if (shown) {
        snap_state_warn(&state, result);
    }
    snap_state_close(&state);
    return shown;
}

/* An image that is damaged or not understood has none that we can speak of. */
static void coroutine_fn inspect_image(const SnapOptions *options,
                                       const SnapImage *image)
{
    Qcow2StaleVmstate stale;

    if (!qcow2_look_at_stale_vmstate(image->qcow2, &stale, NULL)) {
        stale.present = false;
    }
    if (options->json) {
        snap_print_image_json(options, image, &stale);
    } else {
        snap_print_image(options, image, &stale);
    }
}

static bool check_map(const SnapOptions *options, GError **errp)
{
    if (options->map && (options->json || shows_devices(options))) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--map and %s exclude each other",
                    options->json ? "--output=json" : "--devices");
        return false;
    }
    return true;
}

bool coroutine_fn snap_inspect(const SnapOptions *options, SnapResult *result,
                               GError **errp)
{
    bool state = options->name || shows_devices(options) || options->map;
    HostFileCache cache = state ? HOST_FILE_CACHE_AUTOMATIC
                                : HOST_FILE_CACHE_WRITEBACK;
    SnapImage image = { 0 };
    bool inspected = true;

    if (!check_map(options, errp) ||
        !snap_image_open(options, cache, &image, errp)) {
        return false;
    }
    if (state) {
        inspected = inspect_state(options, &image, result, errp);
    } else {
        inspect_image(options, &image);
    }
    snap_image_close(&image);
    return inspected;
}
