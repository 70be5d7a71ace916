/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A repair, in steps of which each one leaves the image better than it was, so
 * that it may end after any of them:
 *     autoclear bits that we do not know go first, as before any change |
 *     L2 entries that cannot mean what they say (check-mend.c) |
 *     stored refcounts become the counted ones, in place, or all of them are
 *         written anew and the header switched over (check-rebuild.c) |
 *     COPIED flags (check-copied.c) |
 *     entries of the snapshot table that are too short
 *         (check-snapshots.c), then flags once more |
 *     the marks in the header that the image is dirty or corrupt |
 * where | is a flush. A flag says something about a refcount, so it waits until
 * the refcount is stable.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"

enum {
    HEADER_INCOMPATIBLE = 72,
    HEADER_AUTOCLEAR = 88,
};

static bool coroutine_fn flush(const Qcow2Check *check, const char *what,
                               GError **errp)
{
    int ret = block_file_flush(check->image->file);

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot make %s stable", what);
        return false;
    }
    return true;
}

/* Eight bytes of a header of version 3. Yields. */
static bool coroutine_fn write_features(Qcow2Check *check, unsigned offset,
                                        uint64_t *features, uint64_t value,
                                        GError **errp)
{
    uint8_t bytes[sizeof(uint64_t)];
    int ret;

    if (check->image->header.version < 3 || *features == value) {
        return true;
    }
    store_be64(bytes, value);
    ret = block_file_pwrite(check->image->file, offset, bytes, sizeof(bytes));
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot write the header (offset %u)",
                             offset);
        return false;
    }
    *features = value;
    return flush(check, "the header", errp);
}

static bool coroutine_fn clear_autoclear(Qcow2Check *check, GError **errp)
{
    uint64_t *features = &check->image->header.autoclear_features;

    return write_features(
        check, HEADER_AUTOCLEAR, features,
        *features & (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_EXTERNAL),
        errp);
}

static bool coroutine_fn clear_marks(Qcow2Check *check, GError **errp)
{
    uint64_t *features = &check->image->header.incompatible_features;

    if (check->result->check_errors || check->result->corruptions) {
        return true;
    }
    return write_features(check, HEADER_INCOMPATIBLE, features,
                          *features & ~(uint64_t)(QCOW2_INCOMPATIBLE_DIRTY |
                                                  QCOW2_INCOMPATIBLE_CORRUPT),
                          errp);
}

/* Should this refcount be put right? Counts it as repaired, too. */
static bool repair_cluster(Qcow2Check *check, uint64_t cluster, uint64_t stored,
                           uint64_t counted)
{
    Qcow2CheckResult *result = check->result;

    if (stored > counted) {
        result->leaks--;
        result->leaks_fixed++;
    } else if (check->options->repair == QCOW2_REPAIR_ALL) {
        result->corruptions--;
        result->corruptions_fixed++;
    } else {
        return false;
    }
    qcow2_check_say(check,
                    "Repairing cluster %" PRIu64 " refcount=%" PRIu64
                    " reference=%" PRIu64,
                    cluster, stored, counted);
    return true;
}

/*
 * Put the refcounts of one block right in memory; [*@from, *@to) are the bytes
 * that changed, in whole sectors.
 */
static void repair_block(Qcow2Check *check, uint8_t *block, uint64_t first,
                         uint64_t clusters, uint64_t *from, uint64_t *to)
{
    unsigned order = check->image->header.refcount_order;
    uint64_t i;

    *from = UINT64_MAX;
    *to = 0;
    for (i = 0; i < clusters; i++) {
        uint64_t stored = qcow2_refcount_load(block, order, i);
        uint64_t counted = qcow2_reference_map_get(check->counted, first + i);

        if (stored != counted &&
            repair_cluster(check, first + i, stored, counted)) {
            qcow2_refcount_store(block, order, i, counted);
            *from = MIN(*from, round_down((i << order) / 8, 512));
            *to = round_down((i << order) / 8, 512) + 512;
        }
    }
}

static bool coroutine_fn repair_in_place(Qcow2Check *check, GError **errp)
{
    uint64_t per_block = check->stored->per_block;
    uint64_t first;

    for (first = 0; first <= check->file_clusters; first += per_block) {
        uint64_t count = MIN(per_block, check->file_clusters + 1 - first);
        uint64_t index = first / per_block;
        uint64_t offset = qcow2_stored_refcounts_entry(check->stored, index);
        uint64_t from;
        uint64_t to;
        uint8_t *block;
        int ret = qcow2_stored_refcounts_block(check->stored, index, &block);

        if (ret == 0 && block) {
            repair_block(check, block, first, count, &from, &to);
            if (from < to) {
                ret = block_file_pwrite(check->image->file, offset + from,
                                        block + from, to - from);
            }
        }
        if (ret < 0) {
            snap_error_set_errno(errp, ret,
                                 "cannot repair refcount block %" PRIu64
                                 " at 0x%" PRIx64,
                                 index, offset);
            return false;
        }
    }
    return flush(check, "the refcounts", errp);
}

static bool coroutine_fn repair_refcounts(Qcow2Check *check, GError **errp)
{
    if (!check->rebuild) {
        return repair_in_place(check, errp);
    }
    if (check->options->repair == QCOW2_REPAIR_LEAKS) {
        qcow2_check_say(check, "ERROR need to rebuild refcount structures");
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "leaks cannot be told from data as long as refcounts are "
                    "missing; -r all may repair them");
        return false;
    }
    return qcow2_check_rebuild(check, errp);
}

/* Yields. */
static bool coroutine_fn repair_flags(Qcow2Check *check, GError **errp)
{
    return qcow2_check_copied(check, errp) &&
           flush(check, "the COPIED flags", errp);
}

bool coroutine_fn qcow2_check_repair(Qcow2Check *check, GError **errp)
{
    const Qcow2CheckResult *result = check->result;
    bool completed;

    if (!clear_autoclear(check, errp) || !qcow2_check_mend(check, errp) ||
        !repair_refcounts(check, errp)) {
        return false;
    }
    /* Flags follow refcounts; with some of these wrong, so would be they. */
    check->repair_copied = check->options->repair == QCOW2_REPAIR_ALL ||
                           (!result->check_errors && !result->leaks &&
                            result->corruptions == check->snapshot_corruptions);
    if (!repair_flags(check, errp) ||
        !qcow2_check_complete_snapshots(check, &completed, errp)) {
        return false;
    }
    /* What tables that have moved were besides has references less. */
    return (!completed || repair_flags(check, errp)) &&
           clear_marks(check, errp);
}
