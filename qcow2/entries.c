/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * L1 and L2 entries: what the bits mean and whether they can be true of this
 * file. Whoever walks tables gets offsets from here and nowhere else.
 */
#include "bytes.h"
#include "internal.h"
#include "snap-error.h"

uint64_t *coroutine_fn qcow2_read_table(BlockFile *file, uint64_t offset,
                                        uint64_t entries, const char *what,
                                        GError **errp)
{
    uint64_t *table = NULL;
    uint64_t i;
    int ret;

    table = block_file_alloc_buffer(MAX(entries, 1) * sizeof(*table));
    if (!table) {
        snap_error_set_errno(errp, -ENOMEM, "%s of %" PRIu64 " entries", what,
                             entries);
        return NULL;
    }
    ret = block_file_pread(file, offset, table, entries * sizeof(*table));
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot read the %s at 0x%" PRIx64,
                             what, offset);
        free(table);
        return NULL;
    }
    for (i = 0; i < entries; i++) {
        table[i] = be64toh(table[i]);
    }
    return table;
}

/*
 * An offset that an entry may hold: of a whole cluster behind the header that
 * begins inside the file. Only the last cluster of a file may be partly
 * missing.
 */
static bool cluster_offset_valid(const Qcow2Image *image, uint64_t offset)
{
    return is_aligned(offset, qcow2_cluster_size(&image->header)) &&
           offset != 0 && offset < image->file_size;
}

bool qcow2_l1_entry_decode(const Qcow2Image *image, uint64_t entry,
                           uint64_t index, uint64_t *l2_offset, GError **errp)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if ((entry & QCOW2_L1_RESERVED) ||
        (offset && !cluster_offset_valid(image, offset))) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L1 entry %" PRIu64 ": 0x%016" PRIx64, index,
                    entry);
        return false;
    }
    *l2_offset = offset;
    return true;
}

/*
 * Offset and sector count share the bits below COMPRESSED; the larger the
 * cluster, the more bits the count takes.
 */
static bool decode_compressed(const Qcow2Image *image, uint64_t entry,
                              Qcow2Cluster *cluster)
{
    unsigned split = 62 - (image->header.cluster_bits - 8);
    uint64_t offset = entry & ((1ULL << split) - 1);
    uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> split;

    if (entry & QCOW2_COPIED || offset >= QCOW2_MAX_HOST_OFFSET ||
        offset < qcow2_cluster_size(&image->header) ||
        offset >= image->file_size) {
        return false;
    }
    *cluster = (Qcow2Cluster){
        .type = QCOW2_CLUSTER_COMPRESSED,
        .offset = offset,
        .bytes = (sectors + 1) * 512 - offset % 512,
    };
    return true;
}

static bool decode_standard(const Qcow2Image *image, uint64_t entry,
                            Qcow2Cluster *cluster)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    bool zero = entry & QCOW2_ZERO;

    /* Version 2 has no zero flag: set there, it is damage. */
    if ((entry & QCOW2_L2_RESERVED) || (zero && image->header.version < 3) ||
        (offset && !cluster_offset_valid(image, offset))) {
        return false;
    }
    cluster->offset = offset;
    cluster->bytes = 0;
    if (zero) {
        cluster->type = offset ? QCOW2_CLUSTER_ZERO_ALLOCATED
                               : QCOW2_CLUSTER_ZERO_PLAIN;
    } else {
        cluster->type = offset ? QCOW2_CLUSTER_NORMAL
                               : QCOW2_CLUSTER_UNALLOCATED;
    }
    return true;
}

bool qcow2_l2_entry_decode(const Qcow2Image *image, uint64_t entry,
                           uint64_t guest_cluster, Qcow2Cluster *cluster,
                           GError **errp)
{
    bool valid = (entry & QCOW2_COMPRESSED)
                     ? decode_compressed(image, entry, cluster)
                     : decode_standard(image, entry, cluster);

    if (!valid) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L2 entry 0x%016" PRIx64
                    " for guest offset 0x%" PRIx64,
                    entry, guest_cluster << image->header.cluster_bits);
    }
    return valid;
}

/*
 * How many entries with rising offsets there can be: those behind are
 * impossible, and the one that is in the way names itself.
 */
static uint64_t most_neighbours(const Qcow2Image *image, uint64_t offset)
{
    uint64_t limit = MIN(image->file_size, QCOW2_MAX_HOST_OFFSET);

    return qcow2_bytes_to_clusters(&image->header, limit - offset);
}

bool qcow2_l2_run_decode(const Qcow2Image *image, const uint64_t *table,
                         uint64_t index, uint64_t l1_index, Qcow2L2Run *run,
                         GError **errp)
{
    const Qcow2Header *header = &image->header;
    uint64_t l2_entries = qcow2_l2_entries(header);
    uint64_t entry = be64toh(table[index]);
    uint64_t most = l2_entries - index;
    uint64_t step = 0;
    uint64_t count = 1;

    if (!qcow2_l2_entry_decode(image, entry, l1_index * l2_entries + index,
                               &run->cluster, errp)) {
        return false;
    }
    switch (run->cluster.type) {
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_ZERO_PLAIN:
        break;
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        step = qcow2_cluster_size(header);
        most = MIN(most, most_neighbours(image, run->cluster.offset));
        break;
    case QCOW2_CLUSTER_COMPRESSED:
        most = 1;
        break;
    }
    while (count < most && table[index + count] == htobe64(entry + step)) {
        entry += step;
        count++;
    }
    run->entries = count;
    run->copied = (entry & QCOW2_COPIED) != 0;
    return true;
}

uint64_t *qcow2_l1_decode(const Qcow2Image *image, const uint64_t *l1,
                          uint64_t entries, GError **errp)
{
    g_autofree uint64_t *offsets = g_new(uint64_t, MAX(entries, 1));
    uint64_t i;

    for (i = 0; i < entries; i++) {
        if (!qcow2_l1_entry_decode(image, l1[i], i, &offsets[i], errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&offsets);
}
