/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See strike-snapshot.h.
 */
#include "snap-error.h"
#include "strike-snapshot.h"
#include "write-tables.h"

/* What a disk writes all of or nothing. */
#define SECTOR 512

/*
 * Take the longest of @runs, or as much of it as is @needed, out of them. Fills
 * @errp (NO_SPACE).
 */
static bool take_longest(GArray *runs, uint64_t needed, Qcow2ClusterRun *taken,
                         GError **errp)
{
    Qcow2ClusterRun *longest = NULL;
    guint i;

    for (i = 0; i < runs->len; i++) {
        Qcow2ClusterRun *run = &g_array_index(runs, Qcow2ClusterRun, i);

        if (!longest || run->count > longest->count) {
            longest = run;
        }
    }
    if (!longest || longest->count < needed) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the snapshot's own data has no %" PRIu64 " clusters in "
                    "one piece for them",
                    needed);
        return false;
    }
    *taken = (Qcow2ClusterRun){ longest->first, needed };
    longest->first += needed;
    longest->count -= needed;
    return true;
}

/*
 * A flush that has failed stays so. Where nothing can be made stable, nothing
 * is begun.
 */
static bool coroutine_fn flush(const Qcow2Image *image, GError **errp)
{
    int ret = block_file_flush(image->file);

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make anything stable");
        return false;
    }
    return true;
}

/*
 * Write an entry behind all that follow it. Fills @errp (NO_SPACE when that
 * takes more than one sector, IO).
 */
static bool coroutine_fn move_last(const Qcow2Image *image,
                                   const Qcow2Snapshot *snapshot, GError **errp)
{
    uint64_t first;
    g_autoptr(GByteArray) table =
        qcow2_snapshot_table_move_last(image->snapshots, snapshot, &first);
    uint64_t offset = image->header.snapshots_offset + first;
    uint64_t bytes = table->len - first;
    int ret;

    if (snapshot ==
        g_ptr_array_index(image->snapshots, image->snapshots->len - 1)) {
        return true;
    }
    if (offset / SECTOR != (offset + bytes - 1) / SECTOR) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "without them only one of the last snapshots of the table "
                    "can be deleted");
        return false;
    }
    ret = block_file_pwrite(image->file, offset, table->data + first, bytes);
    if (ret < 0) {
        snap_error_set_errno(
            errp, ret, "cannot write the snapshot table at 0x%" PRIx64, offset);
        return false;
    }
    return flush(image, errp);
}

static bool coroutine_fn count_one_less(Qcow2Transaction *transaction,
                                        GError **errp)
{
    Qcow2HeaderUpdate update;

    qcow2_header_update_init(transaction, &update);
    update.snapshot_count--;
    if (update.snapshot_count == 0) {
        update.snapshots_offset = 0;
    }
    return qcow2_transaction_switch_early(transaction, &update, errp);
}

bool coroutine_fn qcow2_strike_snapshot(Qcow2Transaction *transaction,
                                        const Qcow2Snapshot *snapshot,
                                        uint64_t tables, bool *struck,
                                        GError **errp)
{
    g_autoptr(GArray) freed = qcow2_refcounts_find_freed(
        transaction->refcounts, transaction->end, errp);
    Qcow2ClusterRun run;
    uint64_t clusters;

    *struck = false;
    if (!freed ||
        !qcow2_transaction_measure_refcounts(transaction, &clusters, errp) ||
        !take_longest(freed, tables + clusters, &run, errp) ||
        !flush(transaction->image, errp) ||
        !move_last(transaction->image, snapshot, errp)) {
        return false;
    }
    if (!count_one_less(transaction, errp)) {
        return false;
    }
    *struck = true;
    g_array_set_size(transaction->free, 0);
    g_array_append_val(transaction->free, run);
    if (!transaction->image->keeps_freed) {
        qcow2_transaction_punch(transaction, freed);
    }
    return true;
}
