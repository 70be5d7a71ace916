/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Makes a snapshot with VM state. The VM state goes into long runs of fresh
 * clusters as it arrives; its L2 tables are not kept while the stream passes
 * but computed from the runs at the end.
 * The snapshot's L1 is its own from the start: the active L1 never maps VM
 * state here.
 *
 * States: a writer is begun, gets room and data, and is committed or not.
 * Whatever happens before the commit happens in clusters that nobody refers
 * to (transaction.h, invariant 1).
 */
#include "bytes.h"
#include "new-snapshot.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"

/*
 * Disk space is taken in steps of this many bytes: large enough that the file
 * system finds contiguous room and is not asked often, small enough that
 * little is taken in vain.
 */
#define RESERVE_STEP_BYTES (64ULL * 1024 * 1024)

/* Free space in the middle of the image is used in pieces of at least this. */
#define LEAST_RUN_BYTES (1024ULL * 1024)

struct Qcow2SnapshotWriter {
    /* Constant after _begin(). */
    Qcow2Image *image;
    Qcow2NewSnapshot snapshot;

    /* Owned by the coroutine that reserves and commits. */
    GArray *runs;              /* of VmstateRun, in the order of the VM state */
    uint64_t vmstate_clusters; /* of all runs together */
};

/* Clusters of VM state that lie next to each other in the file. */
typedef struct VmstateRun {
    uint64_t index;  /* of the first one in the VM state */
    uint64_t offset; /* in the file, bytes */
    uint64_t clusters;
} VmstateRun;

Qcow2SnapshotWriter *coroutine_fn qcow2_snapshot_writer_begin(
    Qcow2Image *image, const char *name, const Qcow2Snapshot *old,
    GError **errp)
{
    Qcow2SnapshotWriter *writer = g_new0(Qcow2SnapshotWriter, 1);

    writer->image = image;
    writer->runs = g_array_new(FALSE, FALSE, sizeof(VmstateRun));
    if (!qcow2_new_snapshot_begin(&writer->snapshot, image, name, old, errp)) {
        qcow2_snapshot_writer_end(writer);
        return NULL;
    }
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

static uint64_t vmstate_l2_tables(const Qcow2SnapshotWriter *writer)
{
    return div_round_up(writer->vmstate_clusters,
                        qcow2_l2_entries(&writer->image->header));
}

/*
 * An upper bound for what the commit will write behind @clusters clusters of
 * VM state: L2 tables, two L1 tables, the snapshot table, and the refcounts of
 * everything, themselves included.
 */
static uint64_t metadata_bytes(const Qcow2SnapshotWriter *writer,
                               uint64_t clusters)
{
    const Qcow2Image *image = writer->image;
    const Qcow2Header *header = &image->header;
    const Qcow2Refcounts *refcounts = writer->snapshot.transaction->refcounts;
    uint64_t tables =
        qcow2_l2_entry_bytes(header) * clusters + /* L2 tables */
        16 * (header->l1_size + clusters / qcow2_l2_entries(header)) +
        qcow2_snapshot_table_bytes(image->snapshots) + 1024 +
        8 * refcounts->table_entries;
    uint64_t blocks = refcounts->changed->len +
                      clusters / qcow2_refcounts_per_block(refcounts);

    /* A dozen clusters for what is rounded up, an eighth for refcounts. */
    return (tables + tables / 8) +
           (blocks + blocks / 8 + 12) * qcow2_cluster_size(header);
}

static VmstateRun *last_run(const Qcow2SnapshotWriter *writer)
{
    return writer->runs->len
               ? &g_array_index(writer->runs, VmstateRun, writer->runs->len - 1)
               : NULL;
}

static void add_run(Qcow2SnapshotWriter *writer, uint64_t offset,
                    uint64_t clusters)
{
    unsigned cluster_bits = writer->image->header.cluster_bits;
    VmstateRun *last = last_run(writer);
    VmstateRun run = {
        .index = writer->vmstate_clusters,
        .offset = offset,
        .clusters = clusters,
    };

    if (last && last->offset + (last->clusters << cluster_bits) == offset) {
        last->clusters += clusters;
    } else {
        g_array_append_val(writer->runs, run);
    }
    writer->vmstate_clusters += clusters;
}

/* Forget all clusters but the first @keep. */
static void cut_runs(Qcow2SnapshotWriter *writer, uint64_t keep)
{
    VmstateRun *last;

    qcow2_transaction_give_back(writer->snapshot.transaction,
                                writer->vmstate_clusters - keep);
    while ((last = last_run(writer)) && last->index >= keep) {
        g_array_set_size(writer->runs, writer->runs->len - 1);
    }
    if (last) {
        last->clusters = keep - last->index;
    }
    writer->vmstate_clusters = keep;
}

/*
 * Take @least to @most clusters more for VM state, in the file and on the
 * disk. Yields.
 */
static bool coroutine_fn extend(Qcow2SnapshotWriter *writer, uint64_t least,
                                uint64_t most, GError **errp)
{
    const Qcow2Header *header = &writer->image->header;
    uint64_t before = writer->vmstate_clusters;
    uint64_t offset;
    uint64_t clusters;

    if (writer->snapshot.disk.disk_entries +
            div_round_up(before + most, qcow2_l2_entries(header)) >
        QCOW2_MAX_L1_ENTRIES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "clusters of %" PRIu64 " bytes cannot map more than "
                    "%" PRIu64 " bytes of VM state",
                    qcow2_cluster_size(header),
                    (QCOW2_MAX_L1_ENTRIES - writer->snapshot.disk.disk_entries)
                        << qcow2_l1_span_bits(header));
        return false;
    }
    if (!qcow2_transaction_allocate_some(writer->snapshot.transaction, least,
                                         most, &offset, &clusters, errp)) {
        return false;
    }
    add_run(writer, offset, clusters);
    if (!qcow2_transaction_reserve(
            writer->snapshot.transaction, offset,
            clusters << header->cluster_bits,
            metadata_bytes(writer, writer->vmstate_clusters), errp)) {
        cut_runs(writer, before);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_snapshot_writer_reserve(Qcow2SnapshotWriter *writer,
                                                uint64_t end, GError **errp)
{
    const Qcow2Header *header = &writer->image->header;
    uint64_t wanted = div_round_up(end, qcow2_cluster_size(header));
    uint64_t step = RESERVE_STEP_BYTES >> header->cluster_bits;
    uint64_t least = MAX(LEAST_RUN_BYTES >> header->cluster_bits, 1);

    if (end == 0) {
        return qcow2_transaction_reserve(writer->snapshot.transaction, 0, 0,
                                         metadata_bytes(writer, 0), errp);
    }
    while (writer->vmstate_clusters < wanted) {
        uint64_t more = wanted - writer->vmstate_clusters;

        /* What is asked for may still fit where a whole step does not. */
        if (!(step > more && extend(writer, least, step, NULL)) &&
            !extend(writer, MIN(least, more), more, errp)) {
            return false;
        }
    }
    return true;
}

/* The run that holds the VM state's cluster number @index, which is there. */
static const VmstateRun *find_run(const Qcow2SnapshotWriter *writer,
                                  uint64_t index)
{
    guint low = 0;
    guint high = writer->runs->len;

    while (high - low > 1) {
        guint middle = (low + high) / 2;

        if (g_array_index(writer->runs, VmstateRun, middle).index <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &g_array_index(writer->runs, VmstateRun, low);
}

/* Where @position is in the file, and how many bytes follow it there. */
static uint64_t map_position(const Qcow2SnapshotWriter *writer,
                             uint64_t position, uint64_t *bytes)
{
    unsigned cluster_bits = writer->image->header.cluster_bits;
    const VmstateRun *run = find_run(writer, position >> cluster_bits);
    uint64_t within = position - (run->index << cluster_bits);

    *bytes = (run->clusters << cluster_bits) - within;
    return run->offset + within;
}

bool coroutine_fn qcow2_snapshot_writer_pwrite(Qcow2SnapshotWriter *writer,
                                               uint64_t position,
                                               const void *buffer, size_t bytes,
                                               GError **errp)
{
    const uint8_t *from = buffer;

    g_assert(range_within(position, bytes,
                          writer->vmstate_clusters
                              << writer->image->header.cluster_bits));
    g_assert(is_aligned(position | bytes, QCOW2_VMSTATE_UNIT));
    while (bytes > 0) {
        uint64_t contiguous;
        uint64_t offset = map_position(writer, position, &contiguous);
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
                          writer->vmstate_clusters
                              << writer->image->header.cluster_bits));
    while (bytes > 0) {
        uint64_t contiguous;
        uint64_t offset = map_position(writer, position, &contiguous);
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

/* Give back clusters behind the end and fill up the last one with zeros. */
static bool coroutine_fn finish_data(Qcow2SnapshotWriter *writer,
                                     uint64_t vm_state_size, GError **errp)
{
    const Qcow2Header *header = &writer->image->header;
    uint64_t used = div_round_up(vm_state_size, qcow2_cluster_size(header));
    uint64_t written = round_up(vm_state_size, QCOW2_VMSTATE_UNIT);
    uint64_t rest = (used << header->cluster_bits) - written;
    uint64_t contiguous;

    g_assert(used <= writer->vmstate_clusters);
    cut_runs(writer, used);
    return rest == 0 ||
           qcow2_write_buffer_put(writer->snapshot.transaction->metadata,
                                  map_position(writer, written, &contiguous),
                                  NULL, rest, errp);
}

/* The L2 tables of the VM state, one behind the other. */
static bool coroutine_fn write_l2_tables(Qcow2SnapshotWriter *writer,
                                         uint64_t *offset, GError **errp)
{
    const Qcow2Header *header = &writer->image->header;
    uint64_t tables = vmstate_l2_tables(writer);
    uint64_t entries = tables * qcow2_l2_entries(header);
    uint64_t entry_bytes = qcow2_l2_entry_bytes(header);
    uint64_t i;

    *offset = 0;
    if (tables == 0) {
        return true;
    }
    if (!qcow2_transaction_allocate(writer->snapshot.transaction, tables,
                                    offset, errp)) {
        return false;
    }
    for (i = 0; i < entries; i++) {
        uint64_t contiguous;
        /* The second number, of which 32 bits are set, is for extended L2. */
        uint64_t entry[2] = { 0 };

        if (i < writer->vmstate_clusters) {
            entry[0] = htobe64(
                map_position(writer, i << header->cluster_bits, &contiguous));
            entry[1] = htobe64(QCOW2_SUBCLUSTERS_DATA);
        }
        if (!qcow2_write_buffer_put(writer->snapshot.transaction->metadata,
                                    *offset + i * entry_bytes, entry,
                                    entry_bytes, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_snapshot_writer_commit(Qcow2SnapshotWriter *writer,
                                               const Qcow2SnapshotStamp *stamp,
                                               GError **errp)
{
    uint64_t l2_offset;

    return finish_data(writer, stamp->vm_state_size, errp) &&
           write_l2_tables(writer, &l2_offset, errp) &&
           qcow2_new_snapshot_commit(&writer->snapshot, stamp, l2_offset,
                                     vmstate_l2_tables(writer), errp);
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
    g_array_unref(writer->runs);
    g_free(writer);
}
