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
 * What the parts of a guest cluster are goes into a digest with their numbers,
 * data with its bytes; unallocated ones are left out, because they are not
 * zeros where there is a backing file.
 */
static void digest_cluster(GChecksum *digest, uint64_t guest_cluster,
                           Qcow2FixtureParts what, const uint8_t *data,
                           size_t bytes, unsigned parts)
{
    unsigned i;

    for (i = 0; i < parts && (what.data | what.zeros); i++) {
        bool is_data = what.data >> i & 1;
        uint64_t label[2] = { GUINT64_TO_BE(guest_cluster * parts + i),
                              is_data };

        if (is_data || (what.zeros >> i & 1)) {
            g_checksum_update(digest, (const uint8_t *)label, sizeof(label));
        }
        if (is_data) {
            g_checksum_update(digest, data + i * (bytes / parts),
                              bytes / parts);
        }
    }
}

char *qcow2_fixture_disk_digest(const Qcow2FixtureOptions *options)
{
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA1);
    uint64_t size = 1ULL << options->cluster_bits;
    uint64_t entries = size / (options->extended_l2 ? 16 : 8);
    unsigned parts = options->extended_l2 ? 32 : 1;
    uint64_t clusters = (options->disk_size + size - 1) / size;
    g_autofree uint8_t *buffer = g_malloc(size);
    unsigned i;

    for (i = 0; i < QCOW2_FIXTURE_L2_TABLES && i * entries < clusters; i++) {
        const char *kind = options->l2[i];
        uint64_t guest_cluster = i * entries;

        for (; kind && *kind; kind++, guest_cluster++) {
            qcow2_fixture_fill_cluster(guest_cluster, *kind, buffer, size);
            digest_cluster(digest, guest_cluster,
                           qcow2_fixture_parts(*kind, options->extended_l2),
                           buffer, size, parts);
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
 * The cluster that the L2 entry at @at stands for, 0 where there is no table:
 * its data in @buffer, which has room for a cluster, and what its parts are.
 */
static Qcow2FixtureParts view_cluster(const GByteArray *image,
                                      const Qcow2FixtureHeader *header,
                                      uint64_t at, uint8_t *buffer)
{
    unsigned split = 62 - (header->cluster_bits - 8);
    uint64_t entry = at ? qcow2_fixture_peek(image, at, 8) : 0;
    uint64_t size = header->cluster_size;
    uint64_t offset = entry & OFFSET_MASK;

    if (entry & COMPRESSED) {
        uint64_t sectors = (entry & (COMPRESSED - 1)) >> split;

        offset = entry & ((1ULL << split) - 1);
        inflate_cluster(image, offset, (sectors + 1) * 512 - offset % 512,
                        buffer, size);
        return qcow2_fixture_parts('c', header->extended_l2);
    }
    if (offset) {
        memset(buffer, 0, size);
    }
    if (offset && offset < image->len) {
        memcpy(buffer, image->data + offset, MIN(size, image->len - offset));
    }
    if (at && header->extended_l2) {
        return (Qcow2FixtureParts){
            .data = qcow2_fixture_peek(image, at + 12, 4),
            .zeros = qcow2_fixture_peek(image, at + 8, 4),
        };
    }
    return qcow2_fixture_parts(entry & 1 ? 'z' : offset ? 'd' : '.', false);
}

/* What @entries of an L1 table map. */
static char *digest_disk(const GByteArray *image,
                         const Qcow2FixtureHeader *header, uint64_t l1,
                         uint64_t entries)
{
    g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree uint8_t *buffer = g_malloc(header->cluster_size);
    uint64_t i;
    uint64_t j;

    for (i = 0; i < entries; i++) {
        uint64_t table = qcow2_fixture_peek(image, l1 + i * 8, 8) & OFFSET_MASK;

        for (j = 0; table && j < header->l2_entries; j++) {
            Qcow2FixtureParts parts = view_cluster(
                image, header, table + j * header->l2_entry_bytes, buffer);

            digest_cluster(digest, i * header->l2_entries + j, parts, buffer,
                           header->cluster_size, header->parts);
        }
    }
    return g_strdup(g_checksum_get_string(digest));
}

/*
 * The first @bytes of a cluster of VM state, zeros and all. Returns false where
 * some of it is unallocated, which no VM state is.
 */
static bool zero_parts(const Qcow2FixtureHeader *header, Qcow2FixtureParts what,
                       uint8_t *buffer, uint64_t bytes)
{
    uint64_t part_bytes = header->cluster_size / header->parts;
    unsigned i;

    for (i = 0; i * part_bytes < bytes; i++) {
        if (what.zeros >> i & 1) {
            memset(buffer + i * part_bytes, 0, part_bytes);
        } else if (!(what.data >> i & 1)) {
            return false;
        }
    }
    return true;
}

/* Holes are something to be seen. */
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
        Qcow2FixtureParts parts;
        uint64_t table = 0;
        uint64_t at = 0;

        if (index < snapshot->l1_size) {
            table =
                qcow2_fixture_peek(image, snapshot->l1_offset + index * 8, 8) &
                OFFSET_MASK;
        }
        if (table) {
            at = table +
                 position / size % header->l2_entries * header->l2_entry_bytes;
        }
        parts = view_cluster(image, header, at, buffer);
        if (!zero_parts(header, parts, buffer, bytes)) {
            return g_strdup_printf("hole at %" PRIu64, position);
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

char *qcow2_fixture_describe_sound(BlockFile *file)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);

    qcow2_fixture_assert_sound(image);
    return qcow2_fixture_describe(image);
}

char *qcow2_fixture_without(const char *text, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *quoted = g_strdup_printf(" '%s' ", name);
    GString *rest = g_string_new(NULL);
    unsigned i;

    for (i = 0; lines[i] && *lines[i]; i++) {
        if (!strstr(lines[i], quoted)) {
            g_string_append_printf(rest, "%s\n", lines[i]);
        }
    }
    return g_string_free(rest, FALSE);
}
