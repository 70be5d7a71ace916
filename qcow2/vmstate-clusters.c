/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See vmstate-clusters.h.
 */
#include "bytes.h"
#include "snap-error.h"
#include "vmstate-clusters.h"

/* Free space in the middle of the image is used in pieces of at least this. */
#define LEAST_RUN_BYTES (1024ULL * 1024)

/* Clusters of VM state that lie next to each other in the file. */
typedef struct VmstateRun {
    uint64_t index;  /* of the first one in the VM state */
    uint64_t offset; /* in the file, bytes */
    uint64_t clusters;
} VmstateRun;

static const Qcow2Header *header_of(const Qcow2VmstateClusters *clusters)
{
    return &clusters->transaction->image->header;
}

void qcow2_vmstate_clusters_init(Qcow2VmstateClusters *clusters,
                                 Qcow2Transaction *transaction,
                                 uint64_t disk_entries, uint64_t kept)
{
    *clusters = (Qcow2VmstateClusters){
        .transaction = transaction,
        .disk_entries = disk_entries,
        .kept = kept,
        .runs = g_array_new(FALSE, FALSE, sizeof(VmstateRun)),
    };
}

void qcow2_vmstate_clusters_clear(Qcow2VmstateClusters *clusters)
{
    g_clear_pointer(&clusters->runs, g_array_unref);
}

uint64_t qcow2_vmstate_clusters_first_table(
    const Qcow2VmstateClusters *clusters)
{
    return clusters->kept
               ? (clusters->kept - 1) / qcow2_l2_entries(header_of(clusters))
               : 0;
}

/* L2 tables of all the VM state with @count fresh clusters. */
static uint64_t count_tables(const Qcow2VmstateClusters *clusters,
                             uint64_t count)
{
    return div_round_up(clusters->kept + count,
                        qcow2_l2_entries(header_of(clusters)));
}

/*
 * An upper bound for what the commit will write behind the data: L2 tables, two
 * L1 tables, the snapshot table, and the refcounts of everything, themselves
 * included.
 */
static uint64_t metadata_bytes(const Qcow2VmstateClusters *clusters)
{
    const Qcow2Image *image = clusters->transaction->image;
    const Qcow2Header *header = &image->header;
    const Qcow2Refcounts *refcounts = clusters->transaction->refcounts;
    uint64_t count = clusters->count;
    uint64_t tables = qcow2_l2_entry_bytes(header) * count + /* L2 tables */
                      16 * (MAX(header->l1_size, clusters->disk_entries) +
                            count_tables(clusters, count)) +
                      qcow2_snapshot_table_bytes(image->snapshots) + 1024 +
                      8 * refcounts->table_entries;
    uint64_t blocks = refcounts->changed->len +
                      count / qcow2_refcounts_per_block(refcounts);

    /* A dozen clusters for what is rounded up, an eighth for refcounts. */
    return (tables + tables / 8) +
           (blocks + blocks / 8 + 12) * qcow2_cluster_size(header);
}

bool coroutine_fn qcow2_vmstate_clusters_reserve_metadata(
    const Qcow2VmstateClusters *clusters, GError **errp)
{
    return qcow2_transaction_reserve(clusters->transaction, 0, 0,
                                     metadata_bytes(clusters), errp);
}

static VmstateRun *last_run(const Qcow2VmstateClusters *clusters)
{
    GArray *runs = clusters->runs;

    return runs->len ? &g_array_index(runs, VmstateRun, runs->len - 1) : NULL;
}

static void add_run(Qcow2VmstateClusters *clusters, uint64_t offset,
                    uint64_t count)
{
    unsigned cluster_bits = header_of(clusters)->cluster_bits;
    VmstateRun *last = last_run(clusters);
    VmstateRun run = {
        .index = clusters->count,
        .offset = offset,
        .clusters = count,
    };

    if (last && last->offset + (last->clusters << cluster_bits) == offset) {
        last->clusters += count;
    } else {
        g_array_append_val(clusters->runs, run);
    }
    clusters->count += count;
}

/* Forget all clusters but the first @keep. */
static void cut_runs(Qcow2VmstateClusters *clusters, uint64_t keep)
{
    VmstateRun *last;

    qcow2_transaction_give_back(clusters->transaction, clusters->count - keep);
    while ((last = last_run(clusters)) && last->index >= keep) {
        g_array_set_size(clusters->runs, clusters->runs->len - 1);
    }
    if (last) {
        last->clusters = keep - last->index;
    }
    clusters->count = keep;
}

static bool check_mappable(const Qcow2VmstateClusters *clusters, uint64_t count,
                           GError **errp)
{
    const Qcow2Header *header = header_of(clusters);

    if (clusters->disk_entries + count_tables(clusters, count) >
        QCOW2_MAX_L1_ENTRIES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "clusters of %" PRIu64 " bytes cannot map more than "
                    "%" PRIu64 " bytes of VM state",
                    qcow2_cluster_size(header),
                    (QCOW2_MAX_L1_ENTRIES - clusters->disk_entries)
                        << qcow2_l1_span_bits(header));
        return false;
    }
    return true;
}

bool coroutine_fn qcow2_vmstate_clusters_extend(Qcow2VmstateClusters *clusters,
                                                uint64_t most, GError **errp)
{
    Qcow2Transaction *transaction = clusters->transaction;
    unsigned cluster_bits = header_of(clusters)->cluster_bits;
    uint64_t least = MAX(LEAST_RUN_BYTES >> cluster_bits, 1);
    uint64_t before = clusters->count;
    uint64_t offset;
    uint64_t count;

    if (!check_mappable(clusters, before + most, errp) ||
        !qcow2_transaction_allocate_some(transaction, MIN(least, most), most,
                                         &offset, &count, errp)) {
        return false;
    }
    add_run(clusters, offset, count);
    if (!qcow2_transaction_reserve(transaction, offset, count << cluster_bits,
                                   metadata_bytes(clusters), errp)) {
        cut_runs(clusters, before);
        return false;
    }
    return true;
}

/* The run that holds the cluster number @index, which is there. */
static const VmstateRun *find_run(const Qcow2VmstateClusters *clusters,
                                  uint64_t index)
{
    guint low = 0;
    guint high = clusters->runs->len;

    while (high - low > 1) {
        guint middle = (low + high) / 2;

        if (g_array_index(clusters->runs, VmstateRun, middle).index <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &g_array_index(clusters->runs, VmstateRun, low);
}

uint64_t qcow2_vmstate_clusters_map(const Qcow2VmstateClusters *clusters,
                                    uint64_t position, uint64_t *bytes)
{
    unsigned cluster_bits = header_of(clusters)->cluster_bits;
    const VmstateRun *run = find_run(clusters, position >> cluster_bits);
    uint64_t within = position - (run->index << cluster_bits);

    *bytes = (run->clusters << cluster_bits) - within;
    return run->offset + within;
}

bool coroutine_fn qcow2_vmstate_clusters_finish(Qcow2VmstateClusters *clusters,
                                                uint64_t end, GError **errp)
{
    const Qcow2Header *header = header_of(clusters);
    uint64_t used = qcow2_bytes_to_clusters(header, end);
    uint64_t rest = (used << header->cluster_bits) - end;
    uint64_t contiguous;

    g_assert(used <= clusters->count);
    cut_runs(clusters, used);
    return rest == 0 || qcow2_write_buffer_put(clusters->transaction->metadata,
                                               qcow2_vmstate_clusters_map(
                                                   clusters, end, &contiguous),
                                               NULL, rest, errp);
}

/* The entry for cluster number @index of the VM state, as stored. */
static void make_entry(const Qcow2VmstateClusters *clusters, uint64_t index,
                       uint64_t entry[2])
{
    uint64_t fresh = index - clusters->kept;
    uint64_t contiguous;

    entry[0] = 0;
    entry[1] = 0;
    if (fresh < clusters->count) {
        entry[0] = htobe64(qcow2_vmstate_clusters_map(
            clusters, fresh << header_of(clusters)->cluster_bits, &contiguous));
        /* For extended L2; else only the first number is looked at. */
        entry[1] = htobe64(QCOW2_SUBCLUSTERS_DATA);
    }
}

bool coroutine_fn qcow2_vmstate_clusters_write_l2(
    const Qcow2VmstateClusters *clusters, const uint64_t *kept,
    uint64_t *offset, uint64_t *tables, GError **errp)
{
    const Qcow2Header *header = header_of(clusters);
    uint64_t entries = qcow2_l2_entries(header);
    unsigned words = qcow2_l2_entry_words(header);
    uint64_t first = qcow2_vmstate_clusters_first_table(clusters);
    uint64_t i;

    *offset = 0;
    *tables = count_tables(clusters, clusters->count) - first;
    if (*tables == 0) {
        return true;
    }
    if (!qcow2_transaction_allocate(clusters->transaction, *tables, offset,
                                    errp)) {
        return false;
    }
    for (i = 0; i < *tables * entries; i++) {
        uint64_t made[2];
        const uint64_t *entry = made;

        if (first * entries + i < clusters->kept) {
            entry = kept + i * words;
        } else {
            make_entry(clusters, first * entries + i, made);
        }
        if (!qcow2_write_buffer_put(clusters->transaction->metadata,
                                    *offset + i * words * sizeof(uint64_t),
                                    entry, words * sizeof(uint64_t), errp)) {
            return false;
        }
    }
    return true;
}
