/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Makes a snapshot with VM state, which goes into fresh clusters as it arrives
 * (vmstate-clusters.h).
 * The snapshot's L1 is its own from the start: the active L1 never maps VM
 * state here.
 *
 * States: a writer is begun, gets room and data, and is committed or not.
 * Whatever happens before the commit happens in clusters that nobody refers
 * to (transaction.h, invariant 1).
 */
#include "new-snapshot.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"
#include "vmstate-clusters.h"

/*
 * Disk space is taken in steps of this many bytes: large enough that the file
 * system finds contiguous room and is not asked often, small enough that
 * little is taken in vain.
 */
#define RESERVE_STEP_BYTES (64ULL * 1024 * 1024)

struct Qcow2SnapshotWriter {
    /* Constant after _begin(). */
    Qcow2Image *image;
    Qcow2NewSnapshot snapshot;

    /* Owned by the coroutine that reserves and commits. */
    Qcow2VmstateClusters vmstate;
};

Qcow2SnapshotWriter *coroutine_fn qcow2_snapshot_writer_begin(
    Qcow2Image *image, const char *name, const Qcow2Snapshot *old,
    GError **errp)
{
    Qcow2SnapshotWriter *writer = g_new0(Qcow2SnapshotWriter, 1);

    writer->image = image;
    if (!qcow2_new_snapshot_begin(&writer->snapshot, image, name, old, errp)) {
        qcow2_snapshot_writer_end(writer);
        return NULL;
    }
    qcow2_vmstate_clusters_init(&writer->vmstate, writer->snapshot.transaction,
                                writer->snapshot.disk.disk_entries, 0);
    return writer;
}

const char *qcow2_snapshot_writer_id(const Qcow2SnapshotWriter *writer)
{
    return writer->snapshot.id;
}

const char *qcow2_snapshot_writer_name(const Qcow2SnapshotWriter *writer)
{
    return writer->snapshot.name;
}

bool coroutine_fn qcow2_snapshot_writer_reserve(Qcow2SnapshotWriter *writer,
                                                uint64_t end, GError **errp)
{
    const Qcow2Header *header = &writer->image->header;
    Qcow2VmstateClusters *vmstate = &writer->vmstate;
    uint64_t wanted = qcow2_bytes_to_clusters(header, end);
    uint64_t step = RESERVE_STEP_BYTES >> header->cluster_bits;

    if (end == 0) {
        return qcow2_vmstate_clusters_reserve_metadata(vmstate, errp);
    }
    while (vmstate->count < wanted) {
        uint64_t more = wanted - vmstate->count;

        /* What is asked for may still fit where a whole step does not. */
        if (!(step > more &&
              qcow2_vmstate_clusters_extend(vmstate, step, NULL)) &&
            !qcow2_vmstate_clusters_extend(vmstate, more, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_snapshot_writer_pwrite(Qcow2SnapshotWriter *writer,
                                               uint64_t position,
                                               const void *buffer, size_t bytes,
                                               GError **errp)
{
    const uint8_t *from = buffer;

    g_assert(range_within(position, bytes,
                          writer->vmstate.count
                              << writer->image->header.cluster_bits));
    g_assert(is_aligned(position | bytes, QCOW2_VMSTATE_UNIT));
    while (bytes > 0) {
        uint64_t contiguous;
        uint64_t offset =
            qcow2_vmstate_clusters_map(&writer->vmstate, position, &contiguous);
        size_t piece = MIN(bytes, contiguous);
        int ret = block_file_pwrite(writer->image->file, offset, from, piece);

        if (ret < 0) {
            snap_error_set_errno(errp, ret,
                                 "cannot write %zu bytes of VM state at "
                                 "0x%" PRIx64,
                                 piece, offset);
            return false;
        }
        position += piece;
        from += piece;
        bytes -= piece;
    }
    return true;
}

static bool clone_failed(GError **errp, int error, uint64_t bytes,
                         uint64_t offset)
{
    if (error == -ENOTSUP) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "the file system cannot clone VM state to 0x%" PRIx64,
                    offset);
    } else {
        snap_error_set_errno(errp, error,
                             "cannot clone %" PRIu64 " bytes of VM state to "
                             "0x%" PRIx64,
                             bytes, offset);
    }
    return false;
}

bool coroutine_fn qcow2_snapshot_writer_clone(Qcow2SnapshotWriter *writer,
                                              uint64_t position,
                                              BlockFile *source,
                                              uint64_t source_offset,
                                              uint64_t bytes, GError **errp)
{
    g_assert(range_within(position, bytes,
                          writer->vmstate.count
                              << writer->image->header.cluster_bits));
    while (bytes > 0) {
        uint64_t contiguous;
        uint64_t offset =
            qcow2_vmstate_clusters_map(&writer->vmstate, position, &contiguous);
        uint64_t piece = MIN(bytes, contiguous);
        int ret = block_file_clone(writer->image->file, offset, source,
                                   source_offset, piece);

        if (ret < 0) {
            return clone_failed(errp, ret, piece, offset);
        }
        position += piece;
        source_offset += piece;
        bytes -= piece;
    }
    return true;
}

bool coroutine_fn qcow2_snapshot_writer_commit(Qcow2SnapshotWriter *writer,
                                               const Qcow2SnapshotStamp *stamp,
                                               GError **errp)
{
    uint64_t end = round_up(stamp->vm_state_size, QCOW2_VMSTATE_UNIT);
    uint64_t l2_offset;
    uint64_t l2_tables;

    return qcow2_vmstate_clusters_finish(&writer->vmstate, end, errp) &&
           qcow2_vmstate_clusters_write_l2(&writer->vmstate, NULL, &l2_offset,
                                           &l2_tables, errp) &&
           qcow2_new_snapshot_commit(&writer->snapshot, stamp, l2_offset,
                                     l2_tables, errp);
}

bool qcow2_snapshot_writer_may_be_committed(const Qcow2SnapshotWriter *writer)
{
    return writer->snapshot.transaction->committed;
}

void coroutine_fn qcow2_snapshot_writer_end(Qcow2SnapshotWriter *writer)
{
    if (!writer) {
        return;
    }
    qcow2_new_snapshot_end(&writer->snapshot);
    qcow2_vmstate_clusters_clear(&writer->vmstate);
    g_free(writer);
}
