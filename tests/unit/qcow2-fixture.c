/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Stored numbers, and where in an image things are.
 */
#include <check.h>

#include "qcow2-fixture.h"
#include "run-suite.h"

#define OFFSET_MASK 0x00fffffffffffe00ULL

uint64_t qcow2_fixture_peek(const GByteArray *image, uint64_t offset,
                            unsigned bytes)
{
    uint64_t value = 0;
    unsigned i;

    for (i = 0; i < bytes; i++) {
        uint64_t at = offset + i;

        value = value << 8 | (at < image->len ? image->data[at] : 0);
    }
    return value;
}

void qcow2_fixture_poke(GByteArray *image, uint64_t offset, unsigned bytes,
                        uint64_t value)
{
    assert_often(offset + bytes <= image->len);
    while (bytes-- > 0) {
        image->data[offset + bytes] = value;
        value >>= 8;
    }
}

GByteArray *qcow2_fixture_copy(const GByteArray *image)
{
    GByteArray *copy = g_byte_array_sized_new(image->len);

    return g_byte_array_append(copy, image->data, image->len);
}

/* splitmix64: every position has its own number, so any piece can be made. */
static uint64_t pattern_word(uint64_t seed, uint64_t index)
{
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15ULL + index;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void qcow2_fixture_fill(uint64_t seed, uint64_t position, void *buffer,
                        size_t bytes)
{
    uint8_t *to = buffer;

    while (bytes > 0) {
        uint64_t word = pattern_word(seed, position / 8);
        size_t piece = MIN(bytes, 8 - position % 8);

        memcpy(to, (uint8_t *)&word + position % 8, piece);
        position += piece;
        to += piece;
        bytes -= piece;
    }
}

void qcow2_fixture_header(const GByteArray *image, Qcow2FixtureHeader *header)
{
    uint32_t version = qcow2_fixture_peek(image, 4, 4);
    uint32_t bits = qcow2_fixture_peek(image, 20, 4);
    uint64_t cluster_size = 1ULL << bits;
    uint32_t order = version == 2 ? 4 : qcow2_fixture_peek(image, 96, 4);
    bool extended = version > 2 && (qcow2_fixture_peek(image, 79, 1) & 16);
    unsigned entry_bytes = extended ? 16 : 8;

    *header = (Qcow2FixtureHeader){
        .version = version,
        .cluster_bits = bits,
        .cluster_size = cluster_size,
        .extended_l2 = extended,
        .l2_entry_bytes = entry_bytes,
        .parts = extended ? 32 : 1,
        .l2_entries = cluster_size / entry_bytes,
        .l1_span = cluster_size / entry_bytes * cluster_size,
        .disk_size = qcow2_fixture_peek(image, 24, 8),
        .l1_size = qcow2_fixture_peek(image, 36, 4),
        .l1_offset = qcow2_fixture_peek(image, 40, 8),
        .refcount_table_offset = qcow2_fixture_peek(image, 48, 8),
        .refcount_table_entries = qcow2_fixture_peek(image, 56, 4) *
                                  (cluster_size / 8),
        .snapshot_count = qcow2_fixture_peek(image, 60, 4),
        .snapshots_offset = qcow2_fixture_peek(image, 64, 8),
        .refcount_bits = 1u << order,
        .refcounts_per_block = cluster_size * 8 >> order,
    };
}

static char *peek_string(const GByteArray *image, uint64_t at, size_t bytes)
{
    char *string = g_malloc0(bytes + 1);
    size_t i;

    for (i = 0; i < bytes; i++) {
        string[i] = qcow2_fixture_peek(image, at + i, 1);
    }
    return string;
}

static void read_entry(const GByteArray *image,
                       const Qcow2FixtureHeader *header, uint64_t at,
                       Qcow2FixtureEntry *entry)
{
    uint64_t extra = qcow2_fixture_peek(image, at + 36, 4);
    uint64_t id = qcow2_fixture_peek(image, at + 12, 2);
    uint64_t name = qcow2_fixture_peek(image, at + 14, 2);
    uint64_t sectors_size = header->disk_size / 512 * 512;
    uint64_t mapped;

    *entry = (Qcow2FixtureEntry){
        .at = at,
        .bytes = 40 + extra + id + name,
        .l1_offset = qcow2_fixture_peek(image, at, 8),
        .l1_size = qcow2_fixture_peek(image, at + 8, 4),
        .extra_bytes = extra,
        .vm_state_size = extra < 8 ? qcow2_fixture_peek(image, at + 32, 4)
                                   : qcow2_fixture_peek(image, at + 40, 8),
        .disk_size = extra < 16 ? sectors_size
                                : qcow2_fixture_peek(image, at + 48, 8),
        .id = peek_string(image, at + 40 + extra, id),
        .name = peek_string(image, at + 40 + extra + id, name),
    };
    mapped = entry->disk_size == sectors_size ? header->disk_size
                                              : entry->disk_size;
    entry->vm_index = mapped / header->l1_span + !!(mapped % header->l1_span);
}

void qcow2_fixture_entry(const GByteArray *image, unsigned index,
                         Qcow2FixtureEntry *entry)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    ck_assert_uint_lt(index, header.snapshot_count);
    read_entry(image, &header, header.snapshots_offset, entry);
    while (index-- > 0) {
        uint64_t next = (entry->at + entry->bytes + 7) / 8 * 8;

        qcow2_fixture_entry_clear(entry);
        read_entry(image, &header, next, entry);
    }
}

void qcow2_fixture_entry_clear(Qcow2FixtureEntry *entry)
{
    g_clear_pointer(&entry->id, g_free);
    g_clear_pointer(&entry->name, g_free);
}

Qcow2FixtureParts qcow2_fixture_parts(char kind, bool extended_l2)
{
    uint32_t all = extended_l2 ? 0xffffffff : 1;

    switch (kind) {
    case 'd':
    case 'c':
        return (Qcow2FixtureParts){ .data = all };
    case 'z':
    case 'Z':
        return (Qcow2FixtureParts){ .zeros = all };
    case 'p':
        ck_assert(extended_l2);
        return (Qcow2FixtureParts){ .data = 0x800f00f1, .zeros = 0x10f0f00e };
    case 'q':
        ck_assert(extended_l2);
        return (Qcow2FixtureParts){ .zeros = 0x80ff00f0 };
    case '.':
        return (Qcow2FixtureParts){ 0 };
    default:
        ck_abort_msg("unknown kind of cluster '%c'", kind);
    }
}

uint64_t qcow2_fixture_l2_entry_at(const GByteArray *image, uint64_t l1_offset,
                                   uint64_t guest_cluster)
{
    Qcow2FixtureHeader header;
    uint64_t table;

    qcow2_fixture_header(image, &header);
    table = qcow2_fixture_peek(
        image, l1_offset + guest_cluster / header.l2_entries * 8, 8);
    ck_assert_uint_ne(table & OFFSET_MASK, 0);
    return (table & OFFSET_MASK) +
           guest_cluster % header.l2_entries * header.l2_entry_bytes;
}

uint64_t qcow2_fixture_vmstate_entry_at(const GByteArray *image,
                                        unsigned snapshot, uint64_t position)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    qcow2_fixture_entry(image, snapshot, &entry);
    return qcow2_fixture_l2_entry_at(image, entry.l1_offset,
                                     entry.vm_index * header.l2_entries +
                                         position / header.cluster_size);
}

/* Where the refcount of @cluster is stored; its block must exist. */
static uint64_t refcount_block_of(const GByteArray *image,
                                  const Qcow2FixtureHeader *header,
                                  uint64_t cluster)
{
    uint64_t index = cluster / header->refcounts_per_block;

    if (index >= header->refcount_table_entries) {
        return 0;
    }
    return qcow2_fixture_peek(image, header->refcount_table_offset + index * 8,
                              8);
}

uint64_t qcow2_fixture_refcount_at(const GByteArray *image,
                                   const Qcow2FixtureHeader *header,
                                   uint64_t cluster)
{
    uint64_t block = refcount_block_of(image, header, cluster);
    uint64_t bit = cluster % header->refcounts_per_block *
                   header->refcount_bits;

    if (block == 0) {
        return 0;
    }
    if (header->refcount_bits >= 8) {
        return qcow2_fixture_peek(image, block + bit / 8,
                                  header->refcount_bits / 8);
    }
    return qcow2_fixture_peek(image, block + bit / 8, 1) >> bit % 8 &
           ((1u << header->refcount_bits) - 1);
}

uint64_t qcow2_fixture_refcount(const GByteArray *image, uint64_t cluster)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    return qcow2_fixture_refcount_at(image, &header, cluster);
}

void qcow2_fixture_set_refcount(GByteArray *image, uint64_t cluster,
                                uint64_t value)
{
    Qcow2FixtureHeader header;
    uint64_t block;
    uint64_t bit;
    uint64_t byte;
    uint64_t mask;

    qcow2_fixture_header(image, &header);
    block = refcount_block_of(image, &header, cluster);
    bit = cluster % header.refcounts_per_block * header.refcount_bits;
    assert_often(block != 0);
    if (header.refcount_bits >= 8) {
        qcow2_fixture_poke(image, block + bit / 8, header.refcount_bits / 8,
                           value);
        return;
    }
    mask = ((1u << header.refcount_bits) - 1) << bit % 8;
    assert_often((value << bit % 8 & ~mask) == 0);
    byte = qcow2_fixture_peek(image, block + bit / 8, 1) & ~mask;
    qcow2_fixture_poke(image, block + bit / 8, 1, byte | value << bit % 8);
}

uint64_t qcow2_fixture_first_fresh(const GByteArray *image)
{
    Qcow2FixtureHeader header;
    uint64_t blocks;
    uint64_t i;

    qcow2_fixture_header(image, &header);
    for (blocks = header.refcount_table_entries; blocks > 0; blocks--) {
        uint64_t end = blocks * header.refcounts_per_block;

        if (refcount_block_of(image, &header, end - 1) == 0) {
            continue;
        }
        for (i = 0; i < header.refcounts_per_block; i++) {
            if (qcow2_fixture_refcount(image, end - 1 - i) != 0) {
                return end - i;
            }
        }
    }
    return 0;
}
