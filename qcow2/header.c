/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The qcow2 header: every field is decoded into a temporary, checked against
 * the format's limits, the file's length and the other fields, and published
 * only when all of it holds. Pure functions of bytes, so that they can be
 * tested and fuzzed without a file.
 */
#include "bytes.h"
#include "internal.h"
#include "snap-error.h"

#define QCOW2_MAGIC             0x514649fbu
#define QCOW2_V2_HEADER_LENGTH  72
#define QCOW2_MAX_BACKING_BYTES 1023

enum {
    EXTENSION_END = 0x00000000,
    EXTENSION_BACKING_FORMAT = 0xe2792aca,
    EXTENSION_FEATURE_NAMES = 0x6803f857,
    EXTENSION_BITMAPS = 0x23852875,
    EXTENSION_LUKS = 0x0537be77,
    EXTENSION_DATA_FILE = 0x44415441,
};

/* Extensions may be long, but the names in them are for people to read. */
#define MAX_EXTENSION_NAME_BYTES 1023

/* A feature name table entry: kind, bit, 46 bytes of name. */
#define FEATURE_NAME_ENTRY_BYTES 48

static bool damaged(GError **errp, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool damaged(GError **errp, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (errp) {
        *errp =
            g_error_new_valist(SNAP_ERROR, SNAP_ERROR_DAMAGED, format, args);
    }
    va_end(args);
    return false;
}

static void decode_fields(const uint8_t *bytes, Qcow2Header *header)
{
    *header = (Qcow2Header){
        .version = load_be32(bytes + 4),
        .cluster_bits = load_be32(bytes + 20),
        .size = load_be64(bytes + 24),
        .crypt_method = load_be32(bytes + 32),
        .l1_size = load_be32(bytes + 36),
        .l1_table_offset = load_be64(bytes + 40),
        .refcount_table_offset = load_be64(bytes + 48),
        .refcount_table_clusters = load_be32(bytes + 56),
        .snapshot_count = load_be32(bytes + 60),
        .snapshots_offset = load_be64(bytes + 64),
        .refcount_order = 4,
        .header_length = QCOW2_V2_HEADER_LENGTH,
    };
}

static void decode_version_3_fields(const uint8_t *bytes, Qcow2Header *header)
{
    header->incompatible_features = load_be64(bytes + 72);
    header->compatible_features = load_be64(bytes + 80);
    header->autoclear_features = load_be64(bytes + 88);
    header->refcount_order = load_be32(bytes + 96);
    header->header_length = load_be32(bytes + 100);
}

static bool check_version_3_fields(const Qcow2Header *header, GError **errp)
{
    if (header->header_length < QCOW2_HEADER_BYTES ||
        header->header_length > qcow2_cluster_size(header) ||
        header->header_length % 8 != 0) {
        return damaged(errp, "impossible header length %u (offset 100)",
                       header->header_length);
    }
    if (header->refcount_order > 6) {
        return damaged(errp, "impossible refcount order %u (offset 96)",
                       header->refcount_order);
    }
    return true;
}

bool qcow2_header_decode_fixed(const uint8_t *bytes, size_t length,
                               Qcow2Header *header, GError **errp)
{
    Qcow2Header decoded;

    if (length < 4 || load_be32(bytes) != QCOW2_MAGIC) {
        return damaged(errp, "not a qcow2 image (offset 0)");
    }
    if (length < QCOW2_V2_HEADER_LENGTH) {
        return damaged(errp, "the header is cut off at offset %zu", length);
    }
    decode_fields(bytes, &decoded);
    if (decoded.version != 2 && decoded.version != 3) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "qcow2 version %u is not supported (offset 4)",
                    decoded.version);
        return false;
    }
    if (decoded.cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
        decoded.cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
        return damaged(errp,
                       "cluster size 2^%u is not between 2^9 and 2^21 "
                       "(offset 20)",
                       decoded.cluster_bits);
    }
    if (decoded.version == 3) {
        if (length < QCOW2_HEADER_BYTES) {
            return damaged(errp, "the header is cut off at offset %zu", length);
        }
        decode_version_3_fields(bytes, &decoded);
        if (!check_version_3_fields(&decoded, errp)) {
            return false;
        }
    }
    *header = decoded;
    return true;
}

/* A table must start at a cluster and lie inside the file, behind cluster 0. */
static bool check_table(const Qcow2Header *header, uint64_t file_size,
                        const char *what, unsigned field, uint64_t offset,
                        uint64_t bytes, GError **errp)
{
    if (!is_aligned(offset, qcow2_cluster_size(header))) {
        return damaged(errp,
                       "%s at 0x%" PRIx64 " is not cluster aligned (header "
                       "offset %u)",
                       what, offset, field);
    }
    if (bytes == 0) {
        return true;
    }
    if (file_size == QCOW2_ANY_FILE_SIZE) {
        if (!range_within(offset, bytes, INT64_MAX)) {
            return damaged(errp,
                           "%s of %" PRIu64 " bytes at 0x%" PRIx64
                           " does not fit into any file (header offset %u)",
                           what, bytes, offset, field);
        }
        return true;
    }
    if (offset == 0 || !range_within(offset, bytes, file_size)) {
        return damaged(errp,
                       "%s of %" PRIu64 " bytes at 0x%" PRIx64 " does not lie "
                       "inside the file of %" PRIu64 " bytes (header offset "
                       "%u)",
                       what, bytes, offset, file_size, field);
    }
    return true;
}

static bool check_l1(const Qcow2Header *header, uint64_t file_size,
                     GError **errp)
{
    if (header->size > INT64_MAX) {
        return damaged(errp, "absurd disk size %" PRIu64 " (offset 24)",
                       header->size);
    }
    if (header->l1_size > QCOW2_MAX_L1_ENTRIES) {
        return damaged(errp, "absurd L1 table size %u entries (offset 36)",
                       header->l1_size);
    }
    if (header->l1_size < qcow2_vm_index(header, header->size)) {
        return damaged(errp,
                       "L1 table of %u entries is too small for a disk of "
                       "%" PRIu64 " bytes (offset 36)",
                       header->l1_size, header->size);
    }
    return check_table(header, file_size, "L1 table", 40,
                       header->l1_table_offset,
                       header->l1_size * sizeof(uint64_t), errp);
}

static bool check_refcount_table(const Qcow2Header *header, uint64_t file_size,
                                 GError **errp)
{
    uint64_t bytes = (uint64_t)header->refcount_table_clusters
                     << header->cluster_bits;

    if ((bytes == 0 && file_size != QCOW2_ANY_FILE_SIZE) ||
        bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES) {
        return damaged(errp,
                       "absurd refcount table size %u clusters (offset 56)",
                       header->refcount_table_clusters);
    }
    return check_table(header, file_size, "refcount table", 48,
                       header->refcount_table_offset, bytes, errp);
}

static bool check_snapshot_fields(const Qcow2Header *header, uint64_t file_size,
                                  GError **errp)
{
    if (header->snapshot_count > QCOW2_MAX_SNAPSHOTS) {
        return damaged(errp, "absurd number of snapshots %u (offset 60)",
                       header->snapshot_count);
    }
    /* At least its first byte; the entries are checked as they are read. */
    return check_table(header, file_size, "snapshot table", 64,
                       header->snapshots_offset, header->snapshot_count != 0,
                       errp);
}

static bool check_compression(const Qcow2Header *header, GError **errp)
{
    bool flagged = header->incompatible_features &
                   QCOW2_INCOMPATIBLE_COMPRESSION;

    if (header->compression_type > 1) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "compression type %u is not supported (offset 104)",
                    header->compression_type);
        return false;
    }
    if (flagged != (header->compression_type != 0)) {
        return damaged(errp,
                       "compression type %u contradicts the incompatible "
                       "features 0x%" PRIx64 " (offset 72)",
                       header->compression_type, header->incompatible_features);
    }
    return true;
}

/* QEMU wants subclusters of a sector at least. */
static bool check_subclusters(const Qcow2Header *header, GError **errp)
{
    if (qcow2_l2_entry_words(header) == 2 &&
        qcow2_cluster_size(header) < QCOW2_SUBCLUSTERS * 512) {
        return damaged(errp,
                       "clusters of %" PRIu64 " bytes are too small for "
                       "extended L2 entries (offset 20)",
                       qcow2_cluster_size(header));
    }
    return true;
}

/* The image's own word for an incompatible feature bit, or NULL. */
static char *feature_name(const uint8_t *table, size_t bytes, unsigned bit)
{
    for (; bytes >= FEATURE_NAME_ENTRY_BYTES;
         table += FEATURE_NAME_ENTRY_BYTES, bytes -= FEATURE_NAME_ENTRY_BYTES) {
        if (table[0] == 0 && table[1] == bit) {
            g_autofree char *name = g_strndup((const char *)table + 2,
                                              FEATURE_NAME_ENTRY_BYTES - 2);

            return *name ? g_strescape(name, NULL) : NULL;
        }
    }
    return NULL;
}

static bool check_features(const Qcow2Header *header,
                           const uint8_t *feature_names,
                           size_t feature_names_bytes, GError **errp)
{
    uint64_t known = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT |
                     QCOW2_INCOMPATIBLE_EXTERNAL_DATA |
                     QCOW2_INCOMPATIBLE_COMPRESSION |
                     QCOW2_INCOMPATIBLE_EXTENDED_L2;
    uint64_t unknown = header->incompatible_features & ~known;
    g_autofree char *name = NULL;
    unsigned bit;

    if (!unknown) {
        return true;
    }
    bit = __builtin_ctzll(unknown);
    name = feature_name(feature_names, feature_names_bytes, bit);
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                "incompatible feature bit %u (%s) is not supported "
                "(offset 72)",
                bit, name ? name : "unnamed");
    return false;
}

typedef struct Extensions {
    const uint8_t *feature_names;
    size_t feature_names_bytes;
} Extensions;

static void take_extension(Qcow2Header *header, Extensions *extensions,
                           uint32_t type, const uint8_t *data, uint32_t length)
{
    size_t name_length = MIN(length, MAX_EXTENSION_NAME_BYTES);

    switch (type) {
    case EXTENSION_BACKING_FORMAT:
        g_free(header->backing_format);
        header->backing_format = g_strndup((const char *)data, name_length);
        break;
    case EXTENSION_DATA_FILE:
        g_free(header->data_file);
        header->data_file = g_strndup((const char *)data, name_length);
        break;
    case EXTENSION_BITMAPS:
        /* Without the autoclear bit they are stale, and QEMU drops them. */
        if (length >= 4 &&
            (header->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS)) {
            header->bitmap_count = load_be32(data);
        }
        if (length == 24) {
            header->bitmap_directory_bytes = load_be64(data + 8);
            header->bitmap_directory_offset = load_be64(data + 16);
        }
        break;
    case EXTENSION_LUKS:
        if (length == 16) {
            header->luks_offset = load_be64(data);
            header->luks_bytes = load_be64(data + 8);
        }
        break;
    case EXTENSION_FEATURE_NAMES:
        extensions->feature_names = data;
        extensions->feature_names_bytes = length;
        break;
    default:
        break;
    }
}

/*
 * The area ends at the end marker, at the backing name, or with the cluster.
 */
static bool decode_extensions(const uint8_t *cluster, size_t bytes,
                              uint64_t backing_offset, Qcow2Header *header,
                              Extensions *extensions, GError **errp)
{
    size_t end = backing_offset ? MIN(bytes, backing_offset) : bytes;
    size_t at = header->header_length;

    while (at + 8 <= end) {
        uint32_t type = load_be32(cluster + at);
        uint32_t length = load_be32(cluster + at + 4);

        if (type == EXTENSION_END) {
            break;
        }
        if (length > end - at - 8) {
            return damaged(errp,
                           "header extension 0x%08x of %u bytes is too large "
                           "(offset %zu)",
                           type, length, at);
        }
        take_extension(header, extensions, type, cluster + at + 8, length);
        at += 8 + round_up(length, 8);
    }
    return true;
}

static bool decode_backing_name(const uint8_t *cluster, size_t bytes,
                                Qcow2Header *header, GError **errp)
{
    uint64_t offset = load_be64(cluster + 8);
    uint32_t length = load_be32(cluster + 16);

    if (offset == 0) {
        return true;
    }
    if (length > QCOW2_MAX_BACKING_BYTES ||
        !range_within(offset, length, bytes)) {
        return damaged(errp,
                       "backing file name of %u bytes at 0x%" PRIx64
                       " does not lie in the first cluster (header offset 8)",
                       length, offset);
    }
    header->backing_file = g_strndup((const char *)cluster + offset, length);
    return true;
}

static bool decode_variable_part(const uint8_t *cluster, size_t bytes,
                                 Qcow2Header *header, GError **errp)
{
    Extensions extensions = { 0 };

    if (header->header_length > QCOW2_HEADER_BYTES &&
        bytes > QCOW2_HEADER_BYTES) {
        header->compression_type = cluster[QCOW2_HEADER_BYTES];
    }
    return decode_backing_name(cluster, bytes, header, errp) &&
           decode_extensions(cluster, bytes, load_be64(cluster + 8), header,
                             &extensions, errp) &&
           check_features(header, extensions.feature_names,
                          extensions.feature_names_bytes, errp) &&
           check_compression(header, errp) && check_subclusters(header, errp);
}

bool qcow2_header_decode(const uint8_t *cluster, size_t bytes,
                         uint64_t file_size, Qcow2Header *header, GError **errp)
{
    Qcow2Header decoded;

    if (!qcow2_header_decode_fixed(cluster, bytes, &decoded, errp)) {
        return false;
    }
    if (!decode_variable_part(cluster, bytes, &decoded, errp)) {
        goto fail;
    }
    if (decoded.crypt_method > 2) {
        damaged(errp, "unknown encryption method %u (offset 32)",
                decoded.crypt_method);
        goto fail;
    }
    if (!check_l1(&decoded, file_size, errp) ||
        !check_refcount_table(&decoded, file_size, errp) ||
        !check_snapshot_fields(&decoded, file_size, errp)) {
        goto fail;
    }
    *header = decoded;
    return true;

fail:
    qcow2_header_clear(&decoded);
    return false;
}

void qcow2_header_clear(Qcow2Header *header)
{
    g_clear_pointer(&header->backing_file, g_free);
    g_clear_pointer(&header->backing_format, g_free);
    g_clear_pointer(&header->data_file, g_free);
}
