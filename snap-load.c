/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * load: the VM state of a snapshot goes to standard output, where an incoming
 * QEMU reads it; that with mapped RAM as the classic stream. The stream is
 * followed on its way out, because only its own end marker tells whether a
 * reader that closes the pipe has had enough.
 *
 * With --apply the disks go back as well. All is prepared before the first
 * byte; the disks change between the last read and the last bytes. Not before:
 * a stream that breaks off, because QEMU refuses what it reads or is told to
 * quit, then leaves the disks as they are. And not later: QEMU opens them anew
 * when it has the end, and must find the snapshot's content.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "checked.h"
#include "interrupt.h"
#include "progress.h"
#include "snap-classic.h"
#include "snap-error.h"
#include "snap-disks.h"
#include "snap-state.h"
#include "snap-target.h"
#include "snap-together.h"

typedef struct Load {
    const SnapOptions *options;
    SnapTarget target;     /* open for writing only with --apply */
    SnapTogether *restore; /* --apply; or NULL */
    SnapState state;
    const StreamChecksums *verify; /* --verify; or NULL */
    SnapSource source;             /* of `classic' */
    SnapClassic *classic;          /* RAM is mapped; or NULL */
    SnapStreaming *streaming;
} Load;

static bool is_applied(const Load *load)
{
    return load->restore && snap_together_changed(load->restore) > 0;
}

/*
 * QEMU takes the write lock of its disks as soon as it has seen the end of the
 * stream, and this image may be one of them. All data has been read by now.
 */
static bool coroutine_fn before_last(void *opaque, GError **errp)
{
    const Load *load = opaque;
    const GError *wrong = load->streaming->stream_error;

    if (!load->restore) {
        (void)block_file_lock(load->target.image.file, BLOCK_FILE_LOCK_NONE,
                              NULL);
        return true;
    }
    /* No machine will come of it: the disks had better stay. */
    if (wrong && !load->options->raw) {
        g_set_error_literal(errp, wrong->domain, wrong->code, wrong->message);
        return false;
    }
    return snap_together_commit(load->restore, errp);
}

static void cancel(void *opaque)
{
    pipe_end_cancel(opaque);
}

/*
 * Decide what became of a transfer. QEMU closes its end once it has what it
 * needs, so a closed pipe is a success if the end marker had gone through.
 */
static bool judge(const Load *load, SnapPumpResult pumped, GError *error,
                  SnapResult *result, GError **errp)
{
    SnapStreaming *streaming = load->streaming;
    bool complete =
        !streaming->stream_error &&
        migration_reader_finish(streaming->reader, &streaming->stream_error);

    if (pumped == SNAP_PUMP_DONE) {
        if (!complete && !load->options->raw) {
            g_ptr_array_add(
                result->warnings,
                g_strdup_printf("snapshot '%s' is not a complete migration "
                                "stream: %s",
                                load->state.snapshot->name,
                                streaming->stream_error->message));
        }
        return true;
    }
    if (pumped == SNAP_PUMP_READER_GONE && complete) {
        g_error_free(error);
        return true;
    }
    if (pumped == SNAP_PUMP_READER_GONE) {
        g_error_free(error);
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "the reader closed the pipe after %" PRIu64 " of %" PRIu64
                    " bytes",
                    streaming->passed, streaming->bytes);
        return false;
    }
    g_propagate_error(errp, error);
    return false;
}

static const Qcow2Snapshot *choose(const SnapOptions *options,
                                   const Qcow2Image *image, GError **errp)
{
    return qcow2_check_readable(image, errp) ? snap_choose(options, image, errp)
                                             : NULL;
}

static bool coroutine_fn prepare_disks(Load *load,
                                       const Qcow2Snapshot *snapshot,
                                       GError **errp)
{
    if (!load->options->apply) {
        return true;
    }
    load->restore = snap_together_begin(load->options, SNAP_TOGETHER_LOAD,
                                        &load->target.image, snapshot, errp);
    return load->restore != NULL;
}

/*
 * Did the disks go where the stream went? A reader that had enough before the
 * last bytes has a snapshot whose size is not that of its stream.
 */
static bool judge_disks(const Load *load, bool loaded, SnapResult *result,
                        GError **errp)
{
    if (!load->restore || (loaded && is_applied(load))) {
        return loaded;
    }
    if (is_applied(load)) {
        result->tell_error = true;
        snap_together_explain(load->restore, errp);
    } else if (loaded) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "the stream ends before the VM state does: the disk was "
                    "not put back");
    }
    return false;
}

/* NULL and @errp: there is nothing to compare with. */
static const StreamChecksums *coroutine_fn checksums_to_verify(Load *load,
                                                               GError **errp)
{
    if (load->state.trailer.state == STREAM_TRAILER_VALID &&
        !snap_state_need_index(load->options, &load->state, errp)) {
        return NULL;
    }
    if (!load->state.checksums &&
        load->state.trailer.state == STREAM_TRAILER_DAMAGED) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the checksums of snapshot '%s' are damaged",
                    load->state.snapshot->name);
    } else if (!load->state.checksums) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "snapshot '%s' has no checksums to verify",
                    load->state.snapshot->name);
    }
    return load->state.checksums;
}

/*
 * Read what of mapped RAM is needed, with all of the pieces that have checksums
 * and that it is in.
 */
static bool coroutine_fn fetch_mapped(void *opaque, uint64_t position,
                                      uint8_t *data, size_t bytes,
                                      GError **errp)
{
    Load *load = opaque;
    uint64_t start = round_down(position, STREAM_CHECKSUM_BYTES);
    uint64_t end = round_up(position + bytes, STREAM_CHECKSUM_BYTES);
    g_autofree uint8_t *pieces = NULL;

    if (!load->verify) {
        return snap_state_fetch_written(&load->state, position, data, bytes,
                                        errp);
    }
    end = MIN(end, load->state.stream_bytes);
    pieces = g_malloc(end - start);
    if (!snap_state_fetch(&load->state, start, pieces, end - start, errp) ||
        !stream_checksums_verify(load->verify, start, pieces, end - start,
                                 errp)) {
        return false;
    }
    memcpy(data, pieces + (position - start), bytes);
    return true;
}

static bool coroutine_fn fetch_classic(void *opaque, uint64_t position,
                                       uint8_t *data, size_t bytes,
                                       GError **errp)
{
    return snap_classic_read(opaque, position, data, bytes, errp);
}

/*
 * What goes out: the stream as it is, or, as a pipe cannot carry mapped RAM, the
 * classic one.
 */
static bool coroutine_fn choose_stream(Load *load, SnapStreaming *streaming,
                                       GError **errp)
{
    if (!load->state.mapped || load->options->raw) {
        streaming->fetch = snap_state_fetch;
        streaming->source = &load->state;
        streaming->bytes = load->state.stream_bytes;
        streaming->verify = load->verify;
        return true;
    }
    load->source = (SnapSource){
        .fetch = fetch_mapped,
        .bytes = load->state.stream_bytes,
        .opaque = load,
    };
    load->classic = snap_classic_open(&load->source, errp);
    if (!load->classic) {
        return false;
    }
    streaming->fetch = fetch_classic;
    streaming->source = load->classic;
    streaming->bytes = snap_classic_bytes(load->classic);
    return true;
}

static bool coroutine_fn run(Load *load, PipeEnd *to, SnapResult *result,
                             GError **errp)
{
    const SnapOptions *options = load->options;
    const SnapImage *image = &load->target.image;
    const Qcow2Snapshot *snapshot = choose(options, image->qcow2, errp);
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(Progress) progress = NULL;
    SnapStreaming streaming = {
        .file = image->file,
        .depth = options->depth,
        .trace = options->trace,
        .to = to,
        .reader = reader,
        .before_last = before_last,
        .opaque = load,
    };
    GError *error = NULL;
    SnapPumpResult pumped;
    bool loaded;

    if (!snapshot || !prepare_disks(load, snapshot, errp) ||
        !snap_state_open(options, image, snapshot, &load->state, errp)) {
        return false;
    }
    if (options->verify) {
        load->verify = checksums_to_verify(load, errp);
        if (!load->verify) {
            return false;
        }
    }
    if (!choose_stream(load, &streaming, errp)) {
        return false;
    }
    load->streaming = &streaming;
    progress = progress_new(options->progress, streaming.bytes);
    streaming.progress = progress;
    pumped = snap_stream_out(&streaming, &error);
    result->output_begun = streaming.passed > 0;
    loaded = judge(load, pumped, error, result, errp);
    g_clear_error(&streaming.stream_error);
    return judge_disks(load, loaded, result, errp);
}

static bool coroutine_fn open_image(Load *load, SnapResult *result,
                                    GError **errp)
{
    const SnapOptions *options = load->options;

    if (!options->apply) {
        return snap_image_open(options, HOST_FILE_CACHE_AUTOMATIC,
                               &load->target.image, errp);
    }
    if (!snap_target_open(options, &load->target, errp)) {
        return false;
    }
    snap_warn_about_repair(&load->target.image, result);
    if (options->no_discard) {
        qcow2_keep_freed(load->target.image.qcow2);
    }
    return true;
}

static bool check_options(const SnapOptions *options, GError **errp)
{
    if (options->apply && options->force_share) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--apply needs the lock: it does not go with "
                    "--force-share");
        return false;
    }
    if (options->with && !options->apply) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "load takes --with only with --apply");
        return false;
    }
    return snap_check_distinct(options, errp);
}

bool coroutine_fn snap_load(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    g_autoptr(PipeEnd) to = NULL;
    g_autoptr(Interrupt) interrupt = NULL;
    Load load = { .options = options };
    bool loaded;

    if (!check_options(options, errp)) {
        return false;
    }
    if (isatty(STDOUT_FILENO)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "standard output is a terminal: the stream must go to a "
                    "pipe or a file");
        return false;
    }
    to = pipe_end_new_writer(STDOUT_FILENO, errp);
    if (!to) {
        return false;
    }
    /* From here on somebody may wait for the first byte; see qemu-snap.c. */
    interrupt = interrupt_new(cancel, to);
    loaded = open_image(&load, result, errp) && run(&load, to, result, errp);
    snap_together_end(load.restore);
    if (loaded) {
        snap_state_warn(&load.state, result);
    }
    snap_classic_close(load.classic);
    snap_state_close(&load.state);
    snap_image_close(&load.target.image);
    if (!loaded && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED)) {
        result->signal = interrupt_signal(interrupt);
    }
    return loaded;
}
