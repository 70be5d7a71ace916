/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Building images. Each reference is counted where it is made; the refcounts
 * are stored last.
 */
#include <check.h>
#include <gio/gio.h>

#include "qcow2-fixture.h"

#define COPIED     (1ULL << 63)
#define COMPRESSED (1ULL << 62)
#define ZERO       1ULL

typedef struct Builder {
    const Qcow2FixtureOptions *options;
    Qcow2FixtureHeader header;
    GByteArray *image;
    GArray *refcounts;     /* of uint64_t, one for each cluster */
    uint64_t packed_at;    /* where the next compressed cluster goes */
    uint64_t packed_bytes; /* room there; 0: none */
} Builder;

/* New clusters, filled with zeros. */
static uint64_t take(Builder *builder, uint64_t clusters, uint64_t refcount)
{
    uint64_t offset = builder->image->len;
    uint64_t bytes = clusters * builder->header.cluster_size;

    g_byte_array_set_size(builder->image, offset + bytes);
    memset(builder->image->data + offset, 0, bytes);
    while (clusters-- > 0) {
        g_array_append_val(builder->refcounts, refcount);
    }
    return offset;
}

void qcow2_fixture_fill_cluster(uint64_t guest_cluster, char kind,
                                uint8_t *buffer, size_t bytes)
{
    size_t i;

    qcow2_fixture_fill(guest_cluster, 0, buffer, bytes);
    for (i = 16; kind == 'c' && i < bytes; i++) {
        buffer[i] = buffer[i - 16];
    }
}

static size_t deflate_cluster(const uint8_t *cluster, size_t bytes,
                              uint8_t *packed)
{
    g_autoptr(GZlibCompressor)
        compressor = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_RAW, 9);
    gsize read;
    gsize written;

    ck_assert_int_eq(g_converter_convert(
                         G_CONVERTER(compressor), cluster, bytes, packed, bytes,
                         G_CONVERTER_INPUT_AT_END, &read, &written, NULL),
                     G_CONVERTER_FINISHED);
    return written;
}

/* The first one of each run begins right before a cluster boundary. */
static uint64_t add_compressed(Builder *builder, const uint8_t *cluster)
{
    uint64_t size = builder->header.cluster_size;
    g_autofree uint8_t *packed = g_malloc(size);
    size_t bytes = deflate_cluster(cluster, size, packed);
    unsigned split = 62 - (builder->header.cluster_bits - 8);
    uint64_t offset;
    uint64_t sectors;
    uint64_t i;

    if (builder->packed_bytes < bytes) {
        builder->packed_at = take(builder, 2, 0) + size - 8;
        builder->packed_bytes = size + 8;
    }
    offset = builder->packed_at;
    memcpy(builder->image->data + offset, packed, bytes);
    builder->packed_at += bytes;
    builder->packed_bytes -= bytes;
    sectors = (offset + bytes - 1) / 512 - offset / 512;
    for (i = offset / size; i <= (offset / 512 + sectors) * 512 / size; i++) {
        g_array_index(builder->refcounts, uint64_t, i)++;
    }
    return COMPRESSED | sectors << split | offset;
}

/* Data where @kind has some; the rest is never shown. */
static uint64_t add_data(Builder *builder, uint64_t guest_cluster, char kind)
{
    const Qcow2FixtureHeader *header = &builder->header;
    Qcow2FixtureParts parts = qcow2_fixture_parts(kind, header->extended_l2);
    uint64_t part_bytes = header->cluster_size / header->parts;
    uint64_t offset = take(builder, 1, 1);
    unsigned i;

    qcow2_fixture_fill_cluster(guest_cluster, kind,
                               builder->image->data + offset,
                               header->cluster_size);
    for (i = 0; i < header->parts; i++) {
        if (!(parts.data >> i & 1)) {
            memset(builder->image->data + offset + i * part_bytes, 0x5a,
                   part_bytes);
        }
    }
    return offset | COPIED;
}

/* The first number of an L2 entry. */
static uint64_t add_cluster(Builder *builder, uint64_t guest_cluster, char kind)
{
    uint64_t size = builder->header.cluster_size;
    uint64_t zero = builder->header.extended_l2 ? 0 : ZERO;
    g_autofree uint8_t *data = g_malloc(size);
    uint64_t offset;

    switch (kind) {
    case '.':
    case 'q':
        return 0;
    case 'z':
        return zero;
    case 'Z':
        offset = take(builder, 1, 1);
        /* Never shown: a reader that looks at it is found out. */
        memset(builder->image->data + offset, 0x5a, size);
        return offset | zero | COPIED;
    case 'd':
    case 'p':
        return add_data(builder, guest_cluster, kind);
    case 'c':
        qcow2_fixture_fill_cluster(guest_cluster, kind, data, size);
        return add_compressed(builder, data);
    default:
        ck_abort_msg("unknown kind of cluster '%c'", kind);
    }
}

static void add_l2_entry(Builder *builder, uint64_t at, uint64_t guest_cluster,
                         char kind)
{
    uint64_t entry = add_cluster(builder, guest_cluster, kind);

    qcow2_fixture_poke(builder->image, at, 8, entry);
    if (builder->header.extended_l2 && kind != 'c') {
        Qcow2FixtureParts parts = qcow2_fixture_parts(kind, true);

        qcow2_fixture_poke(builder->image, at + 8, 4, parts.zeros);
        qcow2_fixture_poke(builder->image, at + 12, 4, parts.data);
    }
}

static void add_l2_table(Builder *builder, unsigned index, const char *kinds)
{
    uint64_t entries = builder->header.l2_entries;
    uint64_t garbage = take(builder, builder->options->free_clusters, 0);
    uint64_t table = take(builder, 1, 1);
    uint64_t i;

    memset(builder->image->data + garbage, 0xee, table - garbage);

    ck_assert_uint_lt(index, builder->header.l1_size);
    ck_assert_uint_le(strlen(kinds), entries);
    qcow2_fixture_poke(builder->image, builder->header.l1_offset + index * 8, 8,
                       table | COPIED);
    for (i = 0; kinds[i]; i++) {
        add_l2_entry(builder, table + i * builder->header.l2_entry_bytes,
                     index * entries + i, kinds[i]);
    }
}

static void write_header(Builder *builder)
{
    const Qcow2FixtureOptions *options = builder->options;
    uint32_t version = options->version ? options->version : 3;
    uint32_t length = options->header_length ? options->header_length : 112;
    uint32_t bits = options->refcount_bits ? options->refcount_bits : 16;
    GByteArray *image = builder->image;
    uint64_t span;

    qcow2_fixture_poke(image, 0, 4, 0x514649fb);
    qcow2_fixture_poke(image, 4, 4, version);
    qcow2_fixture_poke(image, 20, 4, options->cluster_bits);
    qcow2_fixture_poke(image, 24, 8, options->disk_size);
    if (version > 2) {
        qcow2_fixture_poke(image, 72, 8, options->extended_l2 ? 16 : 0);
        qcow2_fixture_poke(image, 96, 4, __builtin_ctz(bits));
        qcow2_fixture_poke(image, 100, 4, length);
    }
    qcow2_fixture_header(image, &builder->header);
    span = builder->header.l1_span;
    qcow2_fixture_poke(image, 36, 4,
                       options->disk_size / span +
                           !!(options->disk_size % span) +
                           options->spare_l1_entries);
    qcow2_fixture_header(image, &builder->header);
}

/* The blocks come last and count themselves as well. */
static void write_refcounts(Builder *builder)
{
    uint64_t per_block = builder->header.refcounts_per_block;
    uint64_t table = builder->header.refcount_table_offset;
    uint64_t blocks = 0;
    uint64_t i;

    while (blocks * per_block < builder->refcounts->len) {
        ck_assert_uint_lt(blocks, builder->header.l2_entries);
        qcow2_fixture_poke(builder->image, table + blocks++ * 8, 8,
                           take(builder, 1, 1));
    }
    for (i = 0; i < builder->refcounts->len; i++) {
        qcow2_fixture_set_refcount(
            builder->image, i, g_array_index(builder->refcounts, uint64_t, i));
    }
}

GByteArray *qcow2_fixture_build(const Qcow2FixtureOptions *options)
{
    Builder builder = {
        .options = options,
        .header.cluster_size = 1ULL << options->cluster_bits,
        .image = g_byte_array_new(),
        .refcounts = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
    };
    uint64_t size = builder.header.cluster_size;
    unsigned i;

    take(&builder, 1, 1);
    write_header(&builder);
    qcow2_fixture_poke(builder.image, 48, 8, take(&builder, 1, 1));
    qcow2_fixture_poke(builder.image, 56, 4, 1);
    if (builder.header.l1_size) {
        qcow2_fixture_poke(
            builder.image, 40, 8,
            take(&builder, (builder.header.l1_size * 8ULL + size - 1) / size,
                 1));
    }
    qcow2_fixture_header(builder.image, &builder.header);
    for (i = 0; i < QCOW2_FIXTURE_L2_TABLES; i++) {
        if (options->l2[i]) {
            add_l2_table(&builder, i, options->l2[i]);
        }
    }
    write_refcounts(&builder);
    g_array_free(builder.refcounts, TRUE);
    return builder.image;
}
