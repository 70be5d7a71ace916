/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-state.h.
 */
#include "snap-state.h"
#include "progress.h"
#include "snap-error.h"

/* Let the whole stream pass the reader. */
static StreamIndex *coroutine_fn scan(const SnapOptions *options,
                                      const SnapImage *image,
                                      const Qcow2Snapshot *snapshot,
                                      GError **errp)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) pages = page_map_new();
    g_autoptr(Progress)
        progress = progress_new(options->progress, snapshot->vm_state_size);
    SnapStreaming streaming = {
        .file = image->file,
        .image = image->qcow2,
        .snapshot = snapshot,
        .depth = options->depth,
        .trace = options->trace,
        .reader = reader,
        .progress = progress,
    };

    migration_reader_tell_pages(reader, page_map_add, pages);
    if (snap_stream_out(&streaming, errp) != SNAP_PUMP_DONE) {
        g_clear_error(&streaming.stream_error);
        return NULL;
    }
    if (streaming.stream_error) {
        g_propagate_error(errp, streaming.stream_error);
        return NULL;
    }
    if (!migration_reader_finish(reader, errp)) {
        return NULL;
    }
    return stream_index_new(reader, g_steal_pointer(&pages));
}

bool coroutine_fn snap_state_open(const SnapOptions *options,
                                  const SnapImage *image,
                                  const Qcow2Snapshot *snapshot,
                                  SnapState *state, GError **errp)
{
    state->snapshot = snapshot;
    state->index = scan(options, image, snapshot, errp);
    if (!state->index) {
        return false;
    }
    state->stream_bytes = stream_index_info(state->index)->stream_bytes;
    state->vmstate = qcow2_vmstate_reader_open(image->qcow2, snapshot, errp);
    if (!state->vmstate) {
        snap_state_close(state);
        return false;
    }
    return true;
}

void coroutine_fn snap_state_close(SnapState *state)
{
    g_clear_pointer(&state->vmstate, qcow2_vmstate_reader_close);
    g_clear_pointer(&state->index, stream_index_free);
}
