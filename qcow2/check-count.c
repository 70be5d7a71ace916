/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Counting references: what an image consists of, in the order in which QEMU
 * goes through it, so that the findings come in the same order, too.
 */
#include "check.h"
#include "printable.h"
#include "snap-error.h"

#define REFCOUNT_TABLE_RESERVED 0x1ffULL

/*
 * One more reference than a refcount can hold is as bad as a lost one: it is
 * lost when the next writer counts down.
 */
static uint64_t add_up(Qcow2Check *check, uint64_t cluster, uint64_t value,
                       uint64_t times)
{
    uint64_t room = check->refcount_maximum - value;

    if (times <= room) {
        return value + times;
    }
    qcow2_check_corruption(
        check, times - room,
        "ERROR: overflow cluster offset=0x%" PRIx64 "\n"
        "Use qemu-img amend to increase the refcount entry width or qemu-img "
        "convert to create a clean copy if the image cannot be opened for "
        "writing",
        cluster << check->image->header.cluster_bits);
    return check->refcount_maximum;
}

static bool count_cluster(Qcow2Check *check, uint64_t cluster, uint64_t times,
                          GError **errp)
{
    uint64_t value = qcow2_reference_map_get(check->counted, cluster);

    value = add_up(check, cluster, value, times);
    if (!qcow2_reference_map_set(check->counted, cluster, value)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "there is no memory to count references");
        return false;
    }
    return true;
}

bool qcow2_check_count(Qcow2Check *check, uint64_t offset, uint64_t bytes,
                       uint64_t times, GError **errp)
{
    unsigned cluster_bits = check->image->header.cluster_bits;
    uint64_t size = check->image->file_size;
    uint64_t cluster;
    uint64_t end;

    if (bytes == 0) {
        return true;
    }
    /* Of the last cluster a part may be missing. */
    if (!checked_add(offset, bytes, &end) ||
        (end > size && end - size >= check->cluster_size)) {
        qcow2_check_corruption(
            check, times,
            "ERROR: counting reference for region exceeding the end of the "
            "file by one cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
            offset, bytes);
        return true;
    }
    for (cluster = offset >> cluster_bits; cluster <= (end - 1) >> cluster_bits;
         cluster++) {
        if (!count_cluster(check, cluster, times, errp)) {
            return false;
        }
    }
    return true;
}

/* Its name may have line ends, and a finding is told from the next by them. */
static void blame_snapshot(Qcow2Check *check, const Qcow2Snapshot *snapshot,
                           const char *field, uint64_t value,
                           const char *complaint)
{
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);

    qcow2_check_corruption(check, 1,
                           "ERROR snapshot %s (%s) %s=0x%" PRIx64
                           ": L1 table is %s; snapshot table entry corrupted",
                           id, name, field, value, complaint);
}

static bool snapshot_l1_plausible(Qcow2Check *check,
                                  const Qcow2Snapshot *snapshot)
{
    if (!is_aligned(snapshot->l1_table_offset, check->cluster_size)) {
        blame_snapshot(check, snapshot, "l1_offset", snapshot->l1_table_offset,
                       "not cluster aligned");
        return false;
    }
    if (snapshot->l1_size > QCOW2_MAX_L1_ENTRIES) {
        blame_snapshot(check, snapshot, "l1_size", snapshot->l1_size,
                       "too large");
        return false;
    }
    return true;
}

/* Yields. */
static bool coroutine_fn count_snapshots(Qcow2Check *check, GError **errp)
{
    const GPtrArray *snapshots = check->image->snapshots;
    guint i;

    if (check->data_file && snapshots->len) {
        qcow2_check_corruption(
            check, 1,
            "ERROR %u snapshots in image with data file: its disk is not in "
            "this file, so no snapshot can hold it",
            snapshots->len);
    }
    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (snapshot_l1_plausible(check, snapshot) &&
            !qcow2_check_count_l1(check, snapshot->l1_table_offset,
                                  snapshot->l1_size, false, errp)) {
            return false;
        }
    }
    return qcow2_check_count(check, check->image->header.snapshots_offset,
                             qcow2_snapshot_table_bytes(snapshots), 1, errp);
}

static bool count_refcount_block(Qcow2Check *check, uint64_t index,
                                 uint64_t offset, GError **errp)
{
    uint64_t cluster = offset >> check->image->header.cluster_bits;
    uint64_t references;

    if (!qcow2_check_count(check, offset, check->cluster_size, 1, errp)) {
        return false;
    }
    references = qcow2_reference_map_get(check->counted, cluster);
    if (references != 1) {
        qcow2_check_corruption(
            check, 1, "ERROR refcount block %" PRIu64 " refcount=%" PRIu64,
            index, references);
        check->rebuild = true;
    }
    return true;
}

static bool refuse_refcount_block(Qcow2Check *check, uint64_t index,
                                  const char *complaint)
{
    qcow2_check_corruption(check, 1, "ERROR refcount %s %" PRIu64 " %s",
                           g_str_has_prefix(complaint, "has") ? "table entry"
                                                              : "block",
                           index, complaint);
    return false;
}

/* Is this entry of the refcount table one that names a refcount block? */
static bool refcount_block_plausible(Qcow2Check *check, uint64_t index,
                                     uint64_t entry)
{
    if (entry & REFCOUNT_TABLE_RESERVED) {
        check->rebuild = true;
        return refuse_refcount_block(check, index, "has reserved bits set");
    }
    if (!is_aligned(entry, check->cluster_size)) {
        check->rebuild = true;
        return refuse_refcount_block(
            check, index,
            "is not cluster aligned; refcount table entry corrupted");
    }
    if (entry >> check->image->header.cluster_bits >= check->file_clusters) {
        /* There are zeros; leaks can be repaired even so. */
        check->rebuild |= check->options->repair == QCOW2_REPAIR_ALL;
        return refuse_refcount_block(check, index, "is outside image");
    }
    return entry != 0;
}

static bool count_refcount_blocks(Qcow2Check *check, GError **errp)
{
    uint64_t i;

    for (i = 0; i < check->stored->table_entries; i++) {
        uint64_t entry = qcow2_stored_refcounts_entry(check->stored, i);

        if (refcount_block_plausible(check, i, entry) &&
            !count_refcount_block(check, i, entry, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_check_count_all(Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t refcount_table_bytes = (uint64_t)header->refcount_table_clusters
                                    << header->cluster_bits;

    return qcow2_check_count(check, 0, check->cluster_size, 1, errp) &&
           qcow2_check_count_l1(check, header->l1_table_offset, header->l1_size,
                                true, errp) &&
           count_snapshots(check, errp) &&
           qcow2_check_count_l2_tables(check, errp) &&
           (check->without_refcounts ||
            qcow2_check_count(check, header->refcount_table_offset,
                              refcount_table_bytes, 1, errp)) &&
           qcow2_check_count(check, header->luks_offset, header->luks_bytes, 1,
                             errp) &&
           qcow2_check_count_bitmaps(check, errp) &&
           (check->without_refcounts || count_refcount_blocks(check, errp));
}
