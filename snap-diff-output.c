/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What differs between two VM states, for people and for programs.
 */
#include <inttypes.h>
#include <stdio.h>

#include "printable.h"
#include "size.h"
#include "snap-diff.h"
#include "snap-json.h"

static const char *const sides[SNAP_DIFF_SIDES] = { "a", "b" };

uint64_t snap_diff_different_pages(const SnapDiff *diff)
{
    return diff->pages[PAGE_CHANGED] + diff->pages[PAGE_ONLY_A] +
           diff->pages[PAGE_ONLY_B];
}

bool snap_diff_is_different(const SnapDiff *diff)
{
    return snap_diff_different_pages(diff) > 0 || diff->different_blocks > 0 ||
           diff->different_devices > 0 || diff->different_machines;
}

static const char *machine_of(const SnapDiffSide *side)
{
    return stream_index_info(side->state.index)->machine;
}

static void print_sides(const SnapDiff *diff)
{
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        const SnapDiffSide *side = &diff->sides[i];
        const char *name = machine_of(side);
        g_autofree char *file = printable(side->filename);
        g_autofree char *id = printable(side->state.snapshot->id);
        g_autofree char *tag = printable(side->state.snapshot->name);
        g_autofree char *machine = printable(name ? name : "not known");

        printf("%s: %s (ID %s) of %s", sides[i], tag, id, file);
        if (diff->different_machines) {
            printf(", machine: %s", machine);
        }
        printf("\n");
    }
}

/* What is the matter with the block itself. */
static void print_remark(const SnapDiffBlock *block)
{
    const MigrationBlock *a = block->sides[0];
    const MigrationBlock *b = block->sides[1];

    if (!a || !b) {
        printf("  only in %s", a ? sides[0] : sides[1]);
    } else if (a->bytes != b->bytes) {
        g_autofree char *size_a = size_format(a->bytes);
        g_autofree char *size_b = size_format(b->bytes);

        printf("  size: %s, %s", size_a, size_b);
    }
}

static void print_row(const char *name, const uint64_t *pages)
{
    printf("    %-26s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64
           " %9" PRIu64,
           name, pages[PAGE_CHANGED], pages[PAGE_ONLY_A], pages[PAGE_ONLY_B],
           pages[PAGE_SAME], pages[PAGE_ZERO]);
}

static void print_blocks(const SnapDiff *diff)
{
    uint64_t different = snap_diff_different_pages(diff);
    g_autofree char *size = size_format(different * diff->page_size);
    guint i;

    printf("%-30s %9s %9s %9s %9s %9s\n", "RAM blocks, pages:", "changed",
           "only in a", "only in b", "same", "zero");
    for (i = 0; i < diff->blocks->len; i++) {
        const SnapDiffBlock *block =
            &g_array_index(diff->blocks, SnapDiffBlock, i);
        g_autofree char *name = printable(snap_diff_block_name(block));

        print_row(name, block->pages);
        print_remark(block);
        printf("\n");
    }
    print_row("all", diff->pages);
    printf("\npages that differ: %" PRIu64 " (%s)\n", different, size);
}

static const char *verdict_word(SnapDeviceVerdict verdict)
{
    static const char *const words[] = {
        [SNAP_DEVICE_SAME] = "same",        [SNAP_DEVICE_ONLY_A] = "only-in-a",
        [SNAP_DEVICE_ONLY_B] = "only-in-b", [SNAP_DEVICE_VERSION] = "version",
        [SNAP_DEVICE_LENGTH] = "length",    [SNAP_DEVICE_CONTENT] = "content",
        [SNAP_DEVICE_UNKNOWN] = "unknown",
    };

    return words[verdict];
}

static void print_devices(const SnapDiff *diff)
{
    guint i;

    printf("devices that differ: %u of %u\n", diff->different_devices,
           diff->devices->len);
    for (i = 0; i < diff->devices->len; i++) {
        const SnapDiffDevice *device =
            &g_array_index(diff->devices, SnapDiffDevice, i);
        g_autofree char *name = printable(device->section->name);

        if (device->verdict != SNAP_DEVICE_SAME) {
            printf("    %s, instance %" PRIu32 ": %s\n", name,
                   device->section->instance, verdict_word(device->verdict));
        }
    }
}

void snap_diff_print(const SnapDiff *diff)
{
    print_sides(diff);
    print_blocks(diff);
    print_devices(diff);
    printf("The VM states %s.\n", snap_diff_is_different(diff) ? "differ"
                                  : diff->unknown_devices      ? "may differ"
                                                          : "are the same");
}

static void add_sides(JsonBuilder *json, const SnapDiff *diff)
{
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        const SnapDiffSide *side = &diff->sides[i];

        json_builder_set_member_name(json, sides[i]);
        json_builder_begin_object(json);
        snap_json_string(json, "filename", side->filename);
        json_builder_set_member_name(json, "snapshot");
        snap_json_snapshot(json, side->state.snapshot);
        if (machine_of(side)) {
            snap_json_string(json, "machine", machine_of(side));
        }
        json_builder_end_object(json);
    }
}

static void add_pages(JsonBuilder *json, const uint64_t *pages)
{
    snap_json_number(json, "changed-pages", pages[PAGE_CHANGED]);
    snap_json_number(json, "only-in-a-pages", pages[PAGE_ONLY_A]);
    snap_json_number(json, "only-in-b-pages", pages[PAGE_ONLY_B]);
    snap_json_number(json, "same-pages", pages[PAGE_SAME]);
    snap_json_number(json, "zero-pages", pages[PAGE_ZERO]);
}

static void add_blocks(JsonBuilder *json, const SnapDiff *diff)
{
    guint i;

    json_builder_set_member_name(json, "ram-blocks");
    json_builder_begin_array(json);
    for (i = 0; i < diff->blocks->len; i++) {
        const SnapDiffBlock *block =
            &g_array_index(diff->blocks, SnapDiffBlock, i);
        const MigrationBlock *a = block->sides[0];
        const MigrationBlock *b = block->sides[1];

        json_builder_begin_object(json);
        snap_json_string(json, "name", snap_diff_block_name(block));
        if (a) {
            snap_json_number(json, "size-a", a->bytes);
        }
        if (b) {
            snap_json_number(json, "size-b", b->bytes);
        }
        add_pages(json, block->pages);
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
}

static void add_devices(JsonBuilder *json, const SnapDiff *diff)
{
    guint i;

    json_builder_set_member_name(json, "devices");
    json_builder_begin_array(json);
    for (i = 0; i < diff->devices->len; i++) {
        const SnapDiffDevice *device =
            &g_array_index(diff->devices, SnapDiffDevice, i);

        json_builder_begin_object(json);
        snap_json_string(json, "name", device->section->name);
        snap_json_number(json, "instance", device->section->instance);
        snap_json_string(json, "result", verdict_word(device->verdict));
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
}

void snap_diff_print_json(const SnapDiff *diff)
{
    g_autoptr(JsonBuilder) json = snap_json_begin();

    snap_json_boolean(json, "different", snap_diff_is_different(diff));
    add_sides(json, diff);
    snap_json_number(json, "page-size", diff->page_size);
    add_pages(json, diff->pages);
    snap_json_number(json, "different-bytes",
                     snap_diff_different_pages(diff) * diff->page_size);
    add_blocks(json, diff);
    add_devices(json, diff);
    snap_json_print(json);
}
