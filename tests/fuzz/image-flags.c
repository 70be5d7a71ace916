/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See image-flags.h.
 */
#include <stdio.h>
#include <string.h>

#include "image-flags.h"
#include "../unit/qcow2-fixture.h"

#define COPIED      (1ULL << 63)
#define COMPRESSED  (1ULL << 62)
#define OFFSET_MASK 0x00fffffffffffe00ULL

/* An incompatible feature: no refcount says anything about data. */
#define DATA_FILE 4

typedef struct MissingFlag {
    uint64_t entry; /* of an L1 or L2 table */
    uint64_t times;
} MissingFlag;

struct ImageFlags {
    GHashTable *unreadable; /* clusters whose refcount cannot be read */
    GHashTable *shared;     /* that, or it is 1, and more references */
    GHashTable *moved;      /* clusters that were the header's tables */
    GArray *missing;        /* of MissingFlag */
};

/* What is looked at when the check is over. */
typedef struct Look {
    const ImageFlags *flags;
    const GByteArray *image;
    Qcow2FixtureHeader header;
    GHashTable *tables; /* offset of an L2 table -> hidden flags in it */
} Look;

static GHashTable *new_set(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

ImageFlags *image_flags_new(void)
{
    ImageFlags *flags = g_new(ImageFlags, 1);

    flags->unreadable = new_set();
    flags->shared = new_set();
    flags->moved = new_set();
    flags->missing = g_array_new(FALSE, FALSE, sizeof(MissingFlag));
    return flags;
}

void image_flags_free(ImageFlags *flags)
{
    g_hash_table_unref(flags->unreadable);
    g_hash_table_unref(flags->shared);
    g_hash_table_unref(flags->moved);
    g_array_unref(flags->missing);
    g_free(flags);
}

static void note_missing(ImageFlags *flags, const char *finding, uint64_t times)
{
    const char *entry = strstr(finding, "_entry=");
    MissingFlag missing = { .times = times };

    if (entry && g_str_has_suffix(finding, " refcount=1")) {
        missing.entry = g_ascii_strtoull(strchr(entry, '=') + 1, NULL, 16);
        g_array_append_val(flags->missing, missing);
    }
}

static void add(GHashTable *set, uint64_t cluster)
{
    g_hash_table_add(set, g_memdup2(&cluster, sizeof(cluster)));
}

void image_flags_note(ImageFlags *flags, const char *finding, uint64_t times)
{
    uint64_t cluster;
    uint64_t refcount;
    uint64_t references;

    if (g_str_has_prefix(finding, "ERROR OFLAG_COPIED")) {
        note_missing(flags, finding, times);
    } else if (g_str_has_prefix(finding, "ERROR") &&
               !g_str_has_prefix(finding, "ERROR cluster ")) {
        return; /* there may be a million of them */
    } else if (sscanf(finding, "Can't get refcount for cluster %" SCNu64,
                      &cluster) == 1) {
        add(flags->unreadable, cluster);
    } else if (sscanf(finding,
                      "ERROR cluster %" SCNu64 " refcount=%" SCNu64
                      " reference=%" SCNu64,
                      &cluster, &refcount, &references) == 3 &&
               (refcount == 1 ||
                (references > 1 &&
                 g_hash_table_contains(flags->unreadable, &cluster)))) {
        add(flags->shared, cluster);
    }
}

static void add_range(GHashTable *set, const GByteArray *image,
                      const Qcow2FixtureHeader *header, uint64_t offset,
                      uint64_t bytes)
{
    uint64_t end = offset + MIN(bytes, image->len - MIN(offset, image->len));

    for (; offset < end; offset += header->cluster_size) {
        add(set, offset / header->cluster_size);
    }
}

static uint64_t snapshot_table_bytes(const GByteArray *image,
                                     const Qcow2FixtureHeader *header)
{
    uint64_t at = header->snapshots_offset;

    for (uint32_t i = 0; i < header->snapshot_count && at < image->len; i++) {
        at += 40 + qcow2_fixture_peek(image, at + 12, 2) +
              qcow2_fixture_peek(image, at + 14, 2) +
              qcow2_fixture_peek(image, at + 36, 4);
        at = (at + 7) & ~7ULL;
    }
    return at - header->snapshots_offset;
}

/* The clusters of the tables that the header of @image names. */
static void add_tables(GHashTable *set, const GByteArray *image)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    add_range(set, image, &header, header.l1_offset, header.l1_size * 8ULL);
    add_range(set, image, &header, header.snapshots_offset,
              snapshot_table_bytes(image, &header));
    add_range(set, image, &header, header.refcount_table_offset,
              header.refcount_table_entries * 8);
    for (uint64_t i = 0; i < header.refcount_table_entries; i++) {
        uint64_t at = header.refcount_table_offset + i * 8;

        if (at >= image->len) {
            break;
        }
        add_range(set, image, &header,
                  qcow2_fixture_peek(image, at, 8) & OFFSET_MASK,
                  header.cluster_size);
    }
}

void image_flags_note_moved(ImageFlags *flags, const GByteArray *before)
{
    add_tables(flags->moved, before);
}

GByteArray *image_flags_without_refcounts(const ImageFlags *flags,
                                          const GByteArray *image)
{
    Qcow2FixtureHeader header;
    GByteArray *copy;
    uint64_t table;

    if (g_hash_table_size(flags->unreadable) == 0) {
        return NULL;
    }
    copy = qcow2_fixture_copy(image);
    qcow2_fixture_header(image, &header);
    table = (image->len + header.cluster_size - 1) & -header.cluster_size;
    g_byte_array_set_size(copy, table + header.cluster_size);
    memset(copy->data + image->len, 0, copy->len - image->len);
    qcow2_fixture_poke(copy, 48, 8, table);
    qcow2_fixture_poke(copy, 56, 4, 1);
    return copy;
}

bool image_flags_any(const ImageFlags *flags)
{
    return g_hash_table_size(flags->shared) > 0 ||
           g_hash_table_size(flags->unreadable) > 0 ||
           g_hash_table_size(flags->moved) > 0;
}

static bool is_in(const Look *look, GHashTable *set, uint64_t entry)
{
    uint64_t cluster = (entry & OFFSET_MASK) >> look->header.cluster_bits;

    return g_hash_table_contains(set, &cluster);
}

static bool is_shared(const Look *look, uint64_t entry)
{
    return is_in(look, look->flags->shared, entry);
}

uint64_t image_flags_excused(const ImageFlags *flags, const GByteArray *image)
{
    Look look = { .flags = flags, .image = image };
    uint64_t count = 0;

    qcow2_fixture_header(image, &look.header);
    for (guint i = 0; i < flags->missing->len; i++) {
        const MissingFlag *missing =
            &g_array_index(flags->missing, MissingFlag, i);

        if (is_shared(&look, missing->entry) ||
            is_in(&look, flags->moved, missing->entry)) {
            count += missing->times;
        }
    }
    return count;
}

static uint64_t count_in_l2_table(const Look *look, uint64_t offset)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < look->header.l2_entries; i++) {
        uint64_t entry = qcow2_fixture_peek(
            look->image, offset + i * look->header.l2_entry_bytes, 8);

        count += (entry & COPIED) && !(entry & COMPRESSED) &&
                 is_shared(look, entry);
    }
    return count;
}

/* A table that is named a thousand times is read once. */
static uint64_t count_below(const Look *look, uint64_t offset)
{
    uint64_t *count = g_hash_table_lookup(look->tables, &offset);

    if (!count) {
        count = g_new(uint64_t, 1);
        *count = count_in_l2_table(look, offset);
        g_hash_table_insert(look->tables, g_memdup2(&offset, sizeof(offset)),
                            count);
    }
    return *count;
}

uint64_t image_flags_hidden(const ImageFlags *flags, const GByteArray *image)
{
    g_autoptr(GHashTable) tables =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    Look look = { .flags = flags, .image = image, .tables = tables };
    bool data_file;
    uint64_t end;
    uint64_t count = 0;

    qcow2_fixture_header(image, &look.header);
    data_file = look.header.version > 2 &&
                (qcow2_fixture_peek(image, 79, 1) & DATA_FILE);
    end = MIN(look.header.l1_offset + look.header.l1_size * 8ULL, image->len);
    for (uint64_t at = look.header.l1_offset; at < end; at += 8) {
        uint64_t entry = qcow2_fixture_peek(image, at, 8);
        uint64_t offset = entry & OFFSET_MASK;

        count += (entry & COPIED) && is_shared(&look, entry);
        count += offset && !data_file ? count_below(&look, offset) : 0;
    }
    return count;
}

bool image_flags_table_shared(const ImageFlags *flags, const GByteArray *image)
{
    g_autoptr(GHashTable) tables = new_set();
    GHashTableIter iter;
    gpointer cluster;

    add_tables(tables, image);
    g_hash_table_iter_init(&iter, flags->shared);
    while (g_hash_table_iter_next(&iter, &cluster, NULL)) {
        if (g_hash_table_contains(tables, cluster)) {
            return true;
        }
    }
    return false;
}
