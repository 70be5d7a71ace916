/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The VM state of a snapshot, opened: its bytes, and what is known about the
 * stream that they begin with. That comes from the trailer, if there is one, or
 * else from reading all of it.
 */
#ifndef SNAP_STATE_H
#define SNAP_STATE_H

#include "snap-internal.h"
#include "snap-pages.h"
#include "snap-trailer.h"

/* Its members are read by all, and set by the functions below alone. */
typedef struct SnapState {
    const Qcow2Snapshot *snapshot;
    BlockFile *file; /* of the image */
    Qcow2VmstateReader *vmstate;
    uint64_t stream_bytes; /* what is behind them is no stream */
    bool mapped;           /* its RAM is: it may have holes */
    SnapTrailer trailer;
    GError *trailer_error;      /* why it could not be read; or NULL */
    StreamIndex *index;         /* NULL: nobody has asked for it yet */
    StreamChecksums *checksums; /* NULL: there are none, or as above */
} SnapState;

/*
 * Open the VM state of @snapshot, which belongs to @image; both must outlive
 * @state. Whatever it holds, it can be read up to `stream_bytes', as a stream
 * should be. All of it is read only when there was a trailer and that does not
 * say any more where the stream ends; what tells that of mapped RAM is short.
 * Yields. Returns false and fills @errp (those of qcow2_vmstate_reader_open());
 * nothing is open then.
 */
bool coroutine_fn snap_state_open(const SnapOptions *options,
                                  const SnapImage *image,
                                  const Qcow2Snapshot *snapshot,
                                  SnapState *state, GError **errp);

/*
 * Read VM state, holes of mapped RAM being zeros; @opaque is a SnapState, which
 * is open. Yields. Errors of qcow2_vmstate_pread().
 */
bool coroutine_fn snap_state_fetch(void *opaque, uint64_t position,
                                   uint8_t *data, size_t bytes, GError **errp);

/* The same where a hole is damage: in all that is not a page of zeros. */
bool coroutine_fn snap_state_fetch_written(void *opaque, uint64_t position,
                                           uint8_t *data, size_t bytes,
                                           GError **errp);

/*
 * From now on `index' is there, and `checksums' if the trailer has them. Yields,
 * and shows progress where all of the stream is read. Returns false and fills
 * @errp (STREAM, UNSUPPORTED: it is not complete or not understood, or those of
 * qcow2_vmstate_pread()).
 */
bool coroutine_fn snap_state_need_index(const SnapOptions *options,
                                        SnapState *state, GError **errp);

/*
 * The same, and `checksums' are there in any case: those of the stream as it is
 * now, where the trailer has none.
 */
bool coroutine_fn snap_state_need_checksums(const SnapOptions *options,
                                            SnapState *state, GError **errp);

/* The stream, to read pages from; @state must outlive it. */
SnapSource snap_state_source(const SnapState *state);

/* The command is done: warn if there was a trailer that could not be read. */
void snap_state_warn(const SnapState *state, SnapResult *result);

/* No read is under way. Zero-initialised is allowed. Yields. */
void coroutine_fn snap_state_close(SnapState *state);

/*
 * Draw the RAM blocks on standard output. Returns false and fills @errp
 * (UNSUPPORTED: where the pages are is not known).
 */
bool snap_state_print_map(const SnapOptions *options, const SnapState *state,
                          GError **errp);

#endif /* SNAP_STATE_H */
