/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * COPIED says that a refcount is one, so that a writer need not look it up. In
 * the tables of the disk it must be true; those of snapshots nobody trusts.
 *
 * A repair comes when the refcounts are right and stable. A table is written
 * only if its clusters are nothing else as well: damage must not spread.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"

/* The entries of one table, in memory, while their flags are looked at. */
typedef struct Flags {
    Qcow2Check *check;
    uint64_t offset; /* of the table in the file */
    uint8_t *table;
    uint64_t times;        /* the table is named by the active L1 table */
    bool repair;           /* put wrong flags right, in memory */
    uint64_t changed;      /* flags that were put right */
    uint64_t first_change; /* bytes from the beginning of the table */
    uint64_t last_change;
} Flags;

/*
 * The refcount as it is stored: that is what a writer would find. Where it
 * cannot be read, comparing has complained already. Yields.
 */
static bool coroutine_fn flag_wrong(Qcow2Check *check, uint64_t entry,
                                    uint64_t offset, uint64_t *refcount)
{
    uint64_t cluster = offset >> check->image->header.cluster_bits;

    return qcow2_stored_refcounts_get(check->stored, cluster, refcount) == 0 &&
           (*refcount == 1) != ((entry & QCOW2_COPIED) != 0);
}

static const char *verb(const Flags *flags)
{
    return flags->repair ? "Repairing" : "ERROR";
}

/* Turn the flag of the entry at byte @at of the table. */
static void turn_flag(Flags *flags, uint64_t at, uint64_t entry)
{
    if (!flags->repair) {
        return;
    }
    store_be64(flags->table + at, entry ^ QCOW2_COPIED);
    if (flags->changed == 0) {
        flags->first_change = at;
    }
    flags->last_change = at;
    flags->changed++;
}

/* Yields. */
static bool coroutine_fn write_flags(const Flags *flags, const char *what,
                                     GError **errp)
{
    Qcow2CheckResult *result = flags->check->result;
    uint64_t from = round_down(flags->first_change, 512);
    int ret;

    if (flags->changed == 0) {
        return true;
    }
    ret = block_file_pwrite(flags->check->image->file, flags->offset + from,
                            flags->table + from,
                            flags->last_change + sizeof(uint64_t) - from);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot write the %s at 0x%" PRIx64,
                             what, flags->offset);
        return false;
    }
    result->corruptions -= flags->changed * flags->times;
    result->corruptions_fixed += flags->changed * flags->times;
    return true;
}

static bool coroutine_fn data_flag_wrong(Qcow2Check *check,
                                         const Qcow2CheckEntry *entry,
                                         uint64_t *refcount)
{
    if (entry->type != QCOW2_CLUSTER_NORMAL &&
        entry->type != QCOW2_CLUSTER_ZERO_ALLOCATED) {
        return false;
    }
    if (check->data_file) {
        *refcount = 1;
        return !(entry->entry & QCOW2_COPIED);
    }
    return flag_wrong(check, entry->entry, entry->offset, refcount);
}

static bool coroutine_fn check_l2_entries(Flags *flags, GError **errp)
{
    Qcow2Check *check = flags->check;
    uint64_t entries = qcow2_check_l2_entries(check);
    uint64_t refcount;
    uint64_t i;

    for (i = 0; i < entries; i++) {
        Qcow2CheckEntry entry = qcow2_check_l2_entry(check, flags->table, i);

        if (entry.entry && data_flag_wrong(check, &entry, &refcount)) {
            qcow2_check_corruption(
                check, flags->times,
                "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64
                " refcount=%" PRIu64,
                verb(flags), entry.entry, refcount);
            turn_flag(flags, i * qcow2_check_l2_entry_bytes(check),
                      entry.entry);
        }
    }
    return write_flags(flags, "L2 table", errp);
}

static bool coroutine_fn check_l2_table(Qcow2Check *check, uint64_t cluster,
                                        uint8_t *table, GError **errp)
{
    Flags flags = {
        .check = check,
        .offset = cluster << check->image->header.cluster_bits,
        .table = table,
        .times = qcow2_reference_map_get(check->active_l2_tables, cluster),
        .repair = check->repair_copied &&
                  qcow2_check_only_l2_table(check, cluster),
    };

    /* Where an L1 entry says nothing but flags, there is no table. */
    return cluster == 0 || check_l2_entries(&flags, errp);
}

/* Such a table overlaps with another cluster: never repaired. */
static bool coroutine_fn check_unaligned_l2(Qcow2Check *check, uint64_t offset,
                                            GError **errp)
{
    g_autofree uint8_t *table = NULL;
    Flags flags = { .check = check, .offset = offset, .times = 1 };

    if (!qcow2_check_read_unaligned(check, offset, &table, errp)) {
        return false;
    }
    flags.table = table;
    return !table || check_l2_entries(&flags, errp);
}

static bool coroutine_fn check_l1_entry(Flags *flags, uint64_t index,
                                        GError **errp)
{
    Qcow2Check *check = flags->check;
    uint64_t entry = load_be64(flags->table + index * sizeof(uint64_t));
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    uint64_t refcount;

    if (offset == 0) {
        return true;
    }
    if (flag_wrong(check, entry, offset, &refcount)) {
        qcow2_check_corruption(check, 1,
                               "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu64
                               " l1_entry=%" PRIx64 " refcount=%" PRIu64,
                               verb(flags), index, entry, refcount);
        turn_flag(flags, index * sizeof(uint64_t), entry);
    }
    return is_aligned(offset, check->cluster_size) ||
           check_unaligned_l2(check, offset, errp);
}

/* Does nobody else refer to the clusters of the active L1 table? */
static bool only_l1_table(const Qcow2Check *check)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t first = header->l1_table_offset >> header->cluster_bits;
    uint64_t clusters =
        qcow2_bytes_to_clusters(header, header->l1_size * sizeof(uint64_t));
    uint64_t i;

    for (i = 0; i < clusters; i++) {
        if (qcow2_reference_map_get(check->counted, first + i) != 1) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn check_l1(Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t bytes = qcow2_check_present(check, header->l1_table_offset,
                                         header->l1_size * sizeof(uint64_t));
    uint64_t entries = bytes / sizeof(uint64_t);
    Flags flags = {
        .check = check,
        .offset = header->l1_table_offset,
        .times = 1,
        .repair = check->repair_copied && only_l1_table(check),
    };
    bool checked = true;
    uint64_t i;
    int ret;

    flags.table = block_file_alloc_buffer(MAX(bytes, 1));
    ret = flags.table ? block_file_pread(check->image->file, flags.offset,
                                         flags.table, bytes)
                      : -ENOMEM;
    if (ret < 0) {
        snap_error_set_errno(
            errp, ret, "cannot read the L1 table at 0x%" PRIx64, flags.offset);
        free(flags.table);
        return false;
    }
    for (i = 0; i < entries && checked; i++) {
        checked = check_l1_entry(&flags, i, errp);
    }
    checked = checked && write_flags(&flags, "L1 table", errp);
    free(flags.table);
    return checked;
}

bool coroutine_fn qcow2_check_copied(Qcow2Check *check, GError **errp)
{
    return check_l1(check, errp) &&
           qcow2_check_visit_tables(check, check->active_l2_tables,
                                    check_l2_table, errp);
}
