/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * create, delete, apply, rename and gc: the commands that change an image
 * without a stream. Each opens the image for writing, makes one change that
 * happens at once or not at all, and closes it; the first three also do it to
 * all disks of a machine.
 */
#include <time.h>

#include "snap-disks.h"
#include "snap-error.h"
#include "snap-target.h"
#include "snap-together.h"

/* Tables are read twice, and QEMU will read them next: page cache. */
static SnapOptions through_page_cache(const SnapOptions *options)
{
    SnapOptions cached = *options;

    if (cached.cache == HOST_FILE_CACHE_AUTOMATIC) {
        cached.cache = HOST_FILE_CACHE_WRITEBACK;
    }
    return cached;
}

/* On failure snap_image_close() is due, too. */
static bool coroutine_fn open_image(const SnapOptions *options,
                                    SnapImage *image, SnapResult *result,
                                    GError **errp)
{
    SnapTarget target = { 0 };
    bool opened = snap_target_open(options, &target, errp);

    *image = target.image;
    if (!opened) {
        return false;
    }
    snap_warn_about_repair(image, result);
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

/*
 * The first image and the further ones, which are prepared before any changes.
 * An image that is alone takes no space ahead: it needs no more than it uses.
 */
static bool coroutine_fn prepare(const SnapOptions *options, Qcow2Image *image,
                                 SnapDisks *disks, Qcow2SnapshotWriter **writer,
                                 GError **errp)
{
    const Qcow2Snapshot *old;

    if (!snap_choose_replaced(options, image, options->name, &old, errp)) {
        return false;
    }
    *writer = qcow2_snapshot_writer_begin(image, options->name, old, errp);
    return *writer &&
           (!options->with ||
            qcow2_snapshot_writer_reserve(*writer, 0, errp)) &&
           snap_disks_begin(disks, options->name, NULL, errp);
}

static void go_on(void *opaque)
{
}

/*
 * From now on a signal that asks to stop comes too late: it would leave some
 * images changed and others not. NULL for an image that is alone.
 */
static Interrupt *ignore_signals(const SnapOptions *options)
{
    return options->with ? interrupt_new(go_on, NULL) : NULL;
}

static bool coroutine_fn create(const SnapOptions *options, Qcow2Image *image,
                                SnapResult *result, GError **errp)
{
    SnapDisks *disks = snap_disks_new(options);
    Qcow2SnapshotWriter *writer = NULL;
    Qcow2SnapshotStamp stamp = { 0 };
    struct timespec now;
    bool created;

    clock_gettime(CLOCK_REALTIME, &now);
    stamp.date_sec = now.tv_sec;
    stamp.date_nsec = now.tv_nsec;
    created = prepare(options, image, disks, &writer, errp);
    if (created) {
        Interrupt *interrupt = ignore_signals(options);

        created = snap_disks_commit(disks, writer, &stamp, errp);
        interrupt_free(interrupt);
    }
    if (created) {
        result->id = g_strdup(qcow2_snapshot_writer_id(writer));
        result->name = g_strdup(qcow2_snapshot_writer_name(writer));
    }
    snap_disks_close(disks);
    snap_disks_free(disks);
    qcow2_snapshot_writer_end(writer);
    return created;
}

bool coroutine_fn snap_create(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    SnapOptions cached = through_page_cache(options);
    SnapImage image = { 0 };
    bool created;

    created = check_name_given(options, errp) &&
              snap_disks_check(options, errp) &&
              open_image(&cached, &image, result, errp) &&
              create(&cached, image.qcow2, result, errp);
    if (created) {
        snap_warn_about_bitmaps(&image, result);
    }
    snap_image_close(&image);
    return created;
}

static void tell(SnapResult *result, const Qcow2Snapshot *snapshot)
{
    result->id = g_strdup(snapshot->id);
    result->name = g_strdup(snapshot->name);
}

static bool coroutine_fn change_together(const SnapOptions *options,
                                         SnapTogetherKind kind,
                                         const SnapImage *image,
                                         const Qcow2Snapshot *snapshot,
                                         GError **errp)
{
    SnapTogether *together;
    Interrupt *interrupt;
    bool changed;

    together = snap_together_begin(options, kind, image, snapshot, errp);
    if (!together) {
        return false;
    }
    interrupt = ignore_signals(options);
    changed = snap_together_commit(together, errp);
    interrupt_free(interrupt);
    if (!changed && options->with) {
        snap_together_explain(together, errp);
    }
    snap_together_end(together);
    return changed;
}

/*
 * The snapshot that is meant, and those of its name in further images. A delete
 * of one alone has means of its own when there is no room.
 */
static bool coroutine_fn change_all(const SnapOptions *options,
                                    SnapTogetherKind kind,
                                    const SnapImage *image, SnapResult *result,
                                    GError **errp)
{
    const Qcow2Snapshot *snapshot =
        snap_choose_one(options, image->qcow2, errp);
    bool changed;

    if (!snapshot) {
        return false;
    }
    if (kind == SNAP_TOGETHER_DELETE && !options->with) {
        changed = qcow2_snapshot_delete(image->qcow2, snapshot, errp);
    } else {
        changed = change_together(options, kind, image, snapshot, errp);
    }
    if (changed) {
        tell(result, snapshot);
    }
    return changed;
}

static bool coroutine_fn change(const SnapOptions *options,
                                SnapTogetherKind kind, SnapResult *result,
                                GError **errp)
{
    SnapOptions cached = through_page_cache(options);
    SnapImage image = { 0 };
    bool changed;

    if (!check_name_given(options, errp) ||
        !snap_check_distinct(options, errp)) {
        return false;
    }
    changed = open_image(&cached, &image, result, errp) &&
              change_all(&cached, kind, &image, result, errp);
    snap_image_close(&image);
    return changed;
}

bool coroutine_fn snap_delete(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    return change(options, SNAP_TOGETHER_DELETE, result, errp);
}

bool coroutine_fn snap_apply(const SnapOptions *options, SnapResult *result,
                             GError **errp)
{
    return change(options, SNAP_TOGETHER_APPLY, result, errp);
}

static bool coroutine_fn rename_one(const SnapOptions *options,
                                    Qcow2Image *image, SnapResult *result,
                                    GError **errp)
{
    const Qcow2Snapshot *snapshot = snap_choose_one(options, image, errp);

    if (!snapshot ||
        !qcow2_snapshot_rename(image, snapshot, options->new_name, errp)) {
        return false;
    }
    result->id = g_strdup(snapshot->id);
    result->name = g_strdup(options->new_name);
    result->old_name = g_strdup(snapshot->name);
    return true;
}

bool coroutine_fn snap_rename(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    SnapOptions cached = through_page_cache(options);
    SnapImage image = { 0 };
    bool renamed;

    if (!options->new_name) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "rename needs the snapshot's new name: --to=NAME");
        return false;
    }
    renamed = check_name_given(options, errp) &&
              open_image(&cached, &image, result, errp) &&
              rename_one(options, image.qcow2, result, errp);
    snap_image_close(&image);
    return renamed;
}

static bool coroutine_fn gc(const SnapOptions *options, Qcow2Image *image,
                            SnapResult *result, GError **errp)
{
    Qcow2StaleVmstate stale = { 0 };

    /* Counting is one more look, for who wants to know. */
    if (options->json && !qcow2_look_at_stale_vmstate(image, &stale, errp)) {
        return false;
    }
    result->bytes = stale.freeable;
    return qcow2_free_stale_vmstate(image, errp);
}

bool coroutine_fn snap_gc(const SnapOptions *options, SnapResult *result,
                          GError **errp)
{
    SnapOptions cached = through_page_cache(options);
    SnapImage image = { 0 };
    bool freed = open_image(&cached, &image, result, errp) &&
                 gc(options, image.qcow2, result, errp);

    snap_image_close(&image);
    return freed;
}
