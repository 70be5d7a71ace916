/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the VM state of a snapshot through the snapshot's own L1 table. Only
 * the part of the L1 that maps VM state is held; L2 tables pass through a
 * window that holds several when they lie next to each other in the file, as
 * small clusters make many of them.
 */
#include <errno.h>

#include "bytes.h"
#include "event-loop.h"
#include "internal.h"
#include "qcow2-vmstate.h"
#include "snap-error.h"

/* At least one L2 table, and as many more as fit and are adjacent. */
#define WINDOW_BYTES (64 * 1024)

struct Qcow2VmstateReader {
    /* Constant after _open(). */
    const Qcow2Image *image;
    uint64_t bytes; /* of VM state */
    uint64_t *l1;   /* L2 table offsets, from the VM state's first on */
    uint64_t l1_entries;
    size_t window_bytes; /* a multiple of the cluster size */

    /* Protected by `lock'. */
    CoroutineMutex lock;
    uint64_t *window;       /* L2 entries as stored */
    uint64_t window_first;  /* index in `l1' of the first table in there */
    uint64_t window_tables; /* 0: nothing there */
};

static bool check_bounds(const Qcow2Image *image, const Qcow2Snapshot *snapshot,
                         GError **errp)
{
    const Qcow2Header *header = &image->header;
    uint64_t vm_index = qcow2_snapshot_vm_index(header, snapshot);
    uint64_t needed = div_round_up(snapshot->vm_state_size,
                                   1ULL << qcow2_l1_span_bits(header));

    if (snapshot->vm_state_size == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "snapshot '%s' holds no VM state, only the disk",
                    snapshot->name);
        return false;
    }
    if (snapshot->l1_size > QCOW2_MAX_L1_ENTRIES ||
        !is_aligned(snapshot->l1_table_offset, qcow2_cluster_size(header)) ||
        !range_within(snapshot->l1_table_offset,
                      snapshot->l1_size * sizeof(uint64_t), image->file_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L1 table of snapshot '%s': %u entries at "
                    "0x%" PRIx64,
                    snapshot->name, snapshot->l1_size,
                    snapshot->l1_table_offset);
        return false;
    }
    if (!range_within(vm_index, needed, snapshot->l1_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the L1 table of snapshot '%s' with %u entries cannot map "
                    "%" PRIu64 " bytes of VM state",
                    snapshot->name, snapshot->l1_size, snapshot->vm_state_size);
        return false;
    }
    return true;
}

static bool coroutine_fn read_l1(Qcow2VmstateReader *reader,
                                 const Qcow2Snapshot *snapshot, GError **errp)
{
    const Qcow2Header *header = &reader->image->header;
    uint64_t vm_index = qcow2_snapshot_vm_index(header, snapshot);
    uint64_t i;

    reader->l1_entries =
        div_round_up(reader->bytes, 1ULL << qcow2_l1_span_bits(header));
    reader->l1 = qcow2_read_table(
        reader->image->file,
        snapshot->l1_table_offset + vm_index * sizeof(uint64_t),
        reader->l1_entries, "L1 table of the snapshot", errp);
    if (!reader->l1) {
        return false;
    }
    for (i = 0; i < reader->l1_entries; i++) {
        if (!qcow2_l1_entry_decode(reader->image, reader->l1[i], vm_index + i,
                                   &reader->l1[i], errp)) {
            return false;
        }
    }
    return true;
}

Qcow2VmstateReader *coroutine_fn qcow2_vmstate_reader_open(
    Qcow2Image *image, const Qcow2Snapshot *snapshot, GError **errp)
{
    Qcow2VmstateReader *reader;

    if (!qcow2_check_readable(image, errp) ||
        !check_bounds(image, snapshot, errp)) {
        return NULL;
    }
    reader = g_new0(Qcow2VmstateReader, 1);
    reader->image = image;
    reader->bytes = snapshot->vm_state_size;
    reader->window_bytes =
        MAX(WINDOW_BYTES, qcow2_cluster_size(&image->header));
    reader->window = block_file_alloc_buffer(reader->window_bytes);
    if (!reader->window) {
        snap_error_set_errno(errp, -ENOMEM, "L2 tables");
        goto fail;
    }
    if (!read_l1(reader, snapshot, errp)) {
        goto fail;
    }
    return reader;

fail:
    qcow2_vmstate_reader_close(reader);
    return NULL;
}

void qcow2_vmstate_reader_close(Qcow2VmstateReader *reader)
{
    if (reader) {
        free(reader->l1);
        free(reader->window);
        g_free(reader);
    }
}

static bool hole(const Qcow2VmstateReader *reader, uint64_t position,
                 GError **errp)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                "the VM state has a hole at position %" PRIu64 " of %" PRIu64,
                position, reader->bytes);
    return false;
}

/* How many tables from @first on lie in one piece of the file and fit? */
static uint64_t adjacent_tables(const Qcow2VmstateReader *reader,
                                uint64_t first)
{
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);
    uint64_t most =
        MIN(reader->window_bytes / cluster_size, reader->l1_entries - first);
    uint64_t count = 1;

    while (count < most && reader->l1[first + count] ==
                               reader->l1[first] + count * cluster_size) {
        count++;
    }
    return count;
}

/* Bring the L2 table with index @table into the window. Yields; locked. */
static bool coroutine_fn load_window(Qcow2VmstateReader *reader, uint64_t table,
                                     GError **errp)
{
    const Qcow2Header *header = &reader->image->header;
    uint64_t count;
    int ret;

    if (table >= reader->window_first &&
        table - reader->window_first < reader->window_tables) {
        return true;
    }
    if (reader->l1[table] == 0) {
        return hole(reader, table << qcow2_l1_span_bits(header), errp);
    }
    count = adjacent_tables(reader, table);
    reader->window_tables = 0;
    ret = block_file_pread(reader->image->file, reader->l1[table],
                           reader->window, count << header->cluster_bits);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the L2 table at 0x%" PRIx64,
                             reader->l1[table]);
        return false;
    }
    reader->window_first = table;
    reader->window_tables = count;
    return true;
}

/* A run of VM state that is one run in the file, or zeros. */
typedef struct Run {
    bool zeros;
    uint64_t offset; /* in the file */
    uint64_t bytes;
} Run;

/* What is at @position, as far as one cluster tells; locked, in window. */
static bool decode_cluster(const Qcow2VmstateReader *reader, uint64_t position,
                           Run *run, GError **errp)
{
    const Qcow2Header *header = &reader->image->header;
    uint64_t number = position >> header->cluster_bits;
    uint64_t first = reader->window_first * qcow2_l2_entries(header);
    uint64_t within = position & (qcow2_cluster_size(header) - 1);
    Qcow2Cluster cluster;

    if (!qcow2_l2_entry_decode(reader->image,
                               be64toh(reader->window[number - first]), number,
                               &cluster, errp)) {
        g_prefix_error(errp, "VM state position %" PRIu64 ": ", position);
        return false;
    }
    switch (cluster.type) {
    case QCOW2_CLUSTER_UNALLOCATED:
        return hole(reader, position, errp);
    case QCOW2_CLUSTER_COMPRESSED:
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "compressed clusters in the VM state are not supported "
                    "(position %" PRIu64 ")",
                    position);
        return false;
    default:
        *run = (Run){
            .zeros = cluster.type != QCOW2_CLUSTER_NORMAL,
            .offset = cluster.offset + within,
            .bytes = qcow2_cluster_size(header) - within,
        };
        return true;
    }
}

/*
 * The longest run at @position, up to @bytes, that the window knows. Yields;
 * locked.
 */
static bool coroutine_fn map_run(Qcow2VmstateReader *reader, uint64_t position,
                                 uint64_t bytes, Run *run, GError **errp)
{
    const Qcow2Header *header = &reader->image->header;
    unsigned span_bits = qcow2_l1_span_bits(header);
    uint64_t window_end;
    Run next;

    if (!load_window(reader, position >> span_bits, errp) ||
        !decode_cluster(reader, position, run, errp)) {
        return false;
    }
    window_end = (reader->window_first + reader->window_tables) << span_bits;
    while (run->bytes < bytes && position + run->bytes < window_end) {
        if (!decode_cluster(reader, position + run->bytes, &next, errp)) {
            return false;
        }
        if (next.zeros != run->zeros ||
            (!run->zeros && next.offset != run->offset + run->bytes)) {
            break;
        }
        run->bytes += next.bytes;
    }
    run->bytes = MIN(run->bytes, bytes);
    return true;
}

static bool coroutine_fn read_run(const Qcow2VmstateReader *reader,
                                  uint64_t position, const Run *run,
                                  void *buffer, GError **errp)
{
    int ret;

    if (run->zeros) {
        memset(buffer, 0, run->bytes);
        return true;
    }
    if (!range_within(run->offset, run->bytes, reader->image->file_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the file ends at offset %" PRIu64 ", inside the VM state",
                    reader->image->file_size);
        return false;
    }
    ret =
        block_file_pread(reader->image->file, run->offset, buffer, run->bytes);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read %" PRIu64 " bytes of VM state at "
                             "0x%" PRIx64 " (position %" PRIu64 ")",
                             run->bytes, run->offset, position);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_vmstate_pread(Qcow2VmstateReader *reader,
                                      uint64_t position, void *buffer,
                                      size_t bytes, GError **errp)
{
    uint8_t *to = buffer;

    g_assert(range_within(position, bytes, reader->bytes));
    while (bytes > 0) {
        Run run;
        bool mapped;

        coroutine_mutex_lock(&reader->lock);
        mapped = map_run(reader, position, bytes, &run, errp);
        coroutine_mutex_unlock(&reader->lock);
        if (!mapped || !read_run(reader, position, &run, to, errp)) {
            return false;
        }
        position += run.bytes;
        to += run.bytes;
        bytes -= run.bytes;
    }
    return true;
}
