/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * L2 entries that contradict themselves but leave no doubt about the data:
 *   - a cluster that is held in reserve and reads as zeros, at an impossible
 *     offset, becomes zeros without a cluster;
 *   - a subcluster that is called both allocated and zero becomes allocated:
 *     what is there is kept.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"

#define SUBCLUSTERS_ZERO 0xffffffff00000000ULL

static bool mend_entry(const Qcow2Check *check, uint8_t *at,
                       const Qcow2CheckEntry *entry)
{
    if (entry->type != QCOW2_CLUSTER_NORMAL &&
        entry->type != QCOW2_CLUSTER_ZERO_ALLOCATED) {
        return false;
    }
    if (qcow2_check_zeros_unaligned(check, entry)) {
        store_be64(at, check->extended_l2 ? 0 : QCOW2_ZERO);
        if (check->extended_l2) {
            store_be64(at + 8, SUBCLUSTERS_ZERO);
        }
        return true;
    }
    if (qcow2_check_subclusters_contradict(entry)) {
        store_be64(at + 8, entry->subclusters & ~(entry->subclusters << 32));
        return true;
    }
    return false;
}

/* Yields. */
static bool coroutine_fn mend_table(Qcow2Check *check, uint64_t cluster,
                                    uint8_t *table, GError **errp)
{
    uint64_t offset = cluster << check->image->header.cluster_bits;
    uint64_t mended = 0;
    uint64_t i;
    int ret;

    if (!qcow2_check_only_l2_table(check, cluster)) {
        return true;
    }
    for (i = 0; i < qcow2_check_l2_entries(check); i++) {
        Qcow2CheckEntry entry = qcow2_check_l2_entry(check, table, i);

        if (mend_entry(check, table + i * qcow2_check_l2_entry_bytes(check),
                       &entry)) {
            qcow2_check_say(check,
                            "Repairing offset=%" PRIx64 ": L2 entry corrupted",
                            entry.offset);
            mended++;
        }
    }
    if (mended == 0) {
        return true;
    }
    check->result->corruptions_fixed +=
        mended * qcow2_reference_map_get(check->l2_tables, cluster);
    ret = block_file_pwrite(check->image->file, offset, table,
                            check->cluster_size);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write the L2 table at 0x%" PRIx64, offset);
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_check_mend(Qcow2Check *check, GError **errp)
{
    uint64_t fixed;
    int ret;

    if (check->options->repair != QCOW2_REPAIR_ALL || !check->mendable) {
        return true;
    }
    if (!qcow2_check_visit_tables(check, check->l2_tables, mend_table, errp)) {
        return false;
    }
    ret = block_file_flush(check->image->file);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make L2 tables stable");
        return false;
    }
    fixed = check->result->corruptions_fixed;
    if (!qcow2_check_recount(check, errp)) {
        return false;
    }
    check->result->corruptions_fixed = fixed;
    return true;
}
