/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The VM state of a snapshot as a range of bytes: read from one that exists,
 * written into one that is being made, or replaced at its end. Positions count
 * from the start of the VM state. Many coroutines may read or write at once.
 */
#ifndef QCOW2_VMSTATE_H
#define QCOW2_VMSTATE_H

#include "qcow2-snapshots.h"

typedef struct Qcow2VmstateReader Qcow2VmstateReader;

/*
 * Open the VM state of @snapshot, which belongs to @image; both must outlive
 * the reader. Yields. Returns NULL and fills @errp: INVALID (a disk-only
 * snapshot), DAMAGED, UNSUPPORTED, IO.
 */
Qcow2VmstateReader *coroutine_fn qcow2_vmstate_reader_open(
    Qcow2Image *image, const Qcow2Snapshot *snapshot, GError **errp);

/*
 * From now on the VM state ends with its last cluster, or where its recorded
 * size says, if that is more; or later, if many empty tables follow. Mapped RAM
 * that QEMU has written goes on behind the recorded size, which counts only
 * what was written, and has holes. No read is under way. Yields. Returns false
 * and fills @errp (DAMAGED, IO); then nothing has changed.
 */
bool coroutine_fn qcow2_vmstate_reader_extend(Qcow2VmstateReader *reader,
                                              GError **errp);

/* Of VM state: up to there it can be read. */
uint64_t qcow2_vmstate_bytes(const Qcow2VmstateReader *reader);

/*
 * No read is under way, but L2 tables may still be fetched ahead: that is
 * waited for. NULL is allowed. Yields.
 */
void coroutine_fn qcow2_vmstate_reader_close(Qcow2VmstateReader *reader);

/*
 * Read @bytes at @position; the range lies inside the VM state. What lies
 * apart in the file is read in parallel, and at the first failure nothing is
 * in flight when this returns. Yields.
 * Returns false and fills @errp (IO, DAMAGED: the mapping is impossible or has
 * a hole, which no VM state has, or compressed data is no such).
 */
bool coroutine_fn qcow2_vmstate_pread(Qcow2VmstateReader *reader,
                                      uint64_t position, void *buffer,
                                      size_t bytes, GError **errp);

/* The same where there may be holes, which are zeros: in mapped RAM. */
bool coroutine_fn qcow2_vmstate_pread_sparse(Qcow2VmstateReader *reader,
                                             uint64_t position, void *buffer,
                                             size_t bytes, GError **errp);

/* Every cluster size is a multiple of it; most devices like it. Bytes. */
#define QCOW2_VMSTATE_UNIT 512

typedef struct Qcow2SnapshotWriter Qcow2SnapshotWriter;

/*
 * Begin a snapshot called @name of @image's present disk content. @old, if not
 * NULL, is one of @image's and disappears in the moment in which it appears,
 * with VM state in the active L1, which may be its own. Everything that can be
 * refused is refused here; the disk part is shared with the new snapshot as far
 * as that can be prepared in fresh clusters. Until _commit() nothing that the
 * image refers to is changed. Yields. Returns NULL and fills @errp.
 */
Qcow2SnapshotWriter *coroutine_fn qcow2_snapshot_writer_begin(
    Qcow2Image *image, const char *name, const Qcow2Snapshot *old,
    GError **errp);

/*
 * Make room for VM state up to @end (exclusive), in the file and on the disk,
 * and for the metadata that so much VM state will need. Called with rising
 * @end by one coroutine. Yields. Fills @errp: NO_SPACE, INVALID (more than
 * this cluster size can map), IO.
 */
bool coroutine_fn qcow2_snapshot_writer_reserve(Qcow2SnapshotWriter *writer,
                                                uint64_t end, GError **errp);

/*
 * Write @bytes at @position, inside what was reserved; both are multiples of
 * QCOW2_VMSTATE_UNIT, so the last piece is padded with zeros. Yields. Returns
 * false and fills @errp (IO, NO_SPACE).
 */
bool coroutine_fn qcow2_snapshot_writer_pwrite(Qcow2SnapshotWriter *writer,
                                               uint64_t position,
                                               const void *buffer, size_t bytes,
                                               GError **errp);

/*
 * The same, as block_file_clone() does it, with the content of @source at
 * @source_offset. Yields. Returns false and fills @errp (UNSUPPORTED: it must
 * be written, IO, NO_SPACE).
 */
bool coroutine_fn qcow2_snapshot_writer_clone(Qcow2SnapshotWriter *writer,
                                              uint64_t position,
                                              BlockFile *source,
                                              uint64_t source_offset,
                                              uint64_t bytes, GError **errp);

/*
 * Everything up to @stamp->vm_state_size has been written: make the snapshot
 * part of the image, stable. Nothing may be in flight. Yields. On failure the
 * image is as it was, unless the text says otherwise; _end() is still due.
 */
bool coroutine_fn qcow2_snapshot_writer_commit(Qcow2SnapshotWriter *writer,
                                               const Qcow2SnapshotStamp *stamp,
                                               GError **errp);

/*
 * May the snapshot be part of the image, although _commit() failed? So from the
 * moment when the header is written: whether it got to the disk is not known
 * then, and the file may be all there is of the VM state.
 */
bool qcow2_snapshot_writer_may_be_committed(const Qcow2SnapshotWriter *writer);

/*
 * Free the writer. A snapshot that was not committed is forgotten and the file
 * cut back to its old length. NULL is allowed. Yields.
 */
void coroutine_fn qcow2_snapshot_writer_end(Qcow2SnapshotWriter *writer);

/* The ID and the name that the snapshot will have. */
const char *qcow2_snapshot_writer_id(const Qcow2SnapshotWriter *writer);
const char *qcow2_snapshot_writer_name(const Qcow2SnapshotWriter *writer);

/*
 * Where a tail begins behind the first @kept bytes of VM state: where the
 * cluster ends in which they end. No overflow for a VM state that is there.
 */
uint64_t qcow2_tail_position(const Qcow2Image *image, uint64_t kept);

/*
 * Keep the first @kept bytes of the VM state of @snapshot, which is one of
 * @image's, and let @bytes of @data be what is behind them, from
 * qcow2_tail_position() on, at once; what is between them is zeros or what was
 * there. Without @data (0 @bytes) the VM state ends with what is kept, which is
 * at least 1 byte and at most all there is. What was behind becomes free. Name,
 * ID, dates and disk of the snapshot stay, and so does what QEMU loads, if the
 * stream is among what is kept. Afterwards @image is what it was: who wants to
 * see the change opens it anew. Yields. On failure the file is as it was, unless
 * the text says otherwise. Fills @errp (INVALID: a disk-only snapshot, or more
 * than this cluster size can map; DAMAGED, UNSUPPORTED, IO, NO_SPACE).
 */
bool coroutine_fn qcow2_replace_tail(Qcow2Image *image,
                                     const Qcow2Snapshot *snapshot,
                                     uint64_t kept, const void *data,
                                     uint64_t bytes, GError **errp);

#endif /* QCOW2_VMSTATE_H */
