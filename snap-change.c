/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * create, delete, apply, rename and gc: the commands that change an image
 * without a stream. Each opens the image for writing, makes one change that
 * happens at once or not at all, and closes it.
 */
#include <time.h>

#include "qcow2-snapshots.h"
#include "snap-error.h"
#include "snap-internal.h"

static bool coroutine_fn open_image(const SnapOptions *options,
                                    SnapImage *image, GError **errp)
{
    /* Tables are read twice, and QEMU will read them next: page cache. */
    HostFileOptions file_options = {
        .writable = true,
        .cache = options->cache ? options->cache : HOST_FILE_CACHE_WRITEBACK,
        .aio = options->aio,
        .trace = options->trace,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };

    image->file = host_file_open(options->image, &file_options, errp);
    if (!image->file) {
        return false;
    }
    image->qcow2 = qcow2_open(image->file, errp);
    if (!image->qcow2) {
        snap_image_close(image);
        return false;
    }
    if (options->no_discard) {
        qcow2_keep_freed(image->qcow2);
    }
    return true;
}

static bool check_name_given(const SnapOptions *options, GError **errp)
{
    if (!options->name) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "%s needs the snapshot's name: -n NAME", options->command);
        return false;
    }
    return true;
}

static bool coroutine_fn create(const SnapOptions *options, Qcow2Image *image,
                                GError **errp)
{
    Qcow2SnapshotStamp stamp = { 0 };
    const Qcow2Snapshot *old;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    stamp.date_sec = now.tv_sec;
    stamp.date_nsec = now.tv_nsec;
    return snap_choose_replaced(options, image, options->name, &old, errp) &&
           qcow2_snapshot_create(image, options->name, old, &stamp, errp);
}

bool coroutine_fn snap_create(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    SnapImage image = { 0 };
    bool created;

    if (!check_name_given(options, errp) ||
        !open_image(options, &image, errp)) {
        return false;
    }
    created = create(options, image.qcow2, errp);
    if (created) {
        snap_warn_about_bitmaps(&image, result);
    }
    snap_image_close(&image);
    return created;
}

typedef bool coroutine_fn Change(const SnapOptions *options, Qcow2Image *image,
                                 const Qcow2Snapshot *snapshot, GError **errp);

/* Open the image, change the one snapshot that is meant, close it. Yields. */
static bool coroutine_fn change_one(const SnapOptions *options, Change *change,
                                    GError **errp)
{
    SnapImage image = { 0 };
    const Qcow2Snapshot *snapshot;
    bool changed;

    if (!check_name_given(options, errp) ||
        !open_image(options, &image, errp)) {
        return false;
    }
    snapshot = snap_choose_one(options, image.qcow2, errp);
    changed = snapshot && change(options, image.qcow2, snapshot, errp);
    snap_image_close(&image);
    return changed;
}

static bool coroutine_fn delete_one(const SnapOptions *options,
                                    Qcow2Image *image,
                                    const Qcow2Snapshot *snapshot,
                                    GError **errp)
{
    return qcow2_snapshot_delete(image, snapshot, errp);
}

bool coroutine_fn snap_delete(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    return change_one(options, delete_one, errp);
}

static bool coroutine_fn apply_one(const SnapOptions *options,
                                   Qcow2Image *image,
                                   const Qcow2Snapshot *snapshot, GError **errp)
{
    return qcow2_snapshot_apply(image, snapshot, errp);
}

bool coroutine_fn snap_apply(const SnapOptions *options, SnapResult *result,
                             GError **errp)
{
    return change_one(options, apply_one, errp);
}

static bool coroutine_fn rename_one(const SnapOptions *options,
                                    Qcow2Image *image,
                                    const Qcow2Snapshot *snapshot,
                                    GError **errp)
{
    return qcow2_snapshot_rename(image, snapshot, options->new_name, errp);
}

bool coroutine_fn snap_rename(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    if (!options->new_name) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "rename needs the snapshot's new name: --to=NAME");
        return false;
    }
    return change_one(options, rename_one, errp);
}

bool coroutine_fn snap_gc(const SnapOptions *options, SnapResult *result,
                          GError **errp)
{
    SnapImage image = { 0 };
    bool freed;

    if (!open_image(options, &image, errp)) {
        return false;
    }
    freed = qcow2_free_stale_vmstate(image.qcow2, errp);
    snap_image_close(&image);
    return freed;
}
