/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The trailer of a VM state (stream-trailer.h): gathered while a stream is
 * saved, written behind it, found again.
 */
#ifndef SNAP_TRAILER_H
#define SNAP_TRAILER_H

#include "qcow2-vmstate.h"
#include "snap-options.h"
#include "stream-trailer.h"

typedef struct SnapTrailerMaker SnapTrailerMaker;

/* For the stream that @reader will be fed, which must outlive it. */
SnapTrailerMaker *snap_trailer_maker_new(MigrationReader *reader);
void snap_trailer_maker_free(SnapTrailerMaker *maker);

/* These bytes, the next ones, become VM state. */
void snap_trailer_maker_add(SnapTrailerMaker *maker, const uint8_t *data,
                            size_t bytes);

/*
 * The stream is complete and has been written up to @stream_bytes; without its
 * return path if that was @taken_out. Write the trailer behind it.
 * *@vm_state_size is where it ends, or @stream_bytes when there will be none:
 * the stream matters more, so that is so on a full disk, and when the source
 * sent more than the stream, both with a warning. Yields. Fills @errp (IO).
 */
bool coroutine_fn snap_trailer_maker_write(
    SnapTrailerMaker *maker, Qcow2SnapshotWriter *writer, uint64_t stream_bytes,
    bool taken_out, uint64_t *vm_state_size, SnapResult *result, GError **errp);

/* What has been read of a trailer. */
typedef struct SnapTrailer {
    StreamTrailerState state;
    StreamFooter footer; /* VALID, UNSUPPORTED */
} SnapTrailer;

/*
 * Look for the footer in a VM state of @vm_state_size bytes, which may have holes
 * if @sparse. If it cannot be read, the trailer is DAMAGED, and @errp filled.
 * Yields.
 */
void coroutine_fn snap_trailer_find(Qcow2VmstateReader *vmstate,
                                    uint64_t vm_state_size, bool sparse,
                                    SnapTrailer *trailer, GError **errp);

/*
 * Read the rest of a VALID one. The caller frees *@index and *@checksums. When
 * it is DAMAGED, both are NULL; @errp is filled if it cannot be read. Yields.
 */
void coroutine_fn snap_trailer_read(Qcow2VmstateReader *vmstate,
                                    SnapTrailer *trailer, StreamIndex **index,
                                    StreamChecksums **checksums, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapTrailerMaker, snap_trailer_maker_free)

#endif /* SNAP_TRAILER_H */
