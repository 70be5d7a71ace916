/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The VM state of a snapshot, opened to look inside: its bytes, and what is
 * known about the stream that they are. That comes from the trailer, if there
 * is one, or else from reading all of it.
 */
#ifndef SNAP_STATE_H
#define SNAP_STATE_H

#include "qcow2-vmstate.h"
#include "snap-internal.h"
#include "stream-index.h"

typedef struct SnapState {
    const Qcow2Snapshot *snapshot;
    Qcow2VmstateReader *vmstate; /* positions up to `stream_bytes' */
    uint64_t stream_bytes;       /* that the stream has */
    StreamIndex *index;
} SnapState;

/*
 * Open the VM state of @snapshot, which belongs to @image; both must outlive
 * @state. The stream is complete. Yields, and shows progress where all of it is
 * read. Returns false and fills @errp (STREAM, UNSUPPORTED: there is no stream
 * that is understood; those of qcow2_vmstate_reader_open() and _pread()); then
 * nothing is open.
 */
bool coroutine_fn snap_state_open(const SnapOptions *options,
                                  const SnapImage *image,
                                  const Qcow2Snapshot *snapshot,
                                  SnapState *state, GError **errp);

/* No read is under way. Zero-initialised is allowed. Yields. */
void coroutine_fn snap_state_close(SnapState *state);

#endif /* SNAP_STATE_H */
