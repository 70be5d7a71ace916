/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the VM state of a snapshot: a range of it is as many requests as there
 * are pieces in the file, in parallel, so that one whose clusters are scattered
 * is read as fast as the device can.
 */
#include "compressed-cluster.h"
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
    const Qcow2Snapshot *snapshot;
    Qcow2VmstateMap *map;
    Qcow2ReadLimit limit;
    Qcow2CompressedReader compressed;
};

Qcow2VmstateReader *coroutine_fn qcow2_vmstate_reader_open(
    Qcow2Image *image, const Qcow2Snapshot *snapshot, GError **errp)
{
    Qcow2VmstateReader *reader;
    Qcow2VmstateMap *map;

    if (!qcow2_check_readable(image, errp)) {
        return NULL;
    }
    map = qcow2_vmstate_map_open(image, snapshot, false, errp);
    if (!map) {
        return NULL;
    }
    reader = g_new0(Qcow2VmstateReader, 1);
    reader->image = image;
    reader->snapshot = snapshot;
    reader->map = map;
    reader->limit.most = READS_MAX;
    reader->compressed.image = image;
    reader->compressed.limit = &reader->limit;
    return reader;
}

bool coroutine_fn qcow2_vmstate_reader_extend(Qcow2VmstateReader *reader,
                                              GError **errp)
{
    Qcow2VmstateMap *map =
        qcow2_vmstate_map_open(reader->image, reader->snapshot, true, errp);

    g_assert(reader->limit.in_flight == 0);
    if (map) {
        qcow2_vmstate_map_close(reader->map);
        reader->map = map;
    }
    return map != NULL;
}

uint64_t qcow2_vmstate_bytes(const Qcow2VmstateReader *reader)
{
    return qcow2_vmstate_map_bytes(reader->map);
}

void coroutine_fn qcow2_vmstate_reader_close(Qcow2VmstateReader *reader)
{
    if (reader) {
        g_assert(reader->limit.in_flight == 0);
        qcow2_vmstate_map_close(reader->map);
        qcow2_compressed_reader_clear(&reader->compressed);
        g_free(reader);
    }
}

static bool has_hole(const Qcow2VmstateReader *reader, uint64_t position,
                     GError **errp)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                "the VM state has a hole at position %" PRIu64 " of %" PRIu64,
                position, qcow2_vmstate_bytes(reader));
    return false;
}

/* Ask @group for @bytes of data in the file. */
static bool coroutine_fn add_data(const Qcow2VmstateReader *reader,
                                  Qcow2ReadGroup *group, uint64_t offset,
                                  uint8_t *buffer, size_t bytes, GError **errp)
{
    uint64_t file_size = reader->image->file_size;

    if (!range_within(offset, bytes, file_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the file ends at offset %" PRIu64 ", inside the VM state",
                    file_size);
        return false;
    }
    qcow2_read_group_add(group, offset, buffer, bytes);
    return true;
}

/* How many subclusters, from that numbered @first on, are in @set. */
static unsigned count_subclusters(uint32_t set, unsigned first)
{
    uint32_t others = ~set >> first;

    return others ? (unsigned)__builtin_ctz(others) : QCOW2_SUBCLUSTERS - first;
}

/*
 * Ask @group for the @bytes at @position, which are in @cluster, subclusters
 * that are alike together. Zeros need no reading; @holes are zeros, too.
 */
static bool coroutine_fn add_subclusters(const Qcow2VmstateReader *reader,
                                         Qcow2ReadGroup *group,
                                         const Qcow2Cluster *cluster,
                                         uint64_t position, uint8_t *buffer,
                                         size_t bytes, bool holes,
                                         GError **errp)
{
    uint32_t zero = holes ? ~cluster->data : cluster->zeros;
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);
    uint64_t subcluster_size = cluster_size / QCOW2_SUBCLUSTERS;
    uint64_t within = position & (cluster_size - 1);
    uint64_t end = within + bytes;

    while (within < end) {
        unsigned first = within / subcluster_size;
        unsigned data = count_subclusters(cluster->data, first);
        unsigned zeros = count_subclusters(zero, first);
        uint64_t stop = (first + MAX(data, zeros)) * subcluster_size;
        size_t piece = MIN(stop, end) - within;

        if (data == 0 && zeros == 0) {
            return has_hole(reader, position, errp);
        }
        if (zeros) {
            memset(buffer, 0, piece);
        } else if (!add_data(reader, group, cluster->offset + within, buffer,
                             piece, errp)) {
            return false;
        }
        within += piece;
        position += piece;
        buffer += piece;
    }
    return true;
}

static bool coroutine_fn read_compressed(Qcow2VmstateReader *reader,
                                         const Qcow2Cluster *cluster,
                                         uint64_t position, uint8_t *buffer,
                                         size_t bytes, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);

    if (!qcow2_compressed_read(&reader->compressed, cluster,
                               position & (cluster_size - 1), buffer, bytes,
                               errp)) {
        g_prefix_error(errp, "VM state position %" PRIu64 ": ", position);
        return false;
    }
    return true;
}

/*
 * Ask @group for the @bytes at @position, which are in one cluster. What is
 * compressed is read at once.
 */
static bool coroutine_fn add_piece(Qcow2VmstateReader *reader,
                                   Qcow2ReadGroup *group, uint64_t position,
                                   uint8_t *buffer, size_t bytes, bool holes,
                                   GError **errp)
{
    Qcow2Cluster cluster;

    if (!qcow2_vmstate_map_find(reader->map, position, &cluster, errp)) {
        return false;
    }
    if (cluster.type == QCOW2_CLUSTER_COMPRESSED) {
        return read_compressed(reader, &cluster, position, buffer, bytes, errp);
    }
    return add_subclusters(reader, group, &cluster, position, buffer, bytes,
                           holes, errp);
}

static bool coroutine_fn read_range(Qcow2VmstateReader *reader,
                                    uint64_t position, void *buffer,
                                    size_t bytes, bool holes, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&reader->image->header);
    Qcow2ReadGroup group = {
        .file = reader->image->file,
        .limit = &reader->limit,
    };
    uint8_t *to = buffer;
    size_t done = 0;
    int ret;

    g_assert(range_within(position, bytes, qcow2_vmstate_bytes(reader)));
    while (done < bytes && group.error == 0) {
        uint64_t at = position + done;
        uint64_t rest = cluster_size - (at & (cluster_size - 1));
        size_t piece = MIN(rest, bytes - done);

        if (!add_piece(reader, &group, at, to + done, piece, holes, errp)) {
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

bool coroutine_fn qcow2_vmstate_pread(Qcow2VmstateReader *reader,
                                      uint64_t position, void *buffer,
                                      size_t bytes, GError **errp)
{
    return read_range(reader, position, buffer, bytes, false, errp);
}

bool coroutine_fn qcow2_vmstate_pread_sparse(Qcow2VmstateReader *reader,
                                             uint64_t position, void *buffer,
                                             size_t bytes, GError **errp)
{
    return read_range(reader, position, buffer, bytes, true, errp);
}
