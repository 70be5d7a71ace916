/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * save: the stream on standard input becomes the VM state of a new snapshot.
 *
 * QEMU does not look at our exit status, and its main loop stands still from
 * the end of the stream until we are gone. So what can fail is tried before
 * the stream is taken, disk space is taken ahead, the data is made stable when
 * the device part begins (what is left then is small), and the pipe is made
 * narrow, so that a QEMU with something left to write notices if we give up.
 * Nothing is committed unless the stream is complete.
 */
#include <inttypes.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>

#include "interrupt.h"
#include "progress.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"
#include "snap-internal.h"

/* Large clusters keep the tables of a state container small. */
#define CONTAINER_CLUSTER_BITS 20

typedef struct Save {
    const SnapOptions *options;
    PipeEnd *from;
    SnapImage image;
    bool created; /* the image did not exist before */
    Qcow2SnapshotWriter *writer;
    MigrationReader *reader;
    Progress *progress;
    bool device_part; /* the device part of the stream has begun */
} Save;

static BlockFile *open_file(const SnapOptions *options, bool create,
                            GError **errp)
{
    HostFileOptions file_options = {
        .writable = true,
        .create = create,
        .cache = options->cache,
        .aio = options->aio,
        .trace = options->trace,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };

    return host_file_open(options->image, &file_options, errp);
}

static bool coroutine_fn create_image(Save *save, GError **errp)
{
    save->image.file = open_file(save->options, true, errp);
    if (!save->image.file) {
        return false;
    }
    save->created = true;
    return qcow2_create(save->image.file, save->options->size,
                        CONTAINER_CLUSTER_BITS, errp);
}

static bool coroutine_fn open_image(Save *save, GError **errp)
{
    g_autoptr(GError) error = NULL;

    save->image.file = open_file(save->options, false, &error);
    if (!save->image.file) {
        if (!g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND) ||
            !save->options->create) {
            g_propagate_error(errp, g_steal_pointer(&error));
            return false;
        }
        if (!create_image(save, errp)) {
            return false;
        }
    }
    save->image.qcow2 = qcow2_open(save->image.file, errp);
    return save->image.qcow2 != NULL;
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

static bool coroutine_fn begin(Save *save, SnapResult *result, GError **errp)
{
    g_autofree char *name = NULL;

    if (!open_image(save, errp)) {
        return false;
    }
    name = save->options->name ? g_strdup(save->options->name)
                               : default_name(save->image.qcow2);
    save->writer = qcow2_snapshot_writer_begin(save->image.qcow2, name, errp);
    if (!save->writer) {
        return false;
    }
    if (qcow2_header(save->image.qcow2)->bitmap_count) {
        g_ptr_array_add(result->warnings,
                        g_strdup("the image has persistent dirty bitmaps: "
                                 "QEMU will refuse to load the snapshot until "
                                 "they are removed"));
    }
    return true;
}

/*
 * The device part begins: do now what takes time. Its first bytes may be all
 * there is, but what was written before is the bulk.
 */
static bool coroutine_fn make_data_stable(Save *save, GError **errp)
{
    int ret;

    if (save->device_part) {
        return true;
    }
    save->device_part = true;
    ret = block_file_flush(save->image.file);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make the VM state stable");
        return false;
    }
    return true;
}

static bool coroutine_fn take(void *opaque, const uint8_t *data, size_t bytes,
                              bool *end, GError **errp)
{
    Save *save = opaque;
    MigrationPhase phase;

    progress_advance(save->progress, bytes);
    if (save->options->raw) {
        return true;
    }
    if (!migration_reader_feed(save->reader, data, bytes, errp)) {
        return false;
    }
    phase = migration_reader_phase(save->reader);
    if (phase >= MIGRATION_PHASE_DEVICES) {
        pipe_end_narrow(save->from);
        if (!make_data_stable(save, errp)) {
            return false;
        }
    }
    /* A source that waits for our answer does not close the pipe before. */
    *end = phase == MIGRATION_PHASE_COMPLETE &&
           migration_reader_info(save->reader)->return_path;
    return true;
}

/*
 * A source that waits for our answer keeps the pipe open. Without a device
 * description only its silence tells that its end marker was the end.
 */
static bool may_end(void *opaque)
{
    const Save *save = opaque;

    return !save->options->raw &&
           migration_reader_info(save->reader)->return_path &&
           migration_reader_may_end(save->reader);
}

static bool coroutine_fn reserve(void *opaque, uint64_t end, GError **errp)
{
    Save *save = opaque;

    return qcow2_snapshot_writer_reserve(save->writer, end, errp);
}

static bool coroutine_fn store(void *opaque, uint64_t position,
                               const uint8_t *data, size_t bytes, GError **errp)
{
    Save *save = opaque;

    return qcow2_snapshot_writer_pwrite(save->writer, position, data, bytes,
                                        errp);
}

static bool coroutine_fn take_stream(Save *save, uint64_t *bytes, GError **errp)
{
    g_autoptr(AioBufferPool) pool = NULL;
    SnapInlet inlet = {
        .take = take,
        .may_end = may_end,
        .reserve = reserve,
        .store = store,
        .unit = QCOW2_VMSTATE_UNIT,
        .opaque = save,
    };

    pool = snap_ring_new(save->options->depth, SNAP_BUFFER_BYTES, errp);
    if (!pool || !snap_pump_in(pool, save->from, &inlet, bytes, errp)) {
        return false;
    }
    trace_event(save->options->trace, "snap_stream_in",
                "bytes=%" PRIu64 " buffers=%u", *bytes,
                aio_buffer_pool_depth(pool));
    return true;
}

static bool coroutine_fn commit(Save *save, uint64_t bytes, GError **errp)
{
    const MigrationInfo *info = migration_reader_info(save->reader);
    Qcow2SnapshotStamp stamp = { .vm_state_size = bytes };
    struct timespec now;

    if (!save->options->raw) {
        if (!migration_reader_finish(save->reader, errp)) {
            g_prefix_error(errp, "nothing was saved: ");
            return false;
        }
        stamp.vm_state_size = info->stream_bytes;
        stamp.vm_clock_nsec = info->vm_clock_known ? info->vm_clock_ns : 0;
    }
    if (stamp.vm_state_size == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "nothing was saved: standard input is empty");
        return false;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    stamp.date_sec = now.tv_sec;
    stamp.date_nsec = now.tv_nsec;
    return qcow2_snapshot_writer_commit(save->writer, &stamp, errp);
}

/* Tell a source that asked for a return path how it went (SHUT). */
static void answer(const Save *save, bool saved)
{
    static const uint8_t good[] = { 0, 1, 0, 4, 0, 0, 0, 0 };
    static const uint8_t bad[] = { 0, 1, 0, 4, 0, 0, 0, 1 };
    struct stat status;

    if (!migration_reader_info(save->reader)->return_path ||
        fstat(STDOUT_FILENO, &status) < 0 ||
        (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode))) {
        return;
    }
    /* With nobody there any more, nobody misses it. */
    if (write(STDOUT_FILENO, saved ? good : bad, sizeof(good)) < 0) {
        return;
    }
}

static void cancel(void *opaque)
{
    pipe_end_cancel(opaque);
}

/*
 * Close the image; a snapshot that was not committed leaves no trace. But an
 * image that may hold the state is kept, also when saying so failed.
 */
static void coroutine_fn close_image(Save *save)
{
    bool keep = save->writer &&
                qcow2_snapshot_writer_may_be_committed(save->writer);

    qcow2_snapshot_writer_end(save->writer);
    if (save->created && !keep) {
        unlink(save->options->image);
    }
    snap_image_close(&save->image);
}

bool coroutine_fn snap_save(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    g_autoptr(PipeEnd) from = NULL;
    g_autoptr(Interrupt) interrupt = NULL;
    Save save = { .options = options };
    uint64_t bytes;
    bool saved;

    if (isatty(STDIN_FILENO)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "standard input is a terminal: the stream must come from "
                    "a pipe or a file");
        return false;
    }
    from = pipe_end_new_reader(STDIN_FILENO, errp);
    if (!from) {
        return false;
    }
    interrupt = interrupt_new(cancel, from);
    save.from = from;
    save.reader = migration_reader_new();
    save.progress = progress_new(options->progress, 0);
    saved = begin(&save, result, errp) && take_stream(&save, &bytes, errp) &&
            commit(&save, bytes, errp);
    /* Before the answer: a source that goes on at once wants the lock. */
    close_image(&save);
    answer(&save, saved);
    progress_free(save.progress);
    migration_reader_free(save.reader);
    if (!saved && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED)) {
        result->signal = interrupt_signal(interrupt);
    }
    return saved;
}
