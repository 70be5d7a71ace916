/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The snapshot table as a check reads it: behind the end of the file there are
 * zeros, and an entry may lack what version 3 demands.
 */
#include "bytes.h"
#include "check.h"
#include "snap-error.h"
#include "write-tables.h"

enum {
    ENTRY_FIXED_BYTES = 40,
    ENTRY_EXTRA_SIZE = 36,
    /* VM state size and disk size: version 3 wants them. */
    V3_EXTRA_BYTES = 16,
    /* And icount, which every writer of today adds. */
    COMPLETE_EXTRA_BYTES = 24,
};

static uint32_t extra_bytes(const Qcow2Snapshot *snapshot)
{
    const uint8_t *entry = g_bytes_get_data(snapshot->entry, NULL);

    return load_be32(entry + ENTRY_EXTRA_SIZE);
}

bool coroutine_fn qcow2_check_read_snapshots(Qcow2Check *check, GError **errp)
{
    Qcow2Image *image = check->image;
    guint i;

    image->snapshots =
        qcow2_snapshot_table_read(image, QCOW2_ANY_FILE_SIZE, errp);
    if (!image->snapshots) {
        return false;
    }
    for (i = 0; image->header.version > 2 && i < image->snapshots->len; i++) {
        if (extra_bytes(g_ptr_array_index(image->snapshots, i)) <
            V3_EXTRA_BYTES) {
            qcow2_check_corruption(
                check, 1, "ERROR snapshot table entry %u is incomplete", i);
        }
    }
    check->snapshot_corruptions = check->result->corruptions;
    return true;
}

/* The entry of @snapshot, with the extra data that version 3 wants. */
static GBytes *complete_entry(const Qcow2Snapshot *snapshot)
{
    uint32_t extra = extra_bytes(snapshot);
    g_autoptr(GByteArray) entry = g_byte_array_new();
    uint8_t added[COMPLETE_EXTRA_BYTES];
    gsize bytes;
    const uint8_t *old = g_bytes_get_data(snapshot->entry, &bytes);

    if (extra >= V3_EXTRA_BYTES) {
        return g_bytes_ref(snapshot->entry);
    }
    store_be64(added, snapshot->vm_state_size);
    store_be64(added + 8, snapshot->disk_size);
    store_be64(added + 16, snapshot->icount);
    g_byte_array_append(entry, old, ENTRY_FIXED_BYTES);
    g_byte_array_append(entry, added, sizeof(added));
    g_byte_array_append(entry, old + ENTRY_FIXED_BYTES + extra,
                        bytes - ENTRY_FIXED_BYTES - extra);
    store_be32(entry->data + ENTRY_EXTRA_SIZE, COMPLETE_EXTRA_BYTES);
    return g_byte_array_free_to_bytes(g_steal_pointer(&entry));
}

static GByteArray *complete_table(const GPtrArray *snapshots)
{
    static const uint8_t padding[8];
    GByteArray *table = g_byte_array_new();
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        g_autoptr(GBytes)
            entry = complete_entry(g_ptr_array_index(snapshots, i));
        gsize bytes;
        const uint8_t *data = g_bytes_get_data(entry, &bytes);

        g_byte_array_append(table, padding,
                            round_up(table->len, 8) - table->len);
        g_byte_array_append(table, data, bytes);
    }
    return table;
}

static bool coroutine_fn replace_table(Qcow2Image *image, GError **errp)
{
    Qcow2Transaction *transaction = qcow2_transaction_begin(image, errp);
    g_autoptr(GByteArray) table = complete_table(image->snapshots);
    Qcow2HeaderUpdate update;
    bool replaced;

    if (!transaction) {
        return false;
    }
    qcow2_header_update_init(transaction, &update);
    replaced = qcow2_replace_snapshot_table(
                   transaction, table, image->snapshots->len, &update, errp) &&
               qcow2_transaction_commit(transaction, &update, errp);
    qcow2_transaction_end(transaction);
    return replaced;
}

/* The image has another snapshot table now. Yields. */
static bool coroutine_fn recount(Qcow2Check *check, GError **errp)
{
    Qcow2CheckResult before = *check->result;
    BlockFile *file = check->image->file;

    *check->result = (Qcow2CheckResult){ 0 };
    g_clear_pointer(&check->image, qcow2_close);
    check->image = qcow2_open_to_check(file, errp);
    if (!check->image || !qcow2_check_read_snapshots(check, errp) ||
        !qcow2_check_recount(check, errp)) {
        return false;
    }
    check->result->corruptions_fixed = before.corruptions_fixed;
    check->result->leaks_fixed = before.leaks_fixed;
    return true;
}

/*
 * A table that leaves the file is nothing that was written as it is now: to
 * complete its entries would make up snapshots. It stays a corruption.
 */
bool coroutine_fn qcow2_check_complete_snapshots(Qcow2Check *check,
                                                 bool *completed, GError **errp)
{
    Qcow2CheckResult *result = check->result;
    g_autoptr(Qcow2Image) image = NULL;

    *completed = false;
    if (check->options->repair != QCOW2_REPAIR_ALL ||
        check->snapshot_corruptions == 0 || result->check_errors ||
        result->leaks || result->corruptions != check->snapshot_corruptions) {
        return true;
    }
    image = qcow2_open(check->image->file, NULL);
    if (!image) {
        return true;
    }
    if (!replace_table(image, errp)) {
        return false;
    }
    qcow2_check_say(check, "Repairing %" PRIu64 " snapshot table entries",
                    check->snapshot_corruptions);
    result->corruptions_fixed += result->corruptions;
    *completed = true;
    return recount(check, errp);
}
