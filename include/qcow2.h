/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A qcow2 image as the rest of the program sees it: what its header says and
 * which snapshots it holds. Reading and writing the VM state of a snapshot is
 * in qcow2-vmstate.h.
 */
#ifndef QCOW2_H
#define QCOW2_H

#include "block-file.h"

/* Names and IDs longer than this are cut by QEMU's own listings. */
#define QCOW2_MAX_NAME_BYTES 255

typedef struct Qcow2Header {
    uint32_t version; /* 2 or 3 */
    uint32_t cluster_bits;
    uint64_t size; /* virtual disk, bytes; as stored, may be odd */
    uint32_t crypt_method;
    uint32_t l1_size; /* entries */
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t snapshot_count;
    uint64_t snapshots_offset;
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order; /* refcounts are 1 << refcount_order bits wide */
    uint32_t header_length;
    uint8_t compression_type; /* 0 deflate, 1 zstd */

    /* From the header extensions and the backing name; NULL when absent. */
    char *backing_file;
    char *backing_format;
    char *data_file;
    uint32_t bitmap_count; /* persistent dirty bitmaps */
    uint64_t bitmap_directory_offset;
    uint64_t bitmap_directory_bytes;
    uint64_t luks_offset; /* of the LUKS header */
    uint64_t luks_bytes;
} Qcow2Header;

#define QCOW2_INCOMPATIBLE_DIRTY         (1ULL << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT       (1ULL << 1)
#define QCOW2_INCOMPATIBLE_EXTERNAL_DATA (1ULL << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION   (1ULL << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2   (1ULL << 4)
#define QCOW2_COMPATIBLE_LAZY_REFCOUNTS  (1ULL << 0)
#define QCOW2_AUTOCLEAR_BITMAPS          (1ULL << 0)
#define QCOW2_AUTOCLEAR_RAW_EXTERNAL     (1ULL << 1)

#define QCOW2_NO_ICOUNT UINT64_MAX

/* One entry of the snapshot table. */
typedef struct Qcow2Snapshot {
    char *id;   /* as stored, NUL-terminated here; may be any bytes */
    char *name; /* likewise */
    uint64_t l1_table_offset;
    uint32_t l1_size; /* entries; not yet checked against the limit */
    uint32_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size; /* bytes; 0: a disk-only snapshot */
    uint64_t disk_size;     /* bytes; the image's where the entry has none */
    uint64_t icount;        /* QCOW2_NO_ICOUNT: none recorded */
    GBytes *entry; /* the stored bytes without padding: written back as is */
} Qcow2Snapshot;

typedef struct Qcow2Image Qcow2Image;

/*
 * Read and check header and snapshot table of @file, which stays the caller's
 * and must outlive the image. Yields. Returns NULL and fills @errp (IO,
 * DAMAGED, UNSUPPORTED) when this is not a qcow2 image that can be understood.
 * Features that only matter to disk or VM state content (encryption, external
 * data file) do not hinder opening.
 */
Qcow2Image *coroutine_fn qcow2_open(BlockFile *file, GError **errp);
void qcow2_close(Qcow2Image *image);

/*
 * The same for an image that is to be changed: one that is marked dirty is
 * repaired first, as by qcow2_check(), unless something else hinders. @file is
 * writable and locked. Also fails as a repair does.
 */
Qcow2Image *coroutine_fn qcow2_open_writable(BlockFile *file, GError **errp);

/* Was that so? */
bool qcow2_was_repaired(const Qcow2Image *image);

const Qcow2Header *qcow2_header(const Qcow2Image *image);

/* The snapshots in table order; owned by the image. */
const GPtrArray *qcow2_snapshots(const Qcow2Image *image);

/*
 * The snapshot whose ID is @id_or_name, else the first one of that name:
 * QEMU's order. NULL when there is none.
 */
const Qcow2Snapshot *qcow2_find_snapshot(const Qcow2Image *image,
                                         const char *id_or_name);

/*
 * Can disk and VM state content of this image be read by us? Fills @errp
 * (UNSUPPORTED) with the name of the feature that stands in the way.
 */
bool qcow2_check_readable(const Qcow2Image *image, GError **errp);

/* The same for changing the image; also refuses dirty and corrupt images. */
bool qcow2_check_writable(const Qcow2Image *image, GError **errp);

/*
 * Write an empty version 3 image of @disk_size virtual bytes (rounded up to
 * 512) into the empty @file. Yields. Returns false and fills @errp (INVALID:
 * the size cannot be mapped with this cluster size; IO, NO_SPACE).
 */
bool coroutine_fn qcow2_create(BlockFile *file, uint64_t disk_size,
                               uint32_t cluster_bits, GError **errp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qcow2Image, qcow2_close)

#endif /* QCOW2_H */
