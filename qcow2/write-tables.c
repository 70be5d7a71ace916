/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See write-tables.h.
 */
#include "bytes.h"
#include "write-tables.h"

/* Write @bytes of @data into fresh clusters, filled up with zeros. Yields. */
static bool coroutine_fn write_fresh(Qcow2Transaction *transaction,
                                     const void *data, uint64_t bytes,
                                     uint64_t *offset, GError **errp)
{
    uint64_t cluster_size = qcow2_cluster_size(&transaction->image->header);
    uint64_t clusters = div_round_up(bytes, cluster_size);

    if (bytes == 0) {
        *offset = 0;
        return true;
    }
    return qcow2_transaction_allocate(transaction, clusters, offset, errp) &&
           qcow2_write_buffer_put(transaction->metadata, *offset, data, bytes,
                                  errp) &&
           qcow2_write_buffer_put(transaction->metadata, *offset + bytes, NULL,
                                  clusters * cluster_size - bytes, errp);
}

bool coroutine_fn qcow2_write_l1(Qcow2Transaction *transaction,
                                 const uint64_t *entries, uint64_t count,
                                 uint64_t *offset, GError **errp)
{
    g_autofree uint64_t *stored = qcow2_new_table(count, "L1 table", errp);
    uint64_t i;

    if (!stored) {
        return false;
    }
    for (i = 0; i < count; i++) {
        stored[i] = htobe64(entries[i]);
    }
    return write_fresh(transaction, stored, count * sizeof(uint64_t), offset,
                       errp);
}

void qcow2_header_update_init(const Qcow2Transaction *transaction,
                              Qcow2HeaderUpdate *update)
{
    const Qcow2Header *header = &transaction->image->header;

    *update = (Qcow2HeaderUpdate){
        .size = header->size,
        .l1_size = header->l1_size,
        .l1_table_offset = header->l1_table_offset,
        .snapshot_count = header->snapshot_count,
        .snapshots_offset = header->snapshots_offset,
    };
}

bool coroutine_fn qcow2_replace_active_l1(Qcow2Transaction *transaction,
                                          const uint64_t *entries,
                                          Qcow2HeaderUpdate *update,
                                          GError **errp)
{
    const Qcow2Header *header = &transaction->image->header;

    return qcow2_transaction_unref(transaction, header->l1_table_offset,
                                   header->l1_size * sizeof(uint64_t), errp) &&
           qcow2_write_l1(transaction, entries, update->l1_size,
                          &update->l1_table_offset, errp);
}

bool coroutine_fn qcow2_replace_snapshot_table(Qcow2Transaction *transaction,
                                               const GByteArray *table,
                                               uint32_t count,
                                               Qcow2HeaderUpdate *update,
                                               GError **errp)
{
    const Qcow2Image *image = transaction->image;

    update->snapshot_count = count;
    return qcow2_transaction_unref(transaction, image->header.snapshots_offset,
                                   qcow2_snapshot_table_bytes(image->snapshots),
                                   errp) &&
           write_fresh(transaction, table->data, table->len,
                       &update->snapshots_offset, errp);
}
