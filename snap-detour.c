/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A detour: what is known of the image without its lock, and the spool.
 *
 * At the end of the stream QEMU believes that its machine is saved. So a stream
 * that is complete is never thrown away, whatever stands in its way then.
 */
#include <stdlib.h>

#include "snap-detour.h"
#include "snap-error.h"
#include "snap-internal.h"
#include "snap-spool.h"
#include "snap-target.h"

struct SnapDetour {
    const SnapOptions *options;
    SnapGlance glance;
    SnapSpool *spool;
};

/*
 * Beside the image, where it may be cloned from. The directory of a device is
 * not for files.
 */
static char *choose_directory(const SnapDetour *detour, const char *beside)
{
    const char *directory = detour->options->spool_dir;
    g_autofree char *path = NULL;

    if (!directory && detour->glance.grows) {
        directory = beside;
    } else if (!directory) {
        directory = g_getenv("TMPDIR") ? g_getenv("TMPDIR") : "/var/tmp";
    }
    /* Whoever reads the name of what is kept may stand elsewhere. */
    path = realpath(directory, NULL);
    return g_strdup(path ? path : directory);
}

static bool coroutine_fn make_spool(SnapDetour *detour, GError **errp)
{
    const SnapOptions *options = detour->options;
    g_autofree char *beside = g_path_get_dirname(detour->glance.path);
    g_autofree char *directory = choose_directory(detour, beside);
    SnapSpoolOptions spool_options = {
        .directory = directory,
        .room_directory = detour->glance.grows ? beside : NULL,
        .clone_unit = detour->glance.cluster_bytes,
        .cache = options->cache,
        .aio = options->aio,
        .trace = options->trace,
    };

    detour->spool = snap_spool_new(&spool_options, errp);
    return detour->spool && snap_detour_reserve(detour, 0, errp);
}

SnapDetour *coroutine_fn snap_detour_new(const SnapOptions *options,
                                         GError **errp)
{
    SnapDetour *detour = g_new0(SnapDetour, 1);

    detour->options = options;
    if (!snap_target_glance(options, &detour->glance, errp) ||
        !make_spool(detour, errp)) {
        snap_detour_free(detour);
        return NULL;
    }
    return detour;
}

bool coroutine_fn snap_detour_reserve(SnapDetour *detour, uint64_t end,
                                      GError **errp)
{
    return snap_spool_reserve(detour->spool, end,
                              snap_glance_growth(&detour->glance, end), errp);
}

bool coroutine_fn snap_detour_store(SnapDetour *detour, uint64_t position,
                                    const uint8_t *data, size_t bytes,
                                    GError **errp)
{
    return snap_spool_store(detour->spool, position, data, bytes, errp);
}

bool coroutine_fn snap_detour_make_stable(SnapDetour *detour, GError **errp)
{
    /* A clone is these very bytes. A copy is made stable when it is made. */
    return !snap_spool_clones(detour->spool) ||
           snap_spool_flush(detour->spool, errp);
}

void coroutine_fn snap_detour_arrive(SnapDetour *detour, uint64_t bytes)
{
    snap_spool_free_room(detour->spool, bytes);
}

typedef struct MoveIn {
    Qcow2SnapshotWriter *writer;
    const Interrupt *interrupt;
} MoveIn;

static bool coroutine_fn move_reserve(void *opaque, uint64_t end, GError **errp)
{
    const MoveIn *move = opaque;

    return qcow2_snapshot_writer_reserve(move->writer, end, errp);
}

static bool coroutine_fn move_store(void *opaque, uint64_t position,
                                    const uint8_t *data, size_t bytes,
                                    GError **errp)
{
    const MoveIn *move = opaque;

    return qcow2_snapshot_writer_pwrite(move->writer, position, data, bytes,
                                        errp);
}

static bool coroutine_fn move_clone(void *opaque, uint64_t position,
                                    BlockFile *source, uint64_t bytes,
                                    GError **errp)
{
    const MoveIn *move = opaque;

    return qcow2_snapshot_writer_clone(move->writer, position, source, position,
                                       bytes, errp);
}

static bool move_is_cancelled(void *opaque, GError **errp)
{
    const MoveIn *move = opaque;

    if (!interrupt_signal(move->interrupt)) {
        return false;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED, "interrupted");
    return true;
}

bool coroutine_fn snap_detour_move(SnapDetour *detour, uint64_t bytes,
                                   Qcow2SnapshotWriter *writer,
                                   const Interrupt *interrupt, GError **errp)
{
    g_autoptr(AioBufferPool)
        pool = snap_ring_new(detour->options->depth, SNAP_BUFFER_BYTES, errp);
    MoveIn move = { .writer = writer, .interrupt = interrupt };
    SnapSpoolSink sink = {
        .reserve = move_reserve,
        .store = move_store,
        .clone = move_clone,
        .is_cancelled = move_is_cancelled,
        .unit = QCOW2_VMSTATE_UNIT,
        .opaque = &move,
    };

    return pool && snap_spool_move(detour->spool, pool, bytes, &sink, errp);
}

/* A name for the file of the stream, by which one sees where it belongs. */
static char *name_of_kept(const SnapGlance *glance)
{
    g_autofree char *image = g_path_get_basename(glance->path);
    g_autofree char *name = g_strdelimit(g_strdup(glance->name), "/", '_');

    /* Together they may be longer than names of files can be. */
    return g_strdup_printf("%.110s.%.110s.qemu-snap-stream", image, name);
}

/* What finishes the job, for a shell. */
static char *command_for_kept(const SnapDetour *detour, const char *path)
{
    g_autofree char *image = g_shell_quote(detour->glance.path);
    g_autofree char *name = g_shell_quote(detour->glance.name);
    g_autofree char *stream = g_shell_quote(path);
    const GPtrArray *others = detour->options->with;
    g_autoptr(GString) with = g_string_new(NULL);
    guint i;

    for (i = 0; others && i < others->len; i++) {
        const char *given = g_ptr_array_index(others, i);
        g_autofree char *absolute = realpath(given, NULL);
        g_autofree char *other = g_shell_quote(absolute ? absolute : given);

        g_string_append_printf(with, " --with %s", other);
    }
    return g_strdup_printf("qemu-snap save %s-n %s%s %s < %s",
                           detour->options->raw        ? "--raw "
                           : detour->options->no_index ? "--no-index "
                                                       : "",
                           name, with->str, image, stream);
}

bool coroutine_fn snap_detour_keep(SnapDetour *detour, uint64_t bytes,
                                   GError **errp)
{
    g_autofree char *name = name_of_kept(&detour->glance);
    g_autoptr(GError) lost = NULL;
    g_autofree char *path = snap_spool_keep(detour->spool, bytes, name, &lost);

    if (path) {
        g_autofree char *command = command_for_kept(detour, path);

        snap_error_append(errp,
                          "; the stream is kept in '%s', this will save it: %s",
                          path, command);
    } else {
        snap_error_append(errp, "; the stream is lost: %s", lost->message);
    }
    return path != NULL;
}

void snap_detour_free(SnapDetour *detour)
{
    if (detour) {
        snap_spool_free(detour->spool);
        snap_glance_clear(&detour->glance);
        g_free(detour);
    }
}
