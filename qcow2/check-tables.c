/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Counting what L1 and L2 tables refer to.
 *
 * Snapshots share L2 tables with the disk and with each other. All L1 tables
 * come first and only note how often each L2 table is named; then each L2 table
 * is read once, in the order of the file, and each of its entries counts that
 * often. So a hundred snapshots cost little more than one, and a table that is
 * named a million times costs nothing.
 */
#include "bytes.h"
#include "check.h"
#include "snap-error.h"

#define SUBCLUSTERS_ALLOCATED 0xffffffffULL

uint64_t qcow2_check_l2_entry_bytes(const Qcow2Check *check)
{
    return check->extended_l2 ? 16 : 8;
}

uint64_t qcow2_check_l2_entries(const Qcow2Check *check)
{
    return check->cluster_size / qcow2_check_l2_entry_bytes(check);
}

static void decode_compressed(const Qcow2Check *check, Qcow2CheckEntry *decoded)
{
    unsigned split = 62 - (check->image->header.cluster_bits - 8);
    uint64_t sectors = (decoded->entry & (QCOW2_COMPRESSED - 1)) >> split;

    decoded->type = QCOW2_CLUSTER_COMPRESSED;
    decoded->offset = decoded->entry & ((1ULL << split) - 1);
    decoded->bytes = (sectors + 1) * 512 - decoded->offset % 512;
}

Qcow2CheckEntry qcow2_check_l2_entry(const Qcow2Check *check,
                                     const uint8_t *table, uint64_t index)
{
    const uint8_t *at = table + index * qcow2_check_l2_entry_bytes(check);
    Qcow2CheckEntry decoded = {
        .entry = load_be64(at),
        .subclusters = check->extended_l2 ? load_be64(at + 8) : 0,
    };

    if (decoded.entry & QCOW2_COMPRESSED) {
        decode_compressed(check, &decoded);
        return decoded;
    }
    decoded.offset = decoded.entry & QCOW2_OFFSET_MASK;
    if ((decoded.entry & QCOW2_ZERO) && !check->extended_l2) {
        decoded.type = decoded.offset ? QCOW2_CLUSTER_ZERO_ALLOCATED
                                      : QCOW2_CLUSTER_ZERO_PLAIN;
    } else if (decoded.offset ||
               (check->data_file && (decoded.entry & QCOW2_COPIED))) {
        /* In a data file offset 0 is as good as any other. */
        decoded.type = QCOW2_CLUSTER_NORMAL;
    } else {
        decoded.type = QCOW2_CLUSTER_UNALLOCATED;
    }
    return decoded;
}

/* One table while its entries are gone through. */
typedef struct TableScan {
    Qcow2Check *check;
    uint64_t times;  /* the table is named, by all L1 tables */
    uint64_t active; /* by the active one */
    uint64_t next;   /* offset where the disk would go on unfragmented; or 0 */
} TableScan;

static bool count_compressed(TableScan *scan, uint64_t index,
                             const Qcow2CheckEntry *entry, GError **errp)
{
    Qcow2Check *check = scan->check;
    Qcow2CheckResult *result = check->result;

    if (entry->entry & QCOW2_COPIED) {
        qcow2_check_corruption(check, scan->times,
                               "ERROR: coffset=0x%" PRIx64
                               ": copied flag must never be set for compressed "
                               "clusters",
                               entry->offset);
    }
    if (check->data_file) {
        qcow2_check_corruption(check, scan->times,
                               "ERROR compressed cluster %" PRIu64
                               " with data file, entry=0x%" PRIx64,
                               index, (uint64_t)(entry->entry & ~QCOW2_COPIED));
        return true;
    }
    if (entry->subclusters) {
        qcow2_check_corruption(check, scan->times,
                               "ERROR compressed cluster %" PRIu64
                               " with non-zero subcluster allocation bitmap, "
                               "entry=0x%" PRIx64,
                               index, (uint64_t)(entry->entry & ~QCOW2_COPIED));
        return true;
    }
    /* They share sectors with their neighbours, so all are fragmented. */
    result->allocated_clusters += scan->active;
    result->compressed_clusters += scan->active;
    result->fragmented_clusters += scan->active;
    return qcow2_check_count(check, entry->offset, entry->bytes, scan->times,
                             errp);
}

bool qcow2_check_subclusters_contradict(const Qcow2CheckEntry *entry)
{
    return (entry->subclusters >> 32) & entry->subclusters;
}

static bool has_data(const Qcow2Check *check, const Qcow2CheckEntry *entry)
{
    return check->extended_l2 ? entry->subclusters & SUBCLUSTERS_ALLOCATED
                              : !(entry->entry & QCOW2_ZERO);
}

bool qcow2_check_zeros_unaligned(const Qcow2Check *check,
                                 const Qcow2CheckEntry *entry)
{
    return !is_aligned(entry->offset, check->cluster_size) &&
           !has_data(check, entry);
}

static bool count_normal(TableScan *scan, const Qcow2CheckEntry *entry,
                         GError **errp)
{
    Qcow2Check *check = scan->check;

    check->mendable |= qcow2_check_subclusters_contradict(entry) ||
                       qcow2_check_zeros_unaligned(check, entry);
    if (qcow2_check_subclusters_contradict(entry)) {
        qcow2_check_corruption(check, scan->times,
                               "ERROR offset=%" PRIx64
                               ": Allocated cluster has corrupted subcluster "
                               "allocation bitmap",
                               entry->offset);
    }
    if (!is_aligned(entry->offset, check->cluster_size)) {
        bool data = has_data(check, entry);

        qcow2_check_corruption(check, scan->times,
                               "ERROR offset=%" PRIx64
                               ": %s cluster is not properly aligned; L2 entry "
                               "corrupted.",
                               entry->offset, data ? "Data" : "Preallocated");
    }
    check->result->allocated_clusters += scan->active;
    if (scan->next && scan->next != entry->offset) {
        check->result->fragmented_clusters += scan->active;
    }
    scan->next = entry->offset + check->cluster_size;
    return check->data_file ||
           qcow2_check_count(check, entry->offset, check->cluster_size,
                             scan->times, errp);
}

static bool count_entry(TableScan *scan, uint64_t index,
                        const Qcow2CheckEntry *entry, GError **errp)
{
    Qcow2Check *check = scan->check;

    if (entry->type != QCOW2_CLUSTER_COMPRESSED &&
        (entry->entry & QCOW2_L2_RESERVED)) {
        qcow2_check_corruption(check, scan->times,
                               "ERROR found l2 entry with reserved bits set: "
                               "%" PRIx64,
                               entry->entry);
    }
    switch (entry->type) {
    case QCOW2_CLUSTER_COMPRESSED:
        return count_compressed(scan, index, entry, errp);
    case QCOW2_CLUSTER_NORMAL:
    case QCOW2_CLUSTER_ZERO_ALLOCATED:
        return count_normal(scan, entry, errp);
    case QCOW2_CLUSTER_ZERO_PLAIN:
        return true;
    case QCOW2_CLUSTER_UNALLOCATED:
        if (entry->subclusters & SUBCLUSTERS_ALLOCATED) {
            qcow2_check_corruption(check, scan->times,
                                   "ERROR: Unallocated cluster has non-zero "
                                   "subcluster allocation map");
        }
        return true;
    }
    g_assert_not_reached();
}

static bool count_l2_entries(TableScan *scan, const uint8_t *table,
                             GError **errp)
{
    uint64_t entries = qcow2_check_l2_entries(scan->check);
    uint64_t i;

    for (i = 0; i < entries; i++) {
        Qcow2CheckEntry entry = qcow2_check_l2_entry(scan->check, table, i);

        if ((entry.entry || entry.subclusters) &&
            !count_entry(scan, i, &entry, errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn count_l2_table(Qcow2Check *check, uint64_t cluster,
                                        uint8_t *table, GError **errp)
{
    TableScan scan = {
        .check = check,
        .times = qcow2_reference_map_get(check->l2_tables, cluster),
        .active = qcow2_reference_map_get(check->active_l2_tables, cluster),
    };

    return count_l2_entries(&scan, table, errp);
}

bool coroutine_fn qcow2_check_count_l2_tables(Qcow2Check *check, GError **errp)
{
    return qcow2_check_visit_tables(check, check->l2_tables, count_l2_table,
                                    errp);
}

/* A table that is not aligned is no cluster's; it is gone through at once. */
static bool coroutine_fn count_unaligned_l2(Qcow2Check *check, uint64_t offset,
                                            bool active, GError **errp)
{
    TableScan scan = { .check = check, .times = 1, .active = active };
    g_autofree uint8_t *table = NULL;

    return qcow2_check_read_unaligned(check, offset, &table, errp) &&
           (!table || count_l2_entries(&scan, table, errp));
}

static bool note_table(Qcow2ReferenceMap *map, uint64_t cluster, GError **errp)
{
    uint64_t times = qcow2_reference_map_get(map, cluster);

    if (!qcow2_reference_map_set(map, cluster, times + 1)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "there is no memory to count L2 tables");
        return false;
    }
    return true;
}

static bool note_l2_table(Qcow2Check *check, uint64_t offset, bool active,
                          GError **errp)
{
    uint64_t cluster = offset >> check->image->header.cluster_bits;

    /* Behind the end of the file there are zeros: nothing to count. */
    if (cluster >= check->file_clusters) {
        return true;
    }
    return note_table(check->l2_tables, cluster, errp) &&
           (!active || note_table(check->active_l2_tables, cluster, errp));
}

static bool coroutine_fn count_l1_entry(Qcow2Check *check, uint64_t entry,
                                        bool active, GError **errp)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if (entry & QCOW2_L1_RESERVED) {
        qcow2_check_corruption(check, 1,
                               "ERROR found L1 entry with reserved bits set: "
                               "%" PRIx64,
                               entry);
    }
    if (!qcow2_check_count(check, offset, check->cluster_size, 1, errp)) {
        return false;
    }
    if (is_aligned(offset, check->cluster_size)) {
        return note_l2_table(check, offset, active, errp);
    }
    qcow2_check_corruption(check, 1,
                           "ERROR l2_offset=%" PRIx64
                           ": Table is not cluster aligned; L1 entry corrupted",
                           offset);
    return count_unaligned_l2(check, offset, active, errp);
}

bool coroutine_fn qcow2_check_count_l1(Qcow2Check *check, uint64_t offset,
                                       uint64_t entries, bool active,
                                       GError **errp)
{
    uint64_t *table;
    uint64_t present;
    uint64_t i;
    bool counted = true;

    if (entries == 0) {
        return true;
    }
    if (!qcow2_check_count(check, offset, entries * sizeof(uint64_t), 1,
                           errp)) {
        return false;
    }
    table = qcow2_check_read_table(check, offset, entries, "L1 table", &present,
                                   errp);
    if (!table) {
        return false;
    }
    for (i = 0; i < present && counted; i++) {
        counted = !table[i] || count_l1_entry(check, table[i], active, errp);
    }
    free(table);
    return counted;
}
