/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * L1 and L2 entries: what the bits mean and whether they can be true of this
 * file. Whoever walks tables gets offsets from here and nowhere else.
 */
#include <errno.h>

#include "bytes.h"
#include "internal.h"
#include "snap-error.h"

static void set_no_memory(GError **errp, const char *what, uint64_t entries)
{
    snap_error_set_errno(errp, -ENOMEM, "%s of %" PRIu64 " entries", what,
                         entries);
}

uint64_t *qcow2_new_table(uint64_t entries, const char *what, GError **errp)
{
    uint64_t *table = g_try_new0(uint64_t, MAX(entries, 1));

    if (!table) {
        set_no_memory(errp, what, entries);
    }
    return table;
}

uint64_t *coroutine_fn qcow2_read_table(BlockFile *file, uint64_t offset,
                                        uint64_t entries, const char *what,
                                        GError **errp)
{
    uint64_t *table = NULL;
    uint64_t i;
    int ret;

    table = block_file_alloc_buffer(MAX(entries, 1) * sizeof(*table));
    if (!table) {
        set_no_memory(errp, what, entries);
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

Qcow2L2Entry qcow2_l2_entry_load(const Qcow2Header *header,
                                 const uint64_t *table, uint64_t index)
{
    unsigned words = qcow2_l2_entry_words(header);

    return (Qcow2L2Entry){
        .entry = be64toh(table[index * words]),
        .subclusters = words == 2 ? be64toh(table[index * words + 1]) : 0,
    };
}

/*
 * Offset and sector count share the bits below COMPRESSED; the larger the
 * cluster, the more bits the count takes.
 */
static bool decode_compressed(const Qcow2Image *image, Qcow2L2Entry entry,
                              Qcow2Cluster *cluster)
{
    unsigned split = 62 - (image->header.cluster_bits - 8);
    uint64_t offset = entry.entry & ((1ULL << split) - 1);
    uint64_t sectors = (entry.entry & (QCOW2_COMPRESSED - 1)) >> split;

    if (entry.entry & QCOW2_COPIED || entry.subclusters ||
        offset >= QCOW2_MAX_HOST_OFFSET ||
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

/* No subcluster is data and zeros, and none has data without a place for it. */
static bool subclusters_valid(const Qcow2Cluster *cluster)
{
    return !(cluster->data & cluster->zeros) &&
           (cluster->offset || !cluster->data);
}

/* What the subclusters are: with extended L2 the zero flag is reserved. */
static bool decode_subclusters(const Qcow2Image *image, Qcow2L2Entry entry,
                               Qcow2Cluster *cluster)
{
    bool zero = entry.entry & QCOW2_ZERO;

    if (qcow2_l2_entry_words(&image->header) == 2) {
        cluster->data = entry.subclusters & QCOW2_SUBCLUSTERS_ALL;
        cluster->zeros = entry.subclusters >> QCOW2_SUBCLUSTERS;
        return !zero && subclusters_valid(cluster);
    }
    cluster->data = zero || !cluster->offset ? 0 : QCOW2_SUBCLUSTERS_ALL;
    cluster->zeros = zero ? QCOW2_SUBCLUSTERS_ALL : 0;
    /* Version 2 has no zero flag: set there, it is damage. */
    return !zero || image->header.version >= 3;
}

static bool decode_standard(const Qcow2Image *image, Qcow2L2Entry entry,
                            Qcow2Cluster *cluster)
{
    uint64_t offset = entry.entry & QCOW2_OFFSET_MASK;

    cluster->offset = offset;
    cluster->bytes = 0;
    if ((entry.entry & QCOW2_L2_RESERVED) ||
        (offset && !cluster_offset_valid(image, offset)) ||
        !decode_subclusters(image, entry, cluster)) {
        return false;
    }
    if (cluster->zeros == QCOW2_SUBCLUSTERS_ALL) {
        cluster->type = offset ? QCOW2_CLUSTER_ZERO_ALLOCATED
                               : QCOW2_CLUSTER_ZERO_PLAIN;
    } else {
        cluster->type = offset ? QCOW2_CLUSTER_NORMAL
                               : QCOW2_CLUSTER_UNALLOCATED;
    }
    return true;
}

static bool refuse_entry(const Qcow2Image *image, Qcow2L2Entry entry,
                         uint64_t guest_cluster, GError **errp)
{
    uint64_t guest_offset = guest_cluster << image->header.cluster_bits;

    if (qcow2_l2_entry_words(&image->header) == 2) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L2 entry 0x%016" PRIx64
                    " with subclusters 0x%016" PRIx64
                    " for guest offset 0x%" PRIx64,
                    entry.entry, entry.subclusters, guest_offset);
    } else {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L2 entry 0x%016" PRIx64
                    " for guest offset 0x%" PRIx64,
                    entry.entry, guest_offset);
    }
    return false;
}

bool qcow2_l2_entry_decode(const Qcow2Image *image, Qcow2L2Entry entry,
                           uint64_t guest_cluster, Qcow2Cluster *cluster,
                           GError **errp)
{
    bool valid = (entry.entry & QCOW2_COMPRESSED)
                     ? decode_compressed(image, entry, cluster)
                     : decode_standard(image, entry, cluster);

    return valid || refuse_entry(image, entry, guest_cluster, errp);
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

/* Can the subclusters of an entry that is otherwise possible be? */
static bool subclusters_possible(const Qcow2Image *image, const uint64_t *table,
                                 uint64_t index)
{
    Qcow2L2Entry entry = qcow2_l2_entry_load(&image->header, table, index);
    Qcow2Cluster cluster = { .offset = entry.entry & QCOW2_OFFSET_MASK };

    return decode_subclusters(image, entry, &cluster);
}

bool qcow2_l2_run_decode(const Qcow2Image *image, const uint64_t *table,
                         uint64_t index, uint64_t l1_index, Qcow2L2Run *run,
                         GError **errp)
{
    const Qcow2Header *header = &image->header;
    uint64_t l2_entries = qcow2_l2_entries(header);
    unsigned words = qcow2_l2_entry_words(header);
    Qcow2L2Entry first = qcow2_l2_entry_load(header, table, index);
    uint64_t entry = first.entry;
    uint64_t most = l2_entries - index;
    uint64_t step = 0;
    uint64_t count = 1;

    if (!qcow2_l2_entry_decode(image, first, l1_index * l2_entries + index,
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
    while (count < most &&
           table[(index + count) * words] == htobe64(entry + step) &&
           (words == 1 || subclusters_possible(image, table, index + count))) {
        entry += step;
        count++;
    }
    run->entries = count;
    run->copied = (entry & QCOW2_COPIED) != 0;
    return true;
}

uint64_t qcow2_l2_run_bytes(const Qcow2Header *header, const Qcow2L2Run *run)
{
    switch (run->cluster.type) {
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_ZERO_PLAIN:
        return 0;
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        return run->entries << header->cluster_bits;
    case QCOW2_CLUSTER_COMPRESSED:
        return run->cluster.bytes;
    }
    g_assert_not_reached();
}

uint64_t *qcow2_l1_decode(const Qcow2Image *image, const uint64_t *l1,
                          uint64_t entries, GError **errp)
{
    g_autofree uint64_t *offsets = qcow2_new_table(entries, "L1 table", errp);
    uint64_t i;

    for (i = 0; offsets && i < entries; i++) {
        if (!qcow2_l1_entry_decode(image, l1[i], i, &offsets[i], errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&offsets);
}
