/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-together.h.
 */
#include <inttypes.h>

#include "checked.h"
#include "snap-error.h"
#include "snap-together.h"
#include "snap-target.h"

typedef struct Disk {
    const char *path;  /* a further image; NULL: the one of the options */
    SnapTarget target; /* of a further one */
    BlockFile *file;
    Qcow2Change *change;
    bool first; /* before those that are not */
} Disk;

struct SnapTogether {
    SnapTogetherKind kind;
    GArray *disks; /* of Disk, in the order in which they change */
};

static Disk *disk_at(const SnapTogether *together, guint i)
{
    return &g_array_index(together->disks, Disk, i);
}

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

static Qcow2Change *coroutine_fn begin_change(SnapTogetherKind kind,
                                              Qcow2Image *image,
                                              const Qcow2Snapshot *snapshot,
                                              GError **errp)
{
    if (kind == SNAP_TOGETHER_DELETE) {
        return qcow2_delete_begin(image, snapshot, errp);
    }
    if (kind == SNAP_TOGETHER_LOAD && !check_size(image, snapshot, errp)) {
        return NULL;
    }
    return qcow2_apply_begin(image, snapshot, errp);
}

/*
 * Space is taken ahead so that a full disk stops nothing half-way; an image
 * that changes alone needs no more than it uses.
 */
static bool coroutine_fn prepare(const SnapTogether *together, Disk *disk,
                                 const SnapImage *image,
                                 const Qcow2Snapshot *snapshot, GError **errp)
{
    bool alone = together->disks->len == 1 &&
                 together->kind != SNAP_TOGETHER_LOAD;

    disk->file = image->file;
    disk->first = together->kind == SNAP_TOGETHER_DELETE &&
                  snapshot->vm_state_size > 0;
    disk->change = begin_change(together->kind, image->qcow2, snapshot, errp);
    return disk->change && (alone || qcow2_change_reserve(disk->change, errp));
}

static bool coroutine_fn open_further(const SnapOptions *options, Disk *disk,
                                      GError **errp)
{
    SnapOptions further = *options;

    further.image = disk->path;
    if (!snap_target_open(&further, &disk->target, errp)) {
        return false;
    }
    if (options->no_discard) {
        qcow2_keep_freed(disk->target.image.qcow2);
    }
    return true;
}

static bool coroutine_fn prepare_further(const SnapOptions *options,
                                         const SnapTogether *together,
                                         Disk *disk, const char *name,
                                         GError **errp)
{
    const SnapImage *image = &disk->target.image;
    const Qcow2Snapshot *snapshot;

    if (!open_further(options, disk, errp)) {
        return false;
    }
    snapshot = snap_choose_called(image->qcow2, name, errp);
    return snapshot && prepare(together, disk, image, snapshot, errp);
}

static bool coroutine_fn prepare_all(const SnapOptions *options,
                                     const SnapTogether *together,
                                     const SnapImage *image,
                                     const Qcow2Snapshot *snapshot,
                                     GError **errp)
{
    guint further = together->disks->len - 1;
    guint i;

    if (!prepare(together, disk_at(together, further), image, snapshot, errp)) {
        return false;
    }
    for (i = 0; i < further; i++) {
        Disk *disk = disk_at(together, i);

        disk->path = g_ptr_array_index(options->with, i);
        if (!prepare_further(options, together, disk, snapshot->name, errp)) {
            g_prefix_error(errp, "%s: ", disk->path);
            return false;
        }
    }
    return true;
}

SnapTogether *coroutine_fn snap_together_begin(const SnapOptions *options,
                                               SnapTogetherKind kind,
                                               const SnapImage *image,
                                               const Qcow2Snapshot *snapshot,
                                               GError **errp)
{
    SnapTogether *together = g_new0(SnapTogether, 1);

    together->kind = kind;
    together->disks = g_array_new(FALSE, TRUE, sizeof(Disk));
    g_array_set_size(together->disks,
                     1 + (options->with ? options->with->len : 0));
    if (!prepare_all(options, together, image, snapshot, errp)) {
        snap_together_end(together);
        return NULL;
    }
    return together;
}

/* Those that come first, or the others. */
static bool coroutine_fn commit(SnapTogether *together, bool first,
                                GError **errp)
{
    guint i;

    for (i = 0; i < together->disks->len; i++) {
        Disk *disk = disk_at(together, i);

        if (disk->first == first && !qcow2_change_commit(disk->change, errp)) {
            if (disk->path) {
                g_prefix_error(errp, "%s: ", disk->path);
            }
            return false;
        }
    }
    return true;
}

bool coroutine_fn snap_together_commit(SnapTogether *together, GError **errp)
{
    guint i;

    if (!commit(together, true, errp) || !commit(together, false, errp)) {
        return false;
    }
    for (i = 0; i < together->disks->len; i++) {
        (void)block_file_lock(disk_at(together, i)->file, BLOCK_FILE_LOCK_NONE,
                              NULL);
    }
    return true;
}

unsigned snap_together_changed(const SnapTogether *together)
{
    unsigned changed = 0;
    guint i;

    for (i = 0; i < together->disks->len; i++) {
        changed += qcow2_change_may_be_committed(disk_at(together, i)->change);
    }
    return changed;
}

void snap_together_explain(const SnapTogether *together, GError **errp)
{
    static const char *const words[] = {
        [SNAP_TOGETHER_LOAD] = "went back to the snapshot",
        [SNAP_TOGETHER_APPLY] = "went back to the snapshot",
        [SNAP_TOGETHER_DELETE] = "have lost it",
    };
    unsigned changed = snap_together_changed(together);

    if (changed > 0) {
        snap_error_append(errp, "; %u of %u disks %s", changed,
                          together->disks->len, words[together->kind]);
    }
}

void coroutine_fn snap_together_end(SnapTogether *together)
{
    guint i;

    if (!together) {
        return;
    }
    for (i = 0; i < together->disks->len; i++) {
        Disk *disk = disk_at(together, i);

        qcow2_change_end(disk->change);
        snap_image_close(&disk->target.image);
    }
    g_array_unref(together->disks);
    g_free(together);
}
