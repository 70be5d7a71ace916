/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Makes an empty image: header, refcount table with one block, L1 table. It is
 * what `qemu-img create' would make, with the clusters laid out one behind the
 * other.
 */
#include <errno.h>

#include "bytes.h"
#include "internal.h"
#include "refcounts.h"
#include "snap-error.h"
#include "write-buffer.h"

#define HEADER_LENGTH  112
#define REFCOUNT_ORDER 4

typedef enum Layout {
    LAYOUT_HEADER,
    LAYOUT_REFCOUNT_TABLE,
    LAYOUT_REFCOUNT_BLOCK,
    LAYOUT_L1_TABLE, /* one or more clusters, none for an empty disk */
} Layout;

static bool fill_header(uint64_t disk_size, uint32_t cluster_bits,
                        Qcow2Header *header, GError **errp)
{
    *header = (Qcow2Header){
        .version = 3,
        .cluster_bits = cluster_bits,
        .refcount_order = REFCOUNT_ORDER,
        .header_length = HEADER_LENGTH,
        .refcount_table_offset = (uint64_t)LAYOUT_REFCOUNT_TABLE
                                 << cluster_bits,
        .refcount_table_clusters = 1,
    };
    if (disk_size > INT64_MAX - 511 ||
        qcow2_vm_index(header, disk_size) > QCOW2_MAX_L1_ENTRIES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "a disk of %" PRIu64 " bytes is too large for clusters of "
                    "%" PRIu64 " bytes",
                    disk_size, qcow2_cluster_size(header));
        return false;
    }
    header->size = round_up(disk_size, 512);
    header->l1_size = qcow2_vm_index(header, header->size);
    if (header->l1_size) {
        header->l1_table_offset = (uint64_t)LAYOUT_L1_TABLE << cluster_bits;
    }
    return true;
}

static void encode_header(const Qcow2Header *header, uint8_t *bytes)
{
    store_be32(bytes, 0x514649fb);
    store_be32(bytes + 4, header->version);
    store_be32(bytes + 20, header->cluster_bits);
    store_be64(bytes + 24, header->size);
    store_be32(bytes + 36, header->l1_size);
    store_be64(bytes + 40, header->l1_table_offset);
    store_be64(bytes + 48, header->refcount_table_offset);
    store_be32(bytes + 56, header->refcount_table_clusters);
    store_be32(bytes + 96, header->refcount_order);
    store_be32(bytes + 100, header->header_length);
}

/* The clusters that @header describes, one behind the other. Yields. */
static bool coroutine_fn write_clusters(BlockFile *file,
                                        const Qcow2Header *header,
                                        uint8_t *cluster, GError **errp)
{
    g_autoptr(Qcow2WriteBuffer) buffer = qcow2_write_buffer_new(file, errp);
    uint64_t size = qcow2_cluster_size(header);
    uint64_t l1_clusters =
        div_round_up(header->l1_size * sizeof(uint64_t), size);
    uint64_t clusters = LAYOUT_L1_TABLE + l1_clusters;
    uint64_t i;

    if (!buffer) {
        return false;
    }
    encode_header(header, cluster);
    if (!qcow2_write_buffer_put(buffer, 0, cluster, size, errp)) {
        return false;
    }
    memset(cluster, 0, size);
    store_be64(cluster,
               (uint64_t)LAYOUT_REFCOUNT_BLOCK << header->cluster_bits);
    if (!qcow2_write_buffer_put(buffer, size, cluster, size, errp)) {
        return false;
    }
    memset(cluster, 0, size);
    for (i = 0; i < clusters; i++) {
        qcow2_refcount_store(cluster, header->refcount_order, i, 1);
    }
    return qcow2_write_buffer_put(buffer, 2 * size, cluster, size, errp) &&
           qcow2_write_buffer_put(buffer, 3 * size, NULL, l1_clusters * size,
                                  errp) &&
           qcow2_write_buffer_flush(buffer, errp);
}

bool coroutine_fn qcow2_create(BlockFile *file, uint64_t disk_size,
                               uint32_t cluster_bits, GError **errp)
{
    Qcow2Header header;
    uint8_t *cluster;
    bool written;
    int ret;

    g_assert(cluster_bits >= QCOW2_MIN_CLUSTER_BITS &&
             cluster_bits <= QCOW2_MAX_CLUSTER_BITS);
    if (!fill_header(disk_size, cluster_bits, &header, errp)) {
        return false;
    }
    /* One refcount block describes the few clusters of an empty image. */
    if (LAYOUT_L1_TABLE + div_round_up(header.l1_size * sizeof(uint64_t),
                                       qcow2_cluster_size(&header)) >
        qcow2_cluster_size(&header) * 8 >> REFCOUNT_ORDER) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "a disk of %" PRIu64 " bytes is too large for clusters of "
                    "%" PRIu64 " bytes",
                    disk_size, qcow2_cluster_size(&header));
        return false;
    }
    cluster = block_file_alloc_buffer(qcow2_cluster_size(&header));
    if (!cluster) {
        snap_error_set_errno(errp, -ENOMEM, "new image");
        return false;
    }
    written = write_clusters(file, &header, cluster, errp);
    free(cluster);
    if (!written) {
        return false;
    }
    ret = block_file_flush(file);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make the new image stable");
        return false;
    }
    return true;
}
