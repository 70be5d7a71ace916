/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See stale-vmstate.h. To tell how much would become free, the references are
 * dropped in memory and forgotten again: only those tables are read that are
 * left over, and the refcount blocks of what they reach.
 */
#include "active-disk.h"
#include "drop-references.h"
#include "qcow2-snapshots.h"
#include "stale-vmstate.h"
#include "write-tables.h"

bool coroutine_fn qcow2_stale_tables_read(const Qcow2Image *image,
                                          Qcow2StaleTables *stale,
                                          GError **errp)
{
    const Qcow2Header *header = &image->header;
    uint64_t *l1;
    uint64_t i;

    *stale = (Qcow2StaleTables){
        .first = qcow2_vm_index(header, header->size),
    };
    /* The active L1 has at least as many entries: the header was checked. */
    stale->count = header->l1_size - stale->first;
    if (stale->count == 0) {
        return true;
    }
    l1 = qcow2_read_table(
        image->file, header->l1_table_offset + stale->first * sizeof(uint64_t),
        stale->count, "L1 table", errp);
    if (!l1) {
        return false;
    }
    stale->l2_offsets = qcow2_l1_decode(image, l1, stale->count, errp);
    free(l1);
    if (!stale->l2_offsets) {
        g_prefix_error(errp, "VM state in the active L1 table: ");
        return false;
    }
    for (i = 0; i < stale->count; i++) {
        stale->any |= stale->l2_offsets[i] != 0;
    }
    return true;
}

void qcow2_stale_tables_clear(Qcow2StaleTables *stale)
{
    g_clear_pointer(&stale->l2_offsets, g_free);
}

bool coroutine_fn qcow2_stale_vmstate_drop(Qcow2Transaction *transaction,
                                           GError **errp)
{
    Qcow2StaleTables stale;
    bool dropped;

    if (!qcow2_stale_tables_read(transaction->image, &stale, errp)) {
        return false;
    }
    dropped = !stale.any || qcow2_drop_references(transaction, stale.l2_offsets,
                                                  stale.count, errp);
    qcow2_stale_tables_clear(&stale);
    return dropped;
}

bool qcow2_stale_vmstate_clear(const Qcow2Image *image, uint64_t *l1)
{
    const Qcow2Header *header = &image->header;
    bool any = false;
    uint64_t i;

    for (i = qcow2_vm_index(header, header->size); i < header->l1_size; i++) {
        any |= l1[i] != 0;
        l1[i] = 0;
    }
    return any;
}

/* How many refcounts are 0 in a block and were not before. Yields. */
static bool coroutine_fn count_freed(Qcow2Refcounts *before,
                                     const Qcow2RefcountBlock *after,
                                     uint64_t *freed, GError **errp)
{
    unsigned order = before->image->header.refcount_order;
    uint64_t count = qcow2_refcounts_per_block(before);
    const Qcow2RefcountBlock *block =
        qcow2_refcounts_block(before, after->index, errp);
    uint64_t i;

    if (!block) {
        return false;
    }
    for (i = 0; i < count; i++) {
        *freed += qcow2_refcount_load(after->bytes, order, i) == 0 &&
                  qcow2_refcount_load(block->bytes, order, i) != 0;
    }
    return true;
}

static bool coroutine_fn count_all_freed(const Qcow2Refcounts *refcounts,
                                         uint64_t *freed, GError **errp)
{
    g_autoptr(Qcow2Refcounts)
        before = qcow2_refcounts_load(refcounts->image, errp);
    guint i;

    for (i = 0; before && i < refcounts->changed->len; i++) {
        if (!count_freed(before, g_ptr_array_index(refcounts->changed, i),
                         freed, errp)) {
            return false;
        }
    }
    return before != NULL;
}

static bool coroutine_fn measure(Qcow2Image *image,
                                 const Qcow2StaleTables *stale, uint64_t *bytes,
                                 GError **errp)
{
    g_autoptr(Qcow2Refcounts) refcounts = qcow2_refcounts_load(image, errp);
    /* Never begun: nothing but the refcounts in memory is changed. */
    Qcow2Transaction trial = { .image = image, .refcounts = refcounts };
    uint64_t freed = 0;

    if (!refcounts ||
        !qcow2_drop_references(&trial, stale->l2_offsets, stale->count, errp) ||
        !count_all_freed(refcounts, &freed, errp)) {
        return false;
    }
    *bytes = freed << image->header.cluster_bits;
    return true;
}

bool coroutine_fn qcow2_look_at_stale_vmstate(Qcow2Image *image,
                                              Qcow2StaleVmstate *vmstate,
                                              GError **errp)
{
    Qcow2StaleTables stale;
    bool looked;

    *vmstate = (Qcow2StaleVmstate){ 0 };
    if (!qcow2_check_readable(image, errp) ||
        !qcow2_stale_tables_read(image, &stale, errp)) {
        return false;
    }
    vmstate->present = stale.any;
    looked = !stale.any || measure(image, &stale, &vmstate->freeable, errp);
    qcow2_stale_tables_clear(&stale);
    return looked;
}

static bool coroutine_fn commit(Qcow2ActiveDisk *disk, GError **errp)
{
    Qcow2HeaderUpdate update;

    qcow2_transaction_discard(disk->transaction);
    qcow2_header_update_init(disk->transaction, &update);
    return qcow2_replace_active_l1(disk->transaction, disk->l1, &update,
                                   errp) &&
           qcow2_transaction_commit(disk->transaction, &update, errp);
}

static bool coroutine_fn free_vmstate(Qcow2Transaction *transaction,
                                      GError **errp)
{
    Qcow2ActiveDisk disk = { 0 };
    bool freed = qcow2_stale_vmstate_drop(transaction, errp) &&
                 qcow2_transaction_check_metadata(transaction, errp) &&
                 qcow2_active_disk_read(&disk, transaction, errp);

    if (freed) {
        disk.changed = qcow2_stale_vmstate_clear(transaction->image, disk.l1);
        freed = qcow2_active_disk_mark(&disk, errp) &&
                qcow2_active_disk_replace(&disk, NULL, 0, errp) &&
                commit(&disk, errp);
    }
    qcow2_active_disk_clear(&disk);
    return freed;
}

static bool coroutine_fn is_any(const Qcow2Image *image, bool *any,
                                GError **errp)
{
    Qcow2StaleTables stale;

    if (!qcow2_stale_tables_read(image, &stale, errp)) {
        return false;
    }
    *any = stale.any;
    qcow2_stale_tables_clear(&stale);
    return true;
}

bool coroutine_fn qcow2_free_stale_vmstate(Qcow2Image *image, GError **errp)
{
    Qcow2Transaction *transaction;
    bool freed;
    bool any;

    if (!qcow2_check_writable(image, errp) || !is_any(image, &any, errp)) {
        return false;
    }
    if (!any) {
        return true;
    }
    transaction = qcow2_transaction_begin(image, errp);
    freed = transaction && free_vmstate(transaction, errp);
    qcow2_transaction_end(transaction);
    return freed;
}
