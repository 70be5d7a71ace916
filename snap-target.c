/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Getting hold of the image that a save goes into.
 */
#include <stdlib.h>
#include <unistd.h>

#include "checked.h"
#include "event-loop.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"
#include "snap-target.h"
#include "temporary-file.h"

/* Large clusters keep the tables of a state container small. */
#define CONTAINER_CLUSTER_BITS 20

#define IMAGE_MODE 0644

/*
 * An image may come and go again between looking for it and making it, but
 * hardly so often. A symbolic link that leads nowhere is both, for ever.
 */
#define ATTEMPTS 3

/* How often somebody is asked whether the lock is free: a person is slower. */
#define POLL_MS 20

/* A look at an image that changes may fail; but hardly so often in a row. */
#define GLANCES 3

static BlockFile *open_file(const SnapOptions *options, const char *path,
                            GError **errp)
{
    HostFileOptions file_options = {
        .writable = true,
        .cache = options->cache,
        .aio = options->aio,
        .trace = options->trace,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };

    return host_file_open(path, &file_options, errp);
}

/*
 * Others may want to make the same image in this moment. So it has no name
 * until it is a whole one, and locked.
 */
static bool coroutine_fn create_image(const SnapOptions *options,
                                      SnapTarget *target, GError **errp)
{
    g_autofree char *directory = g_path_get_dirname(options->image);
    g_autofree char *name = g_path_get_basename(options->image);
    g_autoptr(TemporaryFile) temporary = temporary_file_new(directory, errp);

    if (!temporary) {
        return false;
    }
    target->image.file =
        open_file(options, temporary_file_path(temporary), errp);
    target->created = target->image.file &&
                      qcow2_create(target->image.file, options->size,
                                   CONTAINER_CLUSTER_BITS, errp) &&
                      temporary_file_publish(temporary, name, IMAGE_MODE, errp);
    if (!target->created) {
        snap_image_close(&target->image);
    }
    return target->created;
}

static bool coroutine_fn open_or_create(const SnapOptions *options,
                                        SnapTarget *target, GError **errp)
{
    GError *error = NULL;
    unsigned i;

    for (i = 1; i <= ATTEMPTS; i++) {
        g_clear_error(&error);
        target->image.file = open_file(options, options->image, &error);
        if (target->image.file) {
            return true;
        }
        if (!options->create ||
            !g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
            break;
        }
        g_clear_error(&error);
        if (create_image(options, target, &error)) {
            return true;
        }
        /* Somebody else was faster, and has it. */
        if (!g_error_matches(error, SNAP_ERROR, SNAP_ERROR_EXISTS)) {
            break;
        }
    }
    g_propagate_error(errp, error);
    return false;
}

bool coroutine_fn snap_target_open(const SnapOptions *options,
                                   SnapTarget *target, GError **errp)
{
    if (!open_or_create(options, target, errp)) {
        return false;
    }
    target->image.qcow2 = qcow2_open_writable(target->image.file, errp);
    return target->image.qcow2 != NULL;
}

static bool is_over(unsigned seconds, gint64 since)
{
    return seconds != SNAP_WAIT_FOR_EVER &&
           g_get_monotonic_time() - since >= seconds * G_TIME_SPAN_SECOND;
}

bool coroutine_fn snap_target_wait(const SnapOptions *options, SnapWait *wait,
                                   SnapTarget *target, GError **errp)
{
    gint64 start = g_get_monotonic_time();
    GError *error = NULL;

    wait->since = wait->since ? wait->since : start;
    while (!snap_target_open(options, target, &error)) {
        if (!g_error_matches(error, SNAP_ERROR, SNAP_ERROR_LOCKED) ||
            is_over(options->wait_lock, wait->since)) {
            g_propagate_error(errp, error);
            return false;
        }
        g_clear_error(&error);
        event_loop_sleep(POLL_MS);
        if (interrupt_signal(wait->interrupt)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED,
                        "interrupted while the image was locked");
            return false;
        }
    }
    trace_event(options->trace, "snap_target_wait", "ms=%" G_GINT64_FORMAT,
                (g_get_monotonic_time() - start) / G_TIME_SPAN_MILLISECOND);
    return true;
}

void snap_target_close(const SnapOptions *options, SnapTarget *target,
                       bool keep)
{
    if (target->created && !keep) {
        unlink(options->image);
    }
    target->created = false;
    snap_image_close(&target->image);
}

/*
 * What savevm calls a snapshot without a name; with a number behind it when
 * that is taken, because a second is long enough for two saves.
 */
static char *default_name(const Qcow2Image *image)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *stem = g_date_time_format(now, "vm-%Y%m%d%H%M%S");
    char *name = g_strdup(stem);
    unsigned i;

    for (i = 2; qcow2_find_snapshot(image, name); i++) {
        g_free(name);
        name = g_strdup_printf("%s-%u", stem, i);
    }
    return name;
}

char *snap_target_new_name(const SnapOptions *options, const Qcow2Image *image)
{
    return options->name ? g_strdup(options->name) : default_name(image);
}

/*
 * A guest whose refcounts are lazy has its image marked dirty for as long as it
 * runs; QEMU takes the mark away before it gives up the lock.
 */
static bool check_features(const Qcow2Image *image, GError **errp)
{
    bool dirty = qcow2_header(image)->incompatible_features &
                 QCOW2_INCOMPATIBLE_DIRTY;

    return dirty ? qcow2_check_readable(image, errp)
                 : qcow2_check_writable(image, errp);
}

static bool take_in(const SnapOptions *options, const SnapImage *image,
                    SnapGlance *glance, GError **errp)
{
    const Qcow2Header *header = qcow2_header(image->qcow2);
    int64_t bytes = block_file_size(image->file);
    const Qcow2Snapshot *old;
    uint64_t l2_tables;

    if (bytes < 0) {
        snap_error_set_errno(errp, bytes, "cannot get the file size");
        return false;
    }
    glance->name = snap_target_new_name(options, image->qcow2);
    if (!check_features(image->qcow2, errp) ||
        !snap_choose_replaced(options, image->qcow2, glance->name, &old,
                              errp) ||
        !qcow2_check_new_name(image->qcow2, glance->name, old, errp)) {
        return false;
    }
    glance->grows = !image->file->fixed_size;
    glance->cluster_bytes = 1ULL << header->cluster_bits;
    glance->image_bytes = bytes;
    l2_tables = MIN(header->l1_size, bytes >> header->cluster_bits);
    glance->table_bytes = l2_tables << header->cluster_bits;
    return true;
}

static bool coroutine_fn open_unlocked(const SnapOptions *options,
                                       SnapImage *image, GError **errp)
{
    SnapOptions unlocked = *options;

    unlocked.force_share = true;
    return snap_image_open(&unlocked, HOST_FILE_CACHE_WRITEBACK, image, errp);
}

bool coroutine_fn snap_target_glance(const SnapOptions *options,
                                     SnapGlance *glance, GError **errp)
{
    g_autofree char *path = realpath(options->image, NULL);
    SnapImage image = { 0 };
    bool good;
    unsigned i;

    for (i = 1; !open_unlocked(options, &image, i < GLANCES ? NULL : errp);
         i++) {
        if (i == GLANCES) {
            return false;
        }
        event_loop_sleep(POLL_MS);
    }
    glance->path = g_strdup(path ? path : options->image);
    good = take_in(options, &image, glance, errp);
    snap_image_close(&image);
    return good;
}

void snap_glance_clear(SnapGlance *glance)
{
    g_clear_pointer(&glance->path, g_free);
    g_clear_pointer(&glance->name, g_free);
}

/*
 * An upper bound for what a save writes besides: of each cluster of the image
 * and of the VM state there may be an L2 entry of 16 bytes and a refcount of 8,
 * an eighth more for tables of these, and a dozen tables are rounded up.
 */
#define METADATA_PER_CLUSTER 28
#define MORE_CLUSTERS        24

uint64_t snap_glance_growth(const SnapGlance *glance, uint64_t bytes)
{
    uint64_t clusters =
        div_round_up(glance->image_bytes + bytes, glance->cluster_bytes);

    return bytes + glance->table_bytes + clusters * METADATA_PER_CLUSTER +
           MORE_CLUSTERS * glance->cluster_bytes;
}
