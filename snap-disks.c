/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-disks.h.
 */
#include <sys/stat.h>

#include "snap-disks.h"
#include "snap-error.h"

typedef struct Disk {
    SnapOptions options; /* those of the command, for this image */
    SnapTarget target;
    Qcow2SnapshotWriter *writer;
    char *id; /* of a snapshot that may have been committed; or NULL */
} Disk;

struct SnapDisks {
    GArray *disks; /* of Disk */
};

static Disk *disk_at(const SnapDisks *disks, guint i)
{
    return &g_array_index(disks->disks, Disk, i);
}

static bool is_same(const struct stat *status, const struct stat *other)
{
    if (S_ISBLK(status->st_mode) && S_ISBLK(other->st_mode)) {
        return status->st_rdev == other->st_rdev;
    }
    return status->st_dev == other->st_dev && status->st_ino == other->st_ino;
}

bool snap_check_distinct(const SnapOptions *options, GError **errp)
{
    guint count = options->with ? options->with->len : 0;
    g_autofree struct stat *seen = g_new(struct stat, count + 1);
    guint length = stat(options->image, seen) == 0;
    guint i;
    guint j;

    for (i = 0; i < count; i++) {
        const char *path = g_ptr_array_index(options->with, i);

        /* What is missing is an error of whoever opens it. */
        if (stat(path, &seen[length]) < 0) {
            continue;
        }
        for (j = 0; j < length; j++) {
            if (is_same(&seen[j], &seen[length])) {
                g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                            "--with=%s: this image is given twice", path);
                return false;
            }
        }
        length++;
    }
    return true;
}

bool snap_disks_check(const SnapOptions *options, GError **errp)
{
    if (options->with && options->replace) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--with does not go with --replace, which cannot be taken "
                    "back when another image fails");
        return false;
    }
    return snap_check_distinct(options, errp);
}

SnapDisks *snap_disks_new(const SnapOptions *options)
{
    SnapDisks *disks = g_new0(SnapDisks, 1);
    guint i;

    disks->disks = g_array_new(FALSE, TRUE, sizeof(Disk));
    for (i = 0; options->with && i < options->with->len; i++) {
        Disk disk = { .options = *options };

        disk.options.image = g_ptr_array_index(options->with, i);
        disk.options.create = false;
        g_array_append_val(disks->disks, disk);
    }
    return disks;
}

static void name_image(const Disk *disk, GError **errp)
{
    g_prefix_error(errp, "%s: ", disk->options.image);
}

bool coroutine_fn snap_disks_glance(const SnapDisks *disks, GError **errp)
{
    guint i;

    for (i = 0; i < disks->disks->len; i++) {
        const Disk *disk = disk_at(disks, i);
        SnapGlance glance = { 0 };
        bool good = snap_target_glance(&disk->options, &glance, errp);

        snap_glance_clear(&glance);
        if (!good) {
            name_image(disk, errp);
            return false;
        }
    }
    return true;
}

static bool coroutine_fn begin(Disk *disk, const char *name, SnapWait *wait,
                               GError **errp)
{
    const SnapImage *image = &disk->target.image;
    bool opened =
        wait ? snap_target_wait(&disk->options, wait, &disk->target, errp)
             : snap_target_open(&disk->options, &disk->target, errp);

    if (!opened) {
        return false;
    }
    disk->writer = qcow2_snapshot_writer_begin(image->qcow2, name, NULL, errp);
    return disk->writer && qcow2_snapshot_writer_reserve(disk->writer, 0, errp);
}

bool coroutine_fn snap_disks_begin(SnapDisks *disks, const char *name,
                                   SnapWait *wait, GError **errp)
{
    guint i;

    for (i = 0; i < disks->disks->len; i++) {
        Disk *disk = disk_at(disks, i);

        if (!begin(disk, name, wait, errp)) {
            name_image(disk, errp);
            snap_disks_close(disks);
            return false;
        }
    }
    return true;
}

static bool coroutine_fn commit(Disk *disk, const Qcow2SnapshotStamp *stamp,
                                GError **errp)
{
    bool committed = qcow2_snapshot_writer_commit(disk->writer, stamp, errp);

    if (qcow2_snapshot_writer_may_be_committed(disk->writer)) {
        disk->id = g_strdup(qcow2_snapshot_writer_id(disk->writer));
    }
    return committed;
}

static bool coroutine_fn commit_all(SnapDisks *disks,
                                    const Qcow2SnapshotStamp *stamp,
                                    GError **errp)
{
    guint i;

    for (i = 0; i < disks->disks->len; i++) {
        Disk *disk = disk_at(disks, i);

        if (!commit(disk, stamp, errp)) {
            name_image(disk, errp);
            return false;
        }
    }
    return true;
}

/* The lock was held all the time, so the ID is still that of our snapshot. */
static bool coroutine_fn take_back(Disk *disk, GError **errp)
{
    g_autoptr(Qcow2Image) image = NULL;
    const Qcow2Snapshot *snapshot;

    g_clear_pointer(&disk->writer, qcow2_snapshot_writer_end);
    image = qcow2_open(disk->target.image.file, errp);
    if (!image) {
        return false;
    }
    snapshot = qcow2_find_snapshot(image, disk->id);
    return !snapshot || qcow2_snapshot_delete(image, snapshot, errp);
}

static void coroutine_fn take_back_all(SnapDisks *disks, GError **errp)
{
    guint i;

    for (i = 0; i < disks->disks->len; i++) {
        Disk *disk = disk_at(disks, i);
        g_autoptr(GError) error = NULL;

        if (disk->id && !take_back(disk, &error)) {
            snap_error_append(errp, "; '%s' keeps snapshot %s: %s",
                              disk->options.image, disk->id, error->message);
        }
        g_clear_pointer(&disk->id, g_free);
    }
}

bool coroutine_fn snap_disks_commit(SnapDisks *disks,
                                    Qcow2SnapshotWriter *writer,
                                    const Qcow2SnapshotStamp *stamp,
                                    GError **errp)
{
    Qcow2SnapshotStamp without = *stamp;

    without.vm_state_size = 0;
    if (commit_all(disks, &without, errp) &&
        qcow2_snapshot_writer_commit(writer, stamp, errp)) {
        return true;
    }
    if (!qcow2_snapshot_writer_may_be_committed(writer)) {
        take_back_all(disks, errp);
    }
    return false;
}

void coroutine_fn snap_disks_close(SnapDisks *disks)
{
    guint i;

    for (i = 0; i < disks->disks->len; i++) {
        Disk *disk = disk_at(disks, i);

        g_clear_pointer(&disk->writer, qcow2_snapshot_writer_end);
        snap_target_close(&disk->options, &disk->target, true);
        g_clear_pointer(&disk->id, g_free);
    }
}

void snap_disks_free(SnapDisks *disks)
{
    if (disks) {
        g_array_unref(disks->disks);
        g_free(disks);
    }
}
