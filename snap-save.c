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
 *
 * The image may be the disk of the very guest that is being saved. QEMU gives
 * it free just before the end of the stream, which waits in a spool until then.
 * From its end on there is no way back: what is complete is never thrown away.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>

#include "interrupt.h"
#include "progress.h"
#include "qcow2-vmstate.h"
#include "snap-detour.h"
#include "snap-disks.h"
#include "snap-error.h"
#include "snap-spool.h"
#include "snap-target.h"
#include "snap-trailer.h"

typedef struct Save {
    const SnapOptions *options;
    PipeEnd *from;
    SnapWait wait; /* for images that are locked */
    SnapTarget target;
    SnapDisks *disks; /* the further ones, or none */
    Qcow2SnapshotWriter *writer;
    MigrationReader *reader;
    SnapTrailerMaker *trailer; /* or NULL */
    Progress *progress;
    bool device_part;      /* the device part of the stream has begun */
    uint64_t stream_bytes; /* 0: not known to be complete */
    uint64_t taken_out;    /* of the stream, bytes; see amend() */
    /* Where the stream goes meanwhile, when somebody else has the image. */
    SnapDetour *detour; /* or NULL */
} Save;

static bool coroutine_fn begin_snapshot(Save *save, GError **errp)
{
    const SnapImage *image = &save->target.image;
    g_autofree char *name = snap_target_new_name(save->options, image->qcow2);
    const Qcow2Snapshot *old;

    if (!snap_choose_replaced(save->options, image->qcow2, name, &old, errp)) {
        return false;
    }
    if (save->options->no_discard) {
        qcow2_keep_freed(image->qcow2);
    }
    save->writer = qcow2_snapshot_writer_begin(image->qcow2, name, old, errp);
    return save->writer != NULL;
}

/*
 * The image is ours: begin there and in the further ones, which are waited for
 * unless @wait is NULL.
 */
static bool coroutine_fn begin_snapshots(Save *save, SnapWait *wait,
                                         SnapResult *result, GError **errp)
{
    if (!begin_snapshot(save, errp) ||
        !snap_disks_begin(save->disks, qcow2_snapshot_writer_name(save->writer),
                          wait, errp)) {
        return false;
    }
    snap_warn_about_repair(&save->target.image, result);
    snap_warn_about_bitmaps(&save->target.image, result);
    return true;
}

static bool input_is_file(void)
{
    struct stat status;

    return fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode);
}

/*
 * A stream that lies in a file is not in a hurry and needs no second one: the
 * image is waited for first.
 */
static bool coroutine_fn wait_for_image(Save *save, GError **errp)
{
    g_autofree char *path = NULL;
    bool opened =
        snap_target_wait(save->options, &save->wait, &save->target, errp);

    if (!opened && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_LOCKED)) {
        path = g_file_read_link("/proc/self/fd/0", NULL);
        snap_error_append(errp, "; the stream stays in '%s'",
                          path ? path : "its file");
    }
    return opened;
}

/*
 * Close all images; a snapshot that was not committed leaves no trace. But an
 * image that may hold the state is kept, also when saying so failed.
 */
static void coroutine_fn close_images(Save *save)
{
    bool keep = save->writer &&
                qcow2_snapshot_writer_may_be_committed(save->writer);

    snap_disks_close(save->disks);
    g_clear_pointer(&save->writer, qcow2_snapshot_writer_end);
    snap_target_close(save->options, &save->target, keep);
}

static bool coroutine_fn begin(Save *save, SnapResult *result, GError **errp)
{
    GError *error = NULL;

    if (input_is_file()) {
        return wait_for_image(save, errp) &&
               begin_snapshots(save, &save->wait, result, errp);
    }
    if (snap_target_open(save->options, &save->target, &error) &&
        begin_snapshots(save, NULL, result, &error)) {
        return true;
    }
    /* A stream that has to wait does not do so in an image that is new. */
    if (!g_error_matches(error, SNAP_ERROR, SNAP_ERROR_LOCKED) ||
        save->target.created) {
        g_propagate_error(errp, error);
        return false;
    }
    g_error_free(error);
    close_images(save);
    save->detour = snap_detour_new(save->options, errp);
    return save->detour && snap_disks_glance(save->disks, errp);
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
    if (save->detour) {
        return snap_detour_make_stable(save->detour, errp);
    }
    ret = block_file_flush(save->target.image.file);
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

/*
 * Take out what asks for answers: a QEMU that finds it in a snapshot fails, or
 * crashes (7.2), since there is nobody to answer to. It comes with the first
 * bytes of a stream; where it does not, it is left where it is.
 */
static size_t amend(void *opaque, uint64_t position, uint8_t *data,
                    size_t bytes)
{
    Save *save = opaque;
    const MigrationInfo *info = migration_reader_info(save->reader);
    uint64_t end = info->return_offset + info->return_bytes;

    if (position > 0 || save->taken_out || end > bytes) {
        return bytes;
    }
    save->taken_out = info->return_bytes;
    memmove(data + info->return_offset, data + end, bytes - end);
    return bytes - info->return_bytes;
}

static void settled(void *opaque, const uint8_t *data, size_t bytes)
{
    const Save *save = opaque;

    if (save->trailer) {
        snap_trailer_maker_add(save->trailer, data, bytes);
    }
}

static bool coroutine_fn reserve(void *opaque, uint64_t end, GError **errp)
{
    Save *save = opaque;

    if (save->detour) {
        return snap_detour_reserve(save->detour, end, errp);
    }
    return qcow2_snapshot_writer_reserve(save->writer, end, errp);
}

static bool coroutine_fn store(void *opaque, uint64_t position,
                               const uint8_t *data, size_t bytes, GError **errp)
{
    Save *save = opaque;

    if (save->detour) {
        return snap_detour_store(save->detour, position, data, bytes, errp);
    }
    return qcow2_snapshot_writer_pwrite(save->writer, position, data, bytes,
                                        errp);
}

static bool coroutine_fn take_stream(Save *save, uint64_t *bytes, GError **errp)
{
    g_autoptr(AioBufferPool) pool = NULL;
    SnapInlet inlet = {
        .take = take,
        .amend = amend,
        .may_end = may_end,
        .settled = settled,
        .reserve = reserve,
        .store = store,
        .unit = save->detour ? SNAP_SPOOL_UNIT : QCOW2_VMSTATE_UNIT,
        .opaque = save,
    };
    bool taken;

    pool = snap_ring_new(save->options->depth, SNAP_BUFFER_BYTES, errp);
    if (!pool) {
        return false;
    }
    if (save->target.image.file) {
        snap_ring_register(pool, save->target.image.file);
    }
    taken = snap_pump_in(pool, save->from, &inlet, bytes, errp);
    if (save->target.image.file) {
        block_file_unregister_buffers(save->target.image.file);
    }
    if (!taken) {
        return false;
    }
    trace_event(save->options->trace, "snap_stream_in",
                "bytes=%" PRIu64 " buffers=%u", *bytes,
                aio_buffer_pool_depth(pool));
    return true;
}

/* Is what has come a stream that is worth a snapshot? It had @bytes. */
static bool check_complete(Save *save, uint64_t bytes, GError **errp)
{
    if (!save->options->raw) {
        if (!migration_reader_finish(save->reader, errp)) {
            g_prefix_error(errp, "nothing was saved: ");
            return false;
        }
        bytes = migration_reader_info(save->reader)->stream_bytes -
                save->taken_out;
    }
    if (bytes == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "nothing was saved: standard input is empty");
        return false;
    }
    save->stream_bytes = bytes;
    return true;
}

/*
 * The stream is over: now the image should be free. Somebody else had it since
 * the detour began, so everything is looked at anew.
 */
static bool coroutine_fn end_detour(Save *save, SnapResult *result,
                                    GError **errp)
{
    if (!snap_target_wait(save->options, &save->wait, &save->target, errp)) {
        return false;
    }
    snap_detour_arrive(save->detour, save->stream_bytes);
    return begin_snapshots(save, &save->wait, result, errp) &&
           snap_detour_move(save->detour, save->stream_bytes, save->writer,
                            save->wait.interrupt, errp);
}

static bool coroutine_fn commit(Save *save, SnapResult *result, GError **errp)
{
    const MigrationInfo *info = migration_reader_info(save->reader);
    Qcow2SnapshotStamp stamp = { .vm_state_size = save->stream_bytes };
    struct timespec now;

    if (save->trailer &&
        !snap_trailer_maker_write(save->trailer, save->writer,
                                  save->stream_bytes, save->taken_out > 0,
                                  &stamp.vm_state_size, result, errp)) {
        return false;
    }

    if (!save->options->raw && info->vm_clock_known) {
        stamp.vm_clock_nsec = info->vm_clock_ns;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    stamp.date_sec = now.tv_sec;
    stamp.date_nsec = now.tv_nsec;
    return snap_disks_commit(save->disks, save->writer, &stamp, errp);
}

/* What was saved, for who asked for it in writing. */
static void report(const Save *save, SnapResult *result)
{
    result->id = g_strdup(qcow2_snapshot_writer_id(save->writer));
    result->name = g_strdup(qcow2_snapshot_writer_name(save->writer));
    result->bytes = save->stream_bytes;
}

/* Has the source asked for an answer on standard output? */
static bool has_return_path(const Save *save)
{
    struct stat status;

    return migration_reader_info(save->reader)->return_path &&
           fstat(STDOUT_FILENO, &status) == 0 &&
           (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

/* Tell a source with a return path how it went (SHUT). */
static void answer(bool saved)
{
    static const uint8_t good[] = { 0, 1, 0, 4, 0, 0, 0, 0 };
    static const uint8_t bad[] = { 0, 1, 0, 4, 0, 0, 0, 1 };

    /* With nobody there any more, nobody misses it. */
    if (write(STDOUT_FILENO, saved ? good : bad, sizeof(good)) < 0) {
        return;
    }
}

static void cancel(void *opaque)
{
    pipe_end_cancel(opaque);
}

static bool coroutine_fn run(Save *save, SnapResult *result, GError **errp)
{
    uint64_t bytes;

    return begin(save, result, errp) && take_stream(save, &bytes, errp) &&
           check_complete(save, bytes, errp) &&
           (!save->detour || end_detour(save, result, errp)) &&
           commit(save, result, errp);
}

bool coroutine_fn snap_save(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    g_autoptr(PipeEnd) from = NULL;
    g_autoptr(Interrupt) interrupt = NULL;
    Save save = { .options = options };
    bool saved;

    if (!snap_disks_check(options, errp)) {
        return false;
    }
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
    save.wait.interrupt = interrupt;
    save.reader = migration_reader_new();
    if (!options->raw && !options->no_index) {
        save.trailer = snap_trailer_maker_new(save.reader);
    }
    save.disks = snap_disks_new(options);
    save.progress = progress_new(options->progress, 0);
    saved = run(&save, result, errp);
    if (saved) {
        report(&save, result);
    }
    /* Before the answer: a source that goes on at once wants the lock. */
    close_images(&save);
    if (!saved && save.detour && save.stream_bytes) {
        result->tell_error =
            snap_detour_keep(save.detour, save.stream_bytes, errp);
    }
    snap_detour_free(save.detour);
    snap_disks_free(save.disks);
    result->output_taken = has_return_path(&save);
    if (result->output_taken) {
        answer(saved);
    }
    progress_free(save.progress);
    snap_trailer_maker_free(save.trailer);
    migration_reader_free(save.reader);
    if (!saved && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED)) {
        result->signal = interrupt_signal(interrupt);
    }
    return saved;
}
