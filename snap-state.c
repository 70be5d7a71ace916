/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-state.h.
 */
#include "snap-state.h"
#include "progress.h"
#include "snap-error.h"
#include "snap-mapped.h"

bool coroutine_fn snap_state_fetch(void *opaque, uint64_t position,
                                   uint8_t *data, size_t bytes, GError **errp)
{
    const SnapState *state = opaque;

    return state->mapped ? qcow2_vmstate_pread_sparse(state->vmstate, position,
                                                      data, bytes, errp)
                         : qcow2_vmstate_pread(state->vmstate, position, data,
                                               bytes, errp);
}

bool coroutine_fn snap_state_fetch_written(void *opaque, uint64_t position,
                                           uint8_t *data, size_t bytes,
                                           GError **errp)
{
    const SnapState *state = opaque;

    return qcow2_vmstate_pread(state->vmstate, position, data, bytes, errp);
}

/* The same as scan() without the pages, which the bitmaps tell of. */
static StreamIndex *coroutine_fn scan_mapped(SnapState *state, GError **errp)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) pages = page_map_new();
    SnapSource source = {
        .fetch = snap_state_fetch_written,
        .bytes = state->stream_bytes,
        .opaque = state,
    };

    migration_reader_tell_pages(reader, page_map_add, pages);
    if (!snap_mapped_read_frame(&source, reader, errp)) {
        return NULL;
    }
    return stream_index_new(reader, g_steal_pointer(&pages));
}

/*
 * Let all that may be the stream pass the reader, and add it to @sum_up unless
 * that is NULL.
 */
static StreamIndex *coroutine_fn scan(const SnapOptions *options,
                                      SnapState *state, StreamChecksums *sum_up,
                                      GError **errp)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) pages = page_map_new();
    g_autoptr(Progress)
        progress = progress_new(options->progress, state->stream_bytes);
    SnapStreaming streaming = {
        .file = state->file,
        .fetch = snap_state_fetch,
        .source = state,
        .bytes = state->stream_bytes,
        .depth = options->depth,
        .trace = options->trace,
        .reader = reader,
        .sum_up = sum_up,
        .progress = progress,
    };

    if (state->mapped && !sum_up) {
        return scan_mapped(state, errp);
    }
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

/*
 * The trailer is there and says nothing. A stream that is not understood ends
 * with the VM state, as those of QEMU do.
 */
static void coroutine_fn find_end(const SnapOptions *options, SnapState *state)
{
    state->index = scan(options, state, NULL, NULL);
    if (state->index) {
        state->stream_bytes = stream_index_info(state->index)->stream_bytes;
    }
}

/*
 * Is RAM mapped? Then the VM state is longer than its recorded size, if QEMU has
 * made it. That the first bytes cannot be read is told by who needs them.
 */
static bool coroutine_fn look_at_head(SnapState *state, GError **errp)
{
    uint8_t head[SNAP_MAPPED_HEAD_BYTES];
    size_t bytes = MIN(sizeof(head), state->stream_bytes);

    if (!qcow2_vmstate_pread(state->vmstate, 0, head, bytes, NULL) ||
        !snap_mapped_begins(head, bytes)) {
        return true;
    }
    state->mapped = true;
    return qcow2_vmstate_reader_extend(state->vmstate, errp);
}

/*
 * The recorded size of mapped RAM that QEMU has written is anywhere, also amid
 * pages, whose content the guest chooses: nothing is looked for there.
 */
static bool coroutine_fn may_have_trailer(const SnapOptions *options,
                                          SnapState *state)
{
    uint64_t recorded = state->stream_bytes;

    if (!state->mapped) {
        return true;
    }
    state->stream_bytes = qcow2_vmstate_bytes(state->vmstate);
    find_end(options, state);
    return !state->index || recorded > state->stream_bytes;
}

/* The trailer, if there is one, ends with the recorded size. */
static void coroutine_fn find_trailer(const SnapOptions *options,
                                      SnapState *state)
{
    if (!may_have_trailer(options, state)) {
        return;
    }
    snap_trailer_find(state->vmstate, state->snapshot->vm_state_size,
                      state->mapped, &state->trailer, &state->trailer_error);
    switch (state->trailer.state) {
    case STREAM_TRAILER_NONE:
        break;
    case STREAM_TRAILER_VALID:
    case STREAM_TRAILER_UNSUPPORTED:
        /* It may know more, such as checksums. */
        g_clear_pointer(&state->index, stream_index_free);
        state->stream_bytes = state->trailer.footer.stream_bytes;
        break;
    case STREAM_TRAILER_DAMAGED:
        if (!state->index) {
            find_end(options, state);
        }
        break;
    }
}

bool coroutine_fn snap_state_open(const SnapOptions *options,
                                  const SnapImage *image,
                                  const Qcow2Snapshot *snapshot,
                                  SnapState *state, GError **errp)
{
    state->vmstate = qcow2_vmstate_reader_open(image->qcow2, snapshot, errp);
    if (!state->vmstate) {
        return false;
    }
    state->snapshot = snapshot;
    state->file = image->file;
    state->stream_bytes = snapshot->vm_state_size;
    if (!look_at_head(state, errp)) {
        snap_state_close(state);
        return false;
    }
    find_trailer(options, state);
    return true;
}

bool coroutine_fn snap_state_need_index(const SnapOptions *options,
                                        SnapState *state, GError **errp)
{
    GError *error = NULL;

    if (!state->index && state->trailer.state == STREAM_TRAILER_VALID) {
        snap_trailer_read(state->vmstate, &state->trailer, &state->index,
                          &state->checksums, &state->trailer_error);
    }
    if (!state->index) {
        state->index = scan(options, state, NULL, &error);
    }
    if (!state->index && state->trailer_error) {
        /* The cause: without a trailer nobody may know where the stream ends. */
        g_error_free(error);
        error = g_error_copy(state->trailer_error);
    }
    if (!state->index) {
        g_propagate_error(errp, error);
    }
    return state->index != NULL;
}

bool coroutine_fn snap_state_need_checksums(const SnapOptions *options,
                                            SnapState *state, GError **errp)
{
    if (state->trailer.state == STREAM_TRAILER_VALID &&
        !snap_state_need_index(options, state, errp)) {
        return false;
    }
    while (!state->checksums) {
        g_autoptr(StreamChecksums) sum_up = stream_checksums_new();
        StreamIndex *index = scan(options, state, sum_up, errp);

        if (!index) {
            return false;
        }
        g_clear_pointer(&state->index, stream_index_free);
        state->index = index;
        state->stream_bytes = stream_index_info(index)->stream_bytes;
        /* If it is not known before the end where that is: once more. */
        if (stream_checksums_covered(sum_up) == state->stream_bytes) {
            stream_checksums_finish(sum_up);
            state->checksums = g_steal_pointer(&sum_up);
        }
    }
    return true;
}

SnapSource snap_state_source(const SnapState *state)
{
    SnapSource source = {
        .fetch = snap_state_fetch,
        .bytes = state->stream_bytes,
        .opaque = (void *)state,
    };

    return source;
}

void snap_state_warn(const SnapState *state, SnapResult *result)
{
    if (state->trailer_error) {
        g_ptr_array_add(result->warnings,
                        g_strdup_printf("the index of snapshot '%s' was not "
                                        "used: %s",
                                        state->snapshot->name,
                                        state->trailer_error->message));
    }
}

void coroutine_fn snap_state_close(SnapState *state)
{
    g_clear_error(&state->trailer_error);
    g_clear_pointer(&state->vmstate, qcow2_vmstate_reader_close);
    g_clear_pointer(&state->index, stream_index_free);
    g_clear_pointer(&state->checksums, stream_checksums_free);
}
