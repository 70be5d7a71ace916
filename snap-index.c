/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * index: a snapshot that has no trailer, because QEMU has made it, or a damaged
 * one, gets one. Its stream stays where it is.
 */
#include "snap-error.h"
#include "snap-state.h"
#include "snap-target.h"

/*
 * What is between the end of the stream and the trailer is not written; where
 * there is nothing, zeros come first, as a trailer never follows at once.
 */
static GByteArray *make_tail(const SnapState *state, uint64_t position)
{
    GByteArray *tail = g_byte_array_new();
    g_autoptr(GByteArray) trailer = NULL;

    if (position == state->stream_bytes) {
        const uint8_t zeros[STREAM_TRAILER_UNIT] = { 0 };

        g_byte_array_append(tail, zeros, sizeof(zeros));
    }
    trailer = stream_trailer_encode(state->index, state->checksums,
                                    position + tail->len);
    g_byte_array_append(tail, trailer->data, trailer->len);
    return tail;
}

static bool coroutine_fn add_trailer(const SnapOptions *options,
                                     Qcow2Image *image, SnapState *state,
                                     GError **errp)
{
    g_autoptr(GByteArray) tail = NULL;
    uint64_t position;

    if (state->trailer.state == STREAM_TRAILER_UNSUPPORTED) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the snapshot has the index of a later version of this "
                    "program");
        return false;
    }
    if (state->mapped && state->trailer.state != STREAM_TRAILER_VALID) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the stream has mapped RAM, behind whose end QEMU may have "
                    "written: it gets no index");
        return false;
    }
    if (!snap_state_need_checksums(options, state, errp)) {
        return false;
    }
    if (state->trailer.state == STREAM_TRAILER_VALID) {
        return true;
    }
    position = qcow2_tail_position(image, state->stream_bytes);
    tail = make_tail(state, position);
    return qcow2_replace_tail(image, state->snapshot, state->stream_bytes,
                              tail->data, tail->len, errp);
}

static bool coroutine_fn index_one(const SnapOptions *options,
                                   const SnapImage *image, SnapResult *result,
                                   GError **errp)
{
    const Qcow2Snapshot *snapshot = snap_choose(options, image->qcow2, errp);
    SnapState state = { 0 };
    bool indexed;

    if (!snapshot || !snap_state_open(options, image, snapshot, &state, errp)) {
        return false;
    }
    indexed = add_trailer(options, image->qcow2, &state, errp);
    if (indexed) {
        snap_state_warn(&state, result);
        result->id = g_strdup(snapshot->id);
        result->name = g_strdup(snapshot->name);
    }
    snap_state_close(&state);
    return indexed;
}

bool coroutine_fn snap_index(const SnapOptions *options, SnapResult *result,
                             GError **errp)
{
    SnapTarget target = { 0 };
    bool indexed = false;

    if (snap_target_open(options, &target, errp)) {
        snap_warn_about_repair(&target.image, result);
        if (options->no_discard) {
            qcow2_keep_freed(target.image.qcow2);
        }
        indexed = index_one(options, &target.image, result, errp);
    }
    snap_image_close(&target.image);
    return indexed;
}
