/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Images as their users see them: content by content, without a word about
 * where it is stored.
 */
#include <check.h>
#include <gio/gio.h>

#include "qcow2-fixture.h"

#define COMPRESSED  (1ULL << 62)
#define OFFSET_MASK 0x00fffffffffffe00ULL

/*
 * What a guest cluster holds goes into a digest with its number. @data is NULL
 * for zeros; unallocated ones are left out, because they are not zeros where
 * there is a backing file.
 */
static void digest_cluster(GChecksum *digest, uint64_t guest_cluster,
                           const uint8_t *data, size_t bytes)
{
    uint64_t label[2] = { GUINT64_TO_BE(guest_cluster), data != NULL };

    g_checksum_update(digest, (const uint8_t *)label, sizeof(label));
    if (data) {
        g_checksum_update(digest, data, bytes);
    }
}

char *qcow2_fixture_disk_digest(const Qcow2FixtureOptions *options)
{
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA1);
    uint64_t size = 1ULL << options->cluster_bits;
    uint64_t entries = size / 8;
    uint64_t clusters = (options->disk_size + size - 1) / size;
    g_autofree uint8_t *buffer = g_malloc(size);
    unsigned i;

    for (i = 0; i < QCOW2_FIXTURE_L2_TABLES && i * entries < clusters; i++) {
        const char *kind = options->l2[i];
        uint64_t guest_cluster = i * entries;

        for (; kind && *kind; kind++, guest_cluster++) {
            if (*kind == 'd' || *kind == 'c') {
                qcow2_fixture_fill_cluster(guest_cluster, *kind, buffer, size);
                digest_cluster(digest, guest_cluster, buffer, size);
            } else if (*kind != '.') {
                digest_cluster(digest, guest_cluster, NULL, 0);
            }
        }
    }
    return g_strdup(g_checksum_get_string(digest));
}

static void inflate_cluster(const GByteArray *image, uint64_t offset,
                            uint64_t packed, uint8_t *cluster, size_t bytes)
{
    g_autoptr(GZlibDecompressor)
        decompressor = g_zlib_decompressor_new(G_ZLIB_COMPRESSOR_FORMAT_RAW);
    gsize read;
    gsize written = 0;

    ck_assert_uint_lt(offset, image->len);
    packed = MIN(packed, image->len - offset);
    g_converter_convert(G_CONVERTER(decompressor), image->data + offset, packed,
                        cluster, bytes, 0, &read, &written, NULL);
    ck_assert_uint_eq(written, bytes);
}

/*
 * The cluster that an L2 entry stands for, as digest_cluster() wants it: in
 * *@data, NULL for zeros. Returns false for an unallocated one. @buffer has
 * room for a cluster.
 */
static bool view_cluster(const GByteArray *image,
                         const Qcow2FixtureHeader *header, uint64_t entry,
                         uint8_t *buffer, const uint8_t **data)
{
    unsigned split = 62 - (header->cluster_bits - 8);
    uint64_t size = header->cluster_size;
    uint64_t offset = entry & OFFSET_MASK;

    *data = NULL;
    if (entry & COMPRESSED) {
        uint64_t sectors = (entry & (COMPRESSED - 1)) >> split;

        offset = entry & ((1ULL << split) - 1);
        inflate_cluster(image, offset, (sectors + 1) * 512 - offset % 512,
                        buffer, size);
        *data = buffer;
        return true;
    }
    if (entry & 1) {
        return true;
    }
    if (offset == 0) {
        return false;
    }
    memset(buffer, 0, size);
    if (offset < image->len) {
        memcpy(buffer, image->data + offset, MIN(size, image->len - offset));
    }
    *data = buffer;
    return true;
}

/* What @entries of an L1 table map. */
static char *digest_disk(const GByteArray *image,
                         const Qcow2FixtureHeader *header, uint64_t l1,
                         uint64_t entries)
{
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree uint8_t *buffer = g_malloc(header->cluster_size);
    const uint8_t *data;
    uint64_t i;
    uint64_t j;

    for (i = 0; i < entries; i++) {
        uint64_t table = qcow2_fixture_peek(image, l1 + i * 8, 8) & OFFSET_MASK;

        for (j = 0; table && j < header->l2_entries; j++) {
            uint64_t entry = qcow2_fixture_peek(image, table + j * 8, 8);

            if (view_cluster(image, header, entry, buffer, &data)) {
                digest_cluster(digest, i * header->l2_entries + j, data,
                               header->cluster_size);
            }
        }
    }
    return g_strdup(g_checksum_get_string(digest));
}

/* Unallocated clusters are no VM state, which is something to be seen. */
static char *digest_vmstate(const GByteArray *image,
                            const Qcow2FixtureHeader *header,
                            const Qcow2FixtureEntry *snapshot)
{
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree uint8_t *buffer = g_malloc(header->cluster_size);
    uint64_t size = header->cluster_size;
    uint64_t position;

    for (position = 0; position < snapshot->vm_state_size; position += size) {
        uint64_t index = snapshot->vm_index + position / header->l1_span;
        uint64_t bytes = MIN(size, snapshot->vm_state_size - position);
        uint64_t table = 0;
        uint64_t entry = 0;
        const uint8_t *data;

        if (index < snapshot->l1_size) {
            table =
                qcow2_fixture_peek(image, snapshot->l1_offset + index * 8, 8) &
                OFFSET_MASK;
        }
        if (table) {
            entry = qcow2_fixture_peek(
                image, table + position / size % header->l2_entries * 8, 8);
        }
        if (!view_cluster(image, header, entry, buffer, &data)) {
            return g_strdup_printf("hole at %" PRIu64, position);
        }
        if (!data) {
            memset(buffer, 0, size);
        }
        g_checksum_update(digest, buffer, bytes);
    }
    return g_strdup(g_checksum_get_string(digest));
}

/* Without the place of the L1, which the user does not see. */
static void describe_snapshot(GString *text, const GByteArray *image,
                              const Qcow2FixtureHeader *header,
                              const Qcow2FixtureEntry *entry)
{
    uint64_t disk_entries = MIN(entry->vm_index, entry->l1_size);
    g_autofree char *disk =
        digest_disk(image, header, entry->l1_offset, disk_entries);
    g_autofree char *vmstate = digest_vmstate(image, header, entry);
    uint64_t at = entry->at;
    unsigned i;

    g_string_append_printf(
        text,
        "%s '%s' %" PRIu64 " bytes %s, disk %" PRIu64 " bytes %s, "
        "date %" PRIu64 ".%" PRIu64 " clock %" PRIu64 " extra",
        entry->id, entry->name, entry->vm_state_size, vmstate, entry->disk_size,
        disk, qcow2_fixture_peek(image, at + 16, 4),
        qcow2_fixture_peek(image, at + 20, 4),
        qcow2_fixture_peek(image, at + 24, 8));
    for (i = 16; i < entry->extra_bytes; i++) {
        g_string_append_printf(
            text, " %02x", (unsigned)qcow2_fixture_peek(image, at + 40 + i, 1));
    }
    g_string_append_c(text, '\n');
}

char *qcow2_fixture_describe(const GByteArray *image)
{
    GString *text = g_string_new(NULL);
    Qcow2FixtureHeader header;
    g_autofree char *disk = NULL;
    uint64_t disk_entries;
    unsigned i;

    qcow2_fixture_header(image, &header);
    disk_entries = header.disk_size / header.l1_span +
                   !!(header.disk_size % header.l1_span);
    disk = digest_disk(image, &header, header.l1_offset, disk_entries);
    g_string_append_printf(text, "disk %" PRIu64 " bytes %s\n",
                           header.disk_size, disk);
    for (i = 0; i < header.snapshot_count; i++) {
        g_auto(Qcow2FixtureEntry) entry = { 0 };

        qcow2_fixture_entry(image, i, &entry);
        describe_snapshot(text, image, &header, &entry);
    }
    return g_string_free(text, FALSE);
}

char *qcow2_fixture_expected(const Qcow2FixtureSave *save, unsigned id,
                             uint64_t disk_size, const char *disk_digest)
{
    g_autofree uint8_t *stream = g_malloc(save->bytes);
    g_autofree char *vmstate = NULL;

    qcow2_fixture_fill(save->seed, 0, stream, save->bytes);
    vmstate = g_compute_checksum_for_data(G_CHECKSUM_SHA1, stream, save->bytes);
    return g_strdup_printf(
        "%u '%s' %" PRIu64 " bytes %s, disk %" PRIu64 " bytes %s, "
        "date %" PRIu64 ".%u clock %" PRIu64 " extra ff ff ff ff ff ff ff ff\n",
        id, save->name, save->bytes, vmstate, disk_size / 512 * 512,
        disk_digest, 1000 + save->seed, 5u, 7 * save->seed);
}
