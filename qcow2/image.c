/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Opening an image: as much is read as everybody needs, which is the first
 * cluster and the snapshot table. L1 tables, refcounts and the rest are read
 * by those who use them, so that a listing costs the same on any image.
 */
#include "internal.h"
#include "qcow2-snapshots.h"
#include "snap-error.h"

/* Covers the header and, in nearly every image, its extensions. */
#define FIRST_READ_BYTES 4096

/* The first cluster, or as much of it as the file has; free() it. */
static uint8_t *coroutine_fn read_first_cluster(BlockFile *file,
                                                uint64_t file_size,
                                                size_t *bytes, GError **errp)
{
    g_autofree uint8_t *first = NULL;
    uint8_t *cluster;
    Qcow2Header header;
    int ret;

    first = g_malloc(FIRST_READ_BYTES);
    *bytes = MIN(FIRST_READ_BYTES, file_size);
    ret = block_file_pread(file, 0, first, *bytes);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot read the header (offset 0)");
        return NULL;
    }
    if (!qcow2_header_decode_fixed(first, *bytes, &header, errp)) {
        return NULL;
    }
    *bytes = MIN(qcow2_cluster_size(&header), file_size);
    cluster = block_file_alloc_buffer(*bytes);
    if (!cluster) {
        snap_error_set_errno(errp, -ENOMEM, "first cluster");
        return NULL;
    }
    ret = block_file_pread(file, 0, cluster, *bytes);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the first cluster (offset 0)");
        free(cluster);
        return NULL;
    }
    return cluster;
}

/* Everything but the snapshot table. */
static Qcow2Image *coroutine_fn open_header(BlockFile *file, bool tables_inside,
                                            GError **errp)
{
    g_autoptr(Qcow2Image) image = g_new0(Qcow2Image, 1);
    int64_t file_size = block_file_size(file);
    uint8_t *cluster;
    size_t bytes;
    bool decoded;

    if (file_size < 0) {
        snap_error_set_errno(errp, file_size, "cannot find out the size");
        return NULL;
    }
    image->file = file;
    image->file_size = file_size;
    cluster = read_first_cluster(file, file_size, &bytes, errp);
    if (!cluster) {
        return NULL;
    }
    decoded = qcow2_header_decode(
        cluster, bytes, tables_inside ? image->file_size : QCOW2_ANY_FILE_SIZE,
        &image->header, errp);
    memcpy(image->header_bytes, cluster,
           MIN(bytes, sizeof(image->header_bytes)));
    free(cluster);
    return decoded ? g_steal_pointer(&image) : NULL;
}

Qcow2Image *coroutine_fn qcow2_open(BlockFile *file, GError **errp)
{
    g_autoptr(Qcow2Image) image = open_header(file, true, errp);

    if (!image) {
        return NULL;
    }
    image->snapshots = qcow2_snapshot_table_read(image, image->file_size, errp);
    return image->snapshots ? g_steal_pointer(&image) : NULL;
}

Qcow2Image *coroutine_fn qcow2_open_to_check(BlockFile *file, GError **errp)
{
    return open_header(file, false, errp);
}

void qcow2_close(Qcow2Image *image)
{
    if (!image) {
        return;
    }
    qcow2_header_clear(&image->header);
    g_clear_pointer(&image->snapshots, g_ptr_array_unref);
    g_free(image);
}

const Qcow2Header *qcow2_header(const Qcow2Image *image)
{
    return &image->header;
}

const GPtrArray *qcow2_snapshots(const Qcow2Image *image)
{
    return image->snapshots;
}

const Qcow2Snapshot *qcow2_find_snapshot(const Qcow2Image *image,
                                         const char *id_or_name)
{
    const Qcow2Snapshot *named = NULL;
    guint i;

    for (i = 0; i < image->snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(image->snapshots, i);

        if (!strcmp(snapshot->id, id_or_name)) {
            return snapshot;
        }
        if (!named && !strcmp(snapshot->name, id_or_name)) {
            named = snapshot;
        }
    }
    return named;
}

static bool unsupported(GError **errp, const char *what)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                "images with %s are not supported", what);
    return false;
}

bool qcow2_check_readable(const Qcow2Image *image, GError **errp)
{
    const Qcow2Header *header = &image->header;

    if (header->crypt_method == 1) {
        return unsupported(errp, "AES encryption");
    }
    if (header->crypt_method == 2) {
        return unsupported(errp, "LUKS encryption");
    }
    if (header->incompatible_features & QCOW2_INCOMPATIBLE_EXTERNAL_DATA) {
        return unsupported(errp, "an external data file");
    }
    return true;
}

bool qcow2_check_writable_when_clean(const Qcow2Image *image, GError **errp)
{
    const Qcow2Header *header = &image->header;

    if (!qcow2_check_readable(image, errp)) {
        return false;
    }
    if (header->incompatible_features & QCOW2_INCOMPATIBLE_CORRUPT) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the image is marked corrupt; `qemu-snap check -r all' may "
                    "repair it (offset 72)");
        return false;
    }
    /* Loading a snapshot counts each of its clusters twice for a moment. */
    if (header->refcount_order == 0) {
        return unsupported(errp, "1-bit refcounts");
    }
    return true;
}

bool qcow2_check_writable(const Qcow2Image *image, GError **errp)
{
    if (!qcow2_check_writable_when_clean(image, errp)) {
        return false;
    }
    /* With the dirty bit set, a cluster in use may have refcount 0. */
    if (image->header.incompatible_features & QCOW2_INCOMPATIBLE_DIRTY) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the image was not closed properly; `qemu-snap check -r "
                    "all' may repair it (offset 72)");
        return false;
    }
    return true;
}

void qcow2_keep_freed(Qcow2Image *image)
{
    image->keeps_freed = true;
}
