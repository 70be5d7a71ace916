/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The story of a comparison: two VM states are opened, of one image or of two,
 * their RAM is compared block by block, then their devices.
 */
#include "snap-diff.h"
#include "snap-error.h"

static const Qcow2Snapshot *choose(const SnapOptions *options, unsigned number,
                                   const SnapImage *image, GError **errp)
{
    const char *name = number == 0 ? options->side_a : options->side_b;

    return snap_choose_side(image->qcow2, name, options->reading,
                            number == 0 ? "-a" : "-b", errp);
}

static bool coroutine_fn open_pages(const SnapOptions *options,
                                    SnapDiffSide *side, GError **errp)
{
    const char *directory = g_getenv("TMPDIR");

    side->source = snap_state_source(&side->state);
    side->pages = snap_pages_open(side->state.index, &side->source,
                                  directory ? directory : "/var/tmp", options,
                                  errp);
    return side->pages != NULL;
}

/* Side b is in the image of side a, unless another one was given. */
static bool coroutine_fn open_side(const SnapOptions *options, SnapDiff *diff,
                                   unsigned number, GError **errp)
{
    SnapDiffSide *side = &diff->sides[number];
    const Qcow2Snapshot *snapshot;

    side->filename = options->image;
    side->image = &diff->sides[0].own;
    if (number == 0 || options->image_b) {
        SnapOptions own = *options;

        own.image = number == 0 ? options->image : options->image_b;
        side->filename = own.image;
        side->image = &side->own;
        if (!snap_image_open(&own, HOST_FILE_CACHE_AUTOMATIC, &side->own,
                             errp)) {
            return false;
        }
    }
    snapshot = choose(options, number, side->image, errp);
    if (!snapshot) {
        return false;
    }
    if (!snap_state_open(options, side->image, snapshot, &side->state, errp) ||
        !snap_state_need_index(options, &side->state, errp) ||
        !open_pages(options, side, errp)) {
        g_prefix_error(errp, "snapshot '%s': ", snapshot->name);
        return false;
    }
    return true;
}

static void coroutine_fn close_sides(SnapDiff *diff)
{
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        snap_pages_close(diff->sides[i].pages);
        snap_state_close(&diff->sides[i].state);
    }
    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        snap_image_close(&diff->sides[i].own);
    }
}

static bool coroutine_fn open_sides(const SnapOptions *options, SnapDiff *diff,
                                    GError **errp)
{
    unsigned i;

    for (i = 0; i < SNAP_DIFF_SIDES; i++) {
        if (!open_side(options, diff, i, errp)) {
            if (i > 0 && options->image_b) {
                g_prefix_error(errp, "%s: ", options->image_b);
            }
            return false;
        }
    }
    return true;
}

static const MigrationInfo *info_of(const SnapDiff *diff, unsigned number)
{
    return stream_index_info(diff->sides[number].state.index);
}

static void print(const SnapOptions *options, const SnapDiff *diff)
{
    if (options->quiet || options->ranges) {
        return;
    }
    if (options->json) {
        snap_diff_print_json(diff);
        return;
    }
    snap_diff_print(diff);
    if (diff->map && diff->page_size) {
        snap_diff_print_map(diff);
    }
}

static bool coroutine_fn compare(const SnapOptions *options, SnapDiff *diff,
                                 GError **errp)
{
    diff->different_machines =
        g_strcmp0(info_of(diff, 0)->machine, info_of(diff, 1)->machine) != 0;
    if (!snap_diff_ram(options, diff, errp) || !snap_diff_devices(diff, errp)) {
        return false;
    }
    print(options, diff);
    if (diff->unknown_devices > 0 && !snap_diff_is_different(diff)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "whether %u devices differ cannot be told: the stream does "
                    "not say where they end",
                    diff->unknown_devices);
        return false;
    }
    return true;
}

static bool check(const SnapOptions *options, GError **errp)
{
    const char *wrong = NULL;

    if (options->name) {
        wrong = "-a and -b name the snapshots; --id and --name take no "
                "argument here";
    } else if (!options->image_b && (!options->side_a || !options->side_b)) {
        wrong = "two snapshots are expected, -a and -b, or two images";
    } else if (options->ranges + options->map + options->json > 1) {
        wrong = "--ranges, --map and --output=json exclude each other";
    }
    if (wrong) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID, "%s", wrong);
    }
    return !wrong;
}

bool coroutine_fn snap_diff(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    g_autoptr(GArray) blocks = g_array_new(FALSE, FALSE, sizeof(SnapDiffBlock));
    g_autoptr(GArray)
        devices = g_array_new(FALSE, FALSE, sizeof(SnapDiffDevice));
    g_autoptr(GString) map = options->map ? g_string_new(NULL) : NULL;
    SnapDiff diff = {
        .blocks = blocks,
        .devices = devices,
        .ranges = options->ranges && !options->quiet,
        .map = map,
        .terminal = snap_terminal(options->color),
    };
    bool done;

    if (!check(options, errp)) {
        return false;
    }
    done = open_sides(options, &diff, errp) && compare(options, &diff, errp);
    if (done) {
        result->exit_status =
            snap_diff_is_different(&diff) ? SNAP_DIFF_DIFFERENT : 0;
        snap_state_warn(&diff.sides[0].state, result);
        snap_state_warn(&diff.sides[1].state, result);
    }
    close_sides(&diff);
    return done;
}
