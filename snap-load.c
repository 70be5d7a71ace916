/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * load: the VM state of a snapshot goes to standard output, where an incoming
 * QEMU reads it. The stream is followed on its way out, because only its own
 * end marker tells whether a reader that closes the pipe has had enough.
 */
#include <inttypes.h>
#include <unistd.h>

#include "interrupt.h"
#include "progress.h"
#include "snap-error.h"
#include "snap-internal.h"

/*
 * QEMU takes the write lock of its disks as soon as it has seen the end of the
 * stream, and this image may be one of them. All data has been read by now.
 */
static void drop_lock(void *opaque)
{
    (void)block_file_lock(opaque, BLOCK_FILE_LOCK_NONE, NULL);
}

static void cancel(void *opaque)
{
    pipe_end_cancel(opaque);
}

/*
 * Decide what became of a transfer. QEMU closes its end once it has what it
 * needs, so a closed pipe is a success if the end marker had gone through.
 */
static bool judge(const SnapOptions *options, SnapStreaming *streaming,
                  SnapPumpResult pumped, GError *error, SnapResult *result,
                  GError **errp)
{
    bool complete =
        !streaming->stream_error &&
        migration_reader_finish(streaming->reader, &streaming->stream_error);

    if (pumped == SNAP_PUMP_DONE) {
        if (!complete && !options->raw) {
            g_ptr_array_add(
                result->warnings,
                g_strdup_printf("snapshot '%s' is not a complete migration "
                                "stream: %s",
                                streaming->snapshot->name,
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
                    streaming->passed, streaming->snapshot->vm_state_size);
        return false;
    }
    g_propagate_error(errp, error);
    return false;
}

static bool coroutine_fn load(const SnapOptions *options,
                              const SnapImage *image, PipeEnd *to,
                              SnapResult *result, GError **errp)
{
    const Qcow2Snapshot *snapshot =
        qcow2_check_readable(image->qcow2, errp)
            ? snap_choose(options, image->qcow2, errp)
            : NULL;
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(Interrupt) interrupt = interrupt_new(cancel, to);
    g_autoptr(Progress) progress = NULL;
    SnapStreaming streaming = {
        .image = image->qcow2,
        .snapshot = snapshot,
        .depth = options->depth,
        .trace = options->trace,
        .to = to,
        .reader = reader,
        .before_last = drop_lock,
        .opaque = image->file,
    };
    GError *error = NULL;
    SnapPumpResult pumped;
    bool loaded;

    if (!snapshot) {
        return false;
    }
    progress = progress_new(options->progress, snapshot->vm_state_size);
    streaming.progress = progress;
    pumped = snap_stream_out(&streaming, &error);
    result->output_begun = streaming.passed > 0;
    loaded = judge(options, &streaming, pumped, error, result, errp);
    g_clear_error(&streaming.stream_error);
    if (!loaded && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED)) {
        result->signal = interrupt_signal(interrupt);
    }
    return loaded;
}

bool coroutine_fn snap_load(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    g_autoptr(PipeEnd) to = NULL;
    SnapImage image = { 0 };
    bool loaded;

    if (isatty(STDOUT_FILENO)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "standard output is a terminal: the stream must go to a "
                    "pipe or a file");
        return false;
    }
    to = pipe_end_new_writer(STDOUT_FILENO, errp);
    if (!to ||
        !snap_image_open(options, HOST_FILE_CACHE_AUTOMATIC, &image, errp)) {
        return false;
    }
    loaded = load(options, &image, to, result, errp);
    snap_image_close(&image);
    return loaded;
}
