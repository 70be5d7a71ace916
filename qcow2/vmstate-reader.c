/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the VM state of a snapshot: a range of it is as many requests as there
 * are pieces in the file, in parallel, so that one whose clusters are scattered
 * is read as fast as the device can.
 */
#include "qcow2-vmstate.h"
#include "read-group.h"
#include "snap-error.h"
#include "vmstate-map.h"

/*
 * Requests for VM state in flight, whoever they are for: what the kernel takes
 * at once from an engine (128), less what one window of L2 tables may ask for.
 */
#define READS_MAX (128 - QCOW2_READ_GROUP_DEPTH)

struct Qcow2VmstateReader {
    const Qcow2Image *image;
    uint64_t bytes; /* of VM state */
    Qcow2VmstateMap *map;
    Qcow2ReadLimit limit;
};

Qcow2VmstateReader *coroutine_fn qcow2_vmstate_reader_open(
    Qcow2Image *image, const Qcow2Snapshot *snapshot, GError **errp)
{
    Qcow2VmstateReader *reader;
    Qcow2VmstateMap *map;

    if (!qcow2_check_readable(image, errp)) {
        return NULL;
    }
    if (snapshot->vm_state_size == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "snapshot '%s' holds no VM state, only the disk",
                    snapshot->name);
        return NULL;
    }
    map = qcow2_vmstate_map_open(image, snapshot, errp);
    if (!map) {
        return NULL;
    }
    reader = g_new0(Qcow2VmstateReader, 1);
    reader->image = image;
    reader->bytes = snapshot->vm_state_size;
    reader->map = map;
    reader->limit.most = READS_MAX;
    return reader;
}

void coroutine_fn qcow2_vmstate_reader_close(Qcow2VmstateReader *reader)
{
    if (reader) {
        g_assert(reader->limit.in_flight == 0);
        qcow2_vmstate_map_close(reader->map);
        g_free(reader);
    }
}

/* Can the bytes of @cluster be read at all? @position is for the error. */
static bool check_cluster(const Qcow2VmstateReader *reader, uint64_t position,
                          const Qcow2Cluster *cluster, GError **errp)
{
    switch (cluster->type) {
    case QCOW2_CLUSTER_UNALLOCATED:
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the VM state has a hole at position %" PRIu64
                    " of %" PRIu64,
                    position, reader->bytes);
        return false;
    case QCOW2_CLUSTER_COMPRESSED:
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "compressed clusters in the VM state are not supported "
                    "(position %" PRIu64 ")",
                    position);
        return false;
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_PLAIN:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        return true;
    }
    g_assert_not_reached();
}

/*
 * Ask @group for the @bytes at @position, which are in one cluster. Zeros need
 * no reading.
 */
static bool coroutine_fn add_piece(Qcow2VmstateReader *reader,
                                   Qcow2ReadGroup *group, uint64_t position,
                                   uint8_t *buffer, size_t bytes, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);
    uint64_t file_size = reader->image->file_size;
    Qcow2Cluster cluster;
    uint64_t offset;

    if (!qcow2_vmstate_map_find(reader->map, position, &cluster, errp) ||
        !check_cluster(reader, position, &cluster, errp)) {
        return false;
    }
    if (cluster.type != QCOW2_CLUSTER_NORMAL) {
        memset(buffer, 0, bytes);
        return true;
    }
    offset = cluster.offset + (position & (cluster_size - 1));
    if (!range_within(offset, bytes, file_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the file ends at offset %" PRIu64 ", inside the VM state",
                    file_size);
        return false;
    }
    qcow2_read_group_add(group, offset, buffer, bytes);
    return true;
}

bool coroutine_fn qcow2_vmstate_pread(Qcow2VmstateReader *reader,
                                      uint64_t position, void *buffer,
                                      size_t bytes, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);
    Qcow2ReadGroup group = {
        .file = reader->image->file,
        .limit = &reader->limit,
    };
    uint8_t *to = buffer;
    size_t done = 0;
    int ret;

    g_assert(range_within(position, bytes, reader->bytes));
    while (done < bytes && group.error == 0) {
        uint64_t at = position + done;
        uint64_t rest = cluster_size - (at & (cluster_size - 1));
        size_t piece = MIN(rest, bytes - done);

        if (!add_piece(reader, &group, at, to + done, piece, errp)) {
            qcow2_read_group_abandon(&group);
            return false;
        }
        done += piece;
    }
    ret = qcow2_read_group_finish(&group);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read %zu bytes of VM state at "
                             "0x%" PRIx64 " (position %" PRIu64 ")",
                             group.error_bytes, group.error_offset,
                             position + (group.error_buffer - to));
    }
    return ret == 0;
}
