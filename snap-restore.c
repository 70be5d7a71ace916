/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-restore.h.
 */
#include <inttypes.h>

#include "checked.h"
#include "snap-error.h"
#include "snap-restore.h"
#include "snap-target.h"

typedef struct Disk {
    const char *path;  /* a further image; NULL: the one with the VM state */
    SnapTarget target; /* of a further one */
    BlockFile *file;
    Qcow2Change *apply;
} Disk;

struct SnapRestore {
    GArray *disks; /* of Disk, in the order in which they change */
};

/*
 * An incoming QEMU has opened its disks long ago. It reads their metadata again
 * when it takes them over, but not all of its devices ask again how large they
 * are.
 */
static bool check_size(const Qcow2Image *image, const Qcow2Snapshot *snapshot,
                       GError **errp)
{
    uint64_t size = qcow2_header(image)->size;

    if (snapshot->disk_size == round_down(size, 512)) {
        return true;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                "the disk of snapshot '%s' has %" PRIu64 " bytes, not %" PRIu64
                " as now, which QEMU must know when it starts: use `qemu-snap "
                "apply' before, and no --apply",
                snapshot->name, snapshot->disk_size, size);
    return false;
}

static bool coroutine_fn prepare(Disk *disk, const SnapImage *image,
                                 const Qcow2Snapshot *snapshot, GError **errp)
{
    if (!check_size(image->qcow2, snapshot, errp)) {
        return false;
    }
    disk->file = image->file;
    disk->apply = qcow2_apply_begin(image->qcow2, snapshot, errp);
    return disk->apply && qcow2_change_reserve(disk->apply, errp);
}

static bool coroutine_fn open_further(const SnapOptions *options, Disk *disk,
                                      const char *name, GError **errp)
{
    SnapOptions further = *options;
    const SnapImage *image = &disk->target.image;
    const Qcow2Snapshot *snapshot;

    further.image = disk->path;
    further.name = name;
    if (!snap_target_open(&further, &disk->target, errp)) {
        return false;
    }
    if (options->no_discard) {
        qcow2_keep_freed(image->qcow2);
    }
    snapshot = snap_choose_one(&further, image->qcow2, errp);
    return snapshot && prepare(disk, image, snapshot, errp);
}

static bool coroutine_fn prepare_further(const SnapOptions *options,
                                         SnapRestore *restore, const char *name,
                                         GError **errp)
{
    guint i;

    for (i = 0; options->with && i < options->with->len; i++) {
        Disk *disk = &g_array_index(restore->disks, Disk, i);

        disk->path = g_ptr_array_index(options->with, i);
        if (!open_further(options, disk, name, errp)) {
            g_prefix_error(errp, "%s: ", disk->path);
            return false;
        }
    }
    return true;
}

SnapRestore *coroutine_fn snap_restore_begin(const SnapOptions *options,
                                             const SnapImage *image,
                                             const Qcow2Snapshot *snapshot,
                                             GError **errp)
{
    SnapRestore *restore = g_new0(SnapRestore, 1);
    guint further = options->with ? options->with->len : 0;

    restore->disks = g_array_new(FALSE, TRUE, sizeof(Disk));
    g_array_set_size(restore->disks, further + 1);
    if (!prepare(&g_array_index(restore->disks, Disk, further), image, snapshot,
                 errp) ||
        !prepare_further(options, restore, snapshot->name, errp)) {
        snap_restore_end(restore);
        return NULL;
    }
    return restore;
}

bool coroutine_fn snap_restore_commit(SnapRestore *restore, GError **errp)
{
    guint i;

    for (i = 0; i < restore->disks->len; i++) {
        Disk *disk = &g_array_index(restore->disks, Disk, i);

        if (!qcow2_change_commit(disk->apply, errp)) {
            if (disk->path) {
                g_prefix_error(errp, "%s: ", disk->path);
            }
            return false;
        }
    }
    for (i = 0; i < restore->disks->len; i++) {
        (void)block_file_lock(g_array_index(restore->disks, Disk, i).file,
                              BLOCK_FILE_LOCK_NONE, NULL);
    }
    return true;
}

unsigned snap_restore_applied(const SnapRestore *restore)
{
    unsigned applied = 0;
    guint i;

    for (i = 0; i < restore->disks->len; i++) {
        applied += qcow2_change_may_be_committed(
            g_array_index(restore->disks, Disk, i).apply);
    }
    return applied;
}

void coroutine_fn snap_restore_end(SnapRestore *restore)
{
    guint i;

    if (!restore) {
        return;
    }
    for (i = 0; i < restore->disks->len; i++) {
        Disk *disk = &g_array_index(restore->disks, Disk, i);

        qcow2_change_end(disk->apply);
        snap_image_close(&disk->target.image);
    }
    g_array_unref(restore->disks);
    g_free(restore);
}
