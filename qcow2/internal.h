/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the files of the image format share among themselves: the image object,
 * its geometry, the limits that QEMU enforces, and the decoding of L1 and L2
 * entries.
 */
#ifndef QCOW2_INTERNAL_H
#define QCOW2_INTERNAL_H

#include <inttypes.h>

#include "qcow2.h"
#include "checked.h"

/* 32 MiB of entries, for the active L1 table and for those of snapshots. */
#define QCOW2_MAX_L1_ENTRIES           (32u * 1024 * 1024 / sizeof(uint64_t))
#define QCOW2_MAX_REFCOUNT_TABLE_BYTES (8u * 1024 * 1024)
#define QCOW2_MAX_SNAPSHOTS            65536u
#define QCOW2_MAX_SNAPSHOT_EXTRA_BYTES 1024u
#define QCOW2_MAX_SNAPSHOT_TABLE_BYTES \
    (QCOW2_MAX_SNAPSHOTS * QCOW2_MAX_SNAPSHOT_EXTRA_BYTES)
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_HOST_OFFSET  (1ULL << 56)

/* COPIED: the refcount of what the entry points at is exactly one. */
#define QCOW2_COPIED      (1ULL << 63)
#define QCOW2_COMPRESSED  (1ULL << 62)
#define QCOW2_ZERO        (1ULL << 0)
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL
#define QCOW2_L1_RESERVED 0x7f000000000001ffULL
#define QCOW2_L2_RESERVED 0x3f000000000001feULL

/* Header bytes that a transaction may rewrite: one sector, one write. */
#define QCOW2_HEADER_BYTES 104

struct Qcow2Image {
    /* Constant after qcow2_open(). */
    BlockFile *file;
    Qcow2Header header;
    uint8_t header_bytes[QCOW2_HEADER_BYTES]; /* as stored; v2: 72 are used */
    uint64_t file_size;                       /* bytes, at opening */
    GPtrArray *snapshots;                     /* of Qcow2Snapshot */

    bool was_repaired; /* see qcow2_open_writable() */
    bool keeps_freed;  /* see qcow2_keep_freed() */
};

/*
 * Open an image to find out what is wrong with it: tables may lie anywhere,
 * also behind the end of the file, where everything reads as zeros; a refcount
 * table may be missing; no snapshot table is read. Never write to such an
 * image through a transaction. Yields. Errors as of qcow2_open().
 */
Qcow2Image *coroutine_fn qcow2_open_to_check(BlockFile *file, GError **errp);

/* qcow2_check_writable(), but for the dirty bit. */
bool qcow2_check_writable_when_clean(const Qcow2Image *image, GError **errp);

static inline uint64_t qcow2_cluster_size(const Qcow2Header *header)
{
    return 1ULL << header->cluster_bits;
}

static inline uint64_t qcow2_bytes_to_clusters(const Qcow2Header *header,
                                               uint64_t bytes)
{
    return div_round_up(bytes, qcow2_cluster_size(header));
}

/*
 * Numbers of 64 bits in one L2 entry: with extended L2 the second one says
 * what each subcluster is.
 */
static inline unsigned qcow2_l2_entry_words(const Qcow2Header *header)
{
    return (header->incompatible_features & QCOW2_INCOMPATIBLE_EXTENDED_L2) ? 2
                                                                            : 1;
}

static inline uint64_t qcow2_l2_entry_bytes(const Qcow2Header *header)
{
    return qcow2_l2_entry_words(header) * sizeof(uint64_t);
}

/* Entries of one L2 table. */
static inline uint64_t qcow2_l2_entries(const Qcow2Header *header)
{
    return qcow2_cluster_size(header) / qcow2_l2_entry_bytes(header);
}

/* log2 of the guest bytes that one L1 entry maps. */
static inline unsigned qcow2_l1_span_bits(const Qcow2Header *header)
{
    return 2 * header->cluster_bits - 2 - qcow2_l2_entry_words(header);
}

/*
 * The first L1 index that a disk of @disk_size bytes does not use: the VM
 * state starts there, so disk and VM state never share an L2 table.
 */
static inline uint64_t qcow2_vm_index(const Qcow2Header *header,
                                      uint64_t disk_size)
{
    return div_round_up(disk_size, 1ULL << qcow2_l1_span_bits(header));
}

/*
 * The same for the L1 table of @snapshot. Its entry holds the disk size in
 * whole sectors, but where that is the image's present size QEMU goes by the
 * header, whose size may be odd and need one L1 entry more.
 */
static inline uint64_t qcow2_snapshot_vm_index(const Qcow2Header *header,
                                               const Qcow2Snapshot *snapshot)
{
    bool present = snapshot->disk_size == round_down(header->size, 512);

    return qcow2_vm_index(header, present ? header->size : snapshot->disk_size);
}

/* As the file's size: where tables lie is not looked at. */
#define QCOW2_ANY_FILE_SIZE UINT64_MAX

/*
 * Decode header, extensions and backing name from the first @bytes of the
 * image (a whole first cluster, or less when the file is shorter) into
 * *@header, which is filled only on success. No I/O.
 */
bool qcow2_header_decode(const uint8_t *cluster, size_t bytes,
                         uint64_t file_size, Qcow2Header *header,
                         GError **errp);
void qcow2_header_clear(Qcow2Header *header);

/* Decode the fixed part only, enough to know how long the first cluster is. */
bool qcow2_header_decode_fixed(const uint8_t *bytes, size_t length,
                               Qcow2Header *header, GError **errp);

/*
 * Read the snapshot table that @image's header names; it must end before
 * @limit, the size of the file for all but a check. Yields.
 */
GPtrArray *coroutine_fn qcow2_snapshot_table_read(const Qcow2Image *image,
                                                  uint64_t limit,
                                                  GError **errp);

/* Bytes that the table of @snapshots takes in the file. */
uint64_t qcow2_snapshot_table_bytes(const GPtrArray *snapshots);

/*
 * The table with one more entry: the old ones byte for byte, but for that of
 * @left_out, which may be NULL; then @entry. Returns NULL and fills @errp when
 * a limit is exceeded.
 */
GByteArray *qcow2_snapshot_table_append(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *left_out,
                                        GBytes *entry, GError **errp);

/*
 * The table with another name, which has been checked, in one entry. Returns
 * NULL and fills @errp when a limit is exceeded.
 */
GByteArray *qcow2_snapshot_table_rename(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *renamed,
                                        const char *name, GError **errp);

/*
 * The table with other VM state in the entry of @old, which is in @snapshots:
 * L1 table and size are those of @changed. All else stays as it is; extra data
 * that has no room for the size grows to what QEMU writes. Returns NULL and
 * fills @errp when a limit is exceeded.
 */
GByteArray *qcow2_snapshot_table_change_vmstate(const GPtrArray *snapshots,
                                                const Qcow2Snapshot *old,
                                                const Qcow2Snapshot *changed,
                                                GError **errp);

/* The same with one entry less: that of @left_out, which is in @snapshots. */
GByteArray *qcow2_snapshot_table_remove(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *left_out);

/*
 * The table with the entry of @moved, which is in @snapshots, behind all
 * others. What stands before *@first stays as it is; bytes.
 */
GByteArray *qcow2_snapshot_table_move_last(const GPtrArray *snapshots,
                                           const Qcow2Snapshot *moved,
                                           uint64_t *first);

/*
 * Encode @snapshot (its @entry is not looked at). Names have been checked.
 */
GBytes *qcow2_snapshot_encode(const Qcow2Snapshot *snapshot);

/*
 * One more than the largest number that an existing ID begins with, but for
 * that of @left_out, which may be NULL.
 */
char *qcow2_snapshot_new_id(const GPtrArray *snapshots,
                            const Qcow2Snapshot *left_out);

/*
 * Read @entries big-endian numbers at @offset into a new array in host order:
 * an L1 table, an L2 table, the refcount table. The caller has checked the
 * range against the file. Yields. Free with free().
 */
uint64_t *coroutine_fn qcow2_read_table(BlockFile *file, uint64_t offset,
                                        uint64_t entries, const char *what,
                                        GError **errp);

/*
 * Memory for a table of so many entries, all 0; g_free() it. Returns NULL and
 * fills @errp when there is none: tables are as long as an image says.
 */
uint64_t *qcow2_new_table(uint64_t entries, const char *what, GError **errp);

/*
 * The L2 table offset of an L1 entry, 0 when there is none; COPIED is not
 * looked at. @index is for the error (DAMAGED).
 */
bool qcow2_l1_entry_decode(const Qcow2Image *image, uint64_t entry,
                           uint64_t index, uint64_t *l2_offset, GError **errp);

/* With extended L2 every cluster has this many parts. */
#define QCOW2_SUBCLUSTERS      32u
#define QCOW2_SUBCLUSTERS_ALL  0xffffffffu
#define QCOW2_SUBCLUSTERS_DATA 0x00000000ffffffffULL /* bitmap: all have data */

/* An L2 entry in host order. */
typedef struct Qcow2L2Entry {
    uint64_t entry;
    uint64_t subclusters; /* the bitmap; 0 without extended L2 */
} Qcow2L2Entry;

/* Entry @index of an L2 table as stored, or of a part of one. */
Qcow2L2Entry qcow2_l2_entry_load(const Qcow2Header *header,
                                 const uint64_t *table, uint64_t index);

typedef enum Qcow2ClusterType {
    QCOW2_CLUSTER_UNALLOCATED, /* the backing file shows through */
    QCOW2_CLUSTER_NORMAL,
    QCOW2_CLUSTER_ZERO_PLAIN,     /* zeros, nothing allocated */
    QCOW2_CLUSTER_ZERO_ALLOCATED, /* zeros, but a cluster is held */
    QCOW2_CLUSTER_COMPRESSED,
} Qcow2ClusterType;

/*
 * Where only some subclusters are zeros, the type is that of the others:
 * UNALLOCATED when no cluster is held, else NORMAL. Without extended L2, all
 * subclusters are alike. A compressed cluster has none.
 */
typedef struct Qcow2Cluster {
    Qcow2ClusterType type;
    uint64_t offset; /* host bytes; of the compressed data: any alignment */
    uint64_t bytes;  /* COMPRESSED: what must be read, clipped to nothing */
    uint32_t data;   /* subclusters that have data; the first one is bit 0 */
    uint32_t zeros;  /* those that are zeros; the backing file has the rest */
} Qcow2Cluster;

/*
 * Decode an L2 entry and check it against the file. @guest_cluster is for the
 * error (DAMAGED).
 */
bool qcow2_l2_entry_decode(const Qcow2Image *image, Qcow2L2Entry entry,
                           uint64_t guest_cluster, Qcow2Cluster *cluster,
                           GError **errp);

/* Entries of an L2 table that are alike, but perhaps for their subclusters. */
typedef struct Qcow2L2Run {
    Qcow2Cluster cluster; /* of the first entry */
    uint64_t entries;     /* their clusters, if any, follow one another */
    bool copied;          /* COPIED is set in all, or in none */
} Qcow2L2Run;

/*
 * Decode and check the entries of an L2 table (as stored) from @index on that
 * are alike: one, or many that hold neighbours in the file or nothing at all.
 * A compressed cluster is always alone. @l1_index is for the error (DAMAGED).
 */
bool qcow2_l2_run_decode(const Qcow2Image *image, const uint64_t *table,
                         uint64_t index, uint64_t l1_index, Qcow2L2Run *run,
                         GError **errp);

/* Bytes of the file that it holds, from the first cluster's offset on. */
uint64_t qcow2_l2_run_bytes(const Qcow2Header *header, const Qcow2L2Run *run);

/*
 * The L2 table offsets of an L1 table (in host order), 0 where there is none.
 * Returns NULL and fills @errp (DAMAGED) when an entry is impossible.
 */
uint64_t *qcow2_l1_decode(const Qcow2Image *image, const uint64_t *l1,
                          uint64_t entries, GError **errp);

#endif /* QCOW2_INTERNAL_H */
