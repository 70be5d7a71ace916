/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See compressed-cluster.h. The last cluster is kept, because a large one is
 * asked for in pieces.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compressed-cluster.h"
#include "decompress.h"
#include "snap-error.h"

/* A cluster of sectors more than it is long is what the L2 entry can say. */
static uint64_t most_packed_bytes(const Qcow2Header *header)
{
    return 2 * qcow2_cluster_size(header);
}

static bool take_memory(Qcow2CompressedReader *reader, GError **errp)
{
    const Qcow2Header *header = &reader->image->header;

    if (!reader->packed) {
        reader->packed = block_file_alloc_buffer(most_packed_bytes(header));
    }
    if (!reader->cluster) {
        reader->cluster = block_file_alloc_buffer(qcow2_cluster_size(header));
    }
    if (!reader->packed || !reader->cluster) {
        snap_error_set_errno(errp, -ENOMEM, "compressed cluster");
        return false;
    }
    return true;
}

/* QEMU ends files with compressed data, not with whole sectors. */
static bool coroutine_fn read_packed(Qcow2CompressedReader *reader,
                                     const Qcow2Cluster *cluster, size_t *bytes,
                                     GError **errp)
{
    Qcow2ReadGroup group = {
        .file = reader->image->file,
        .limit = reader->limit,
    };
    int ret;

    *bytes = MIN(cluster->bytes, reader->image->file_size - cluster->offset);
    g_assert(*bytes <= most_packed_bytes(&reader->image->header));
    qcow2_read_group_add(&group, cluster->offset, reader->packed, *bytes);
    ret = qcow2_read_group_finish(&group);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the compressed cluster at "
                             "0x%" PRIx64,
                             cluster->offset);
    }
    return ret == 0;
}

static bool coroutine_fn unpack(Qcow2CompressedReader *reader,
                                const Qcow2Cluster *cluster, GError **errp)
{
    const Qcow2Header *header = &reader->image->header;
    size_t packed_bytes;
    int ret;

    reader->offset = 0;
    if (!take_memory(reader, errp) ||
        !read_packed(reader, cluster, &packed_bytes, errp)) {
        return false;
    }
    ret = qcow2_decompress(header->compression_type, reader->packed,
                           packed_bytes, reader->cluster,
                           qcow2_cluster_size(header));
    if (ret == -ENOMEM) {
        snap_error_set_errno(errp, ret, "compressed cluster");
        return false;
    }
    if (ret < 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the compressed cluster at 0x%" PRIx64
                    " cannot be decompressed",
                    cluster->offset);
        return false;
    }
    reader->offset = cluster->offset;
    return true;
}

bool coroutine_fn qcow2_compressed_read(Qcow2CompressedReader *reader,
                                        const Qcow2Cluster *cluster,
                                        uint64_t within, uint8_t *buffer,
                                        size_t bytes, GError **errp)
{
    bool there;

    coroutine_mutex_lock(&reader->turn);
    there = reader->offset == cluster->offset || unpack(reader, cluster, errp);
    if (there) {
        memcpy(buffer, reader->cluster + within, bytes);
    }
    coroutine_mutex_unlock(&reader->turn);
    return there;
}

void qcow2_compressed_reader_clear(Qcow2CompressedReader *reader)
{
    g_clear_pointer(&reader->packed, free);
    g_clear_pointer(&reader->cluster, free);
}
