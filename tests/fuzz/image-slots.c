/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where the numbers of a sound image are.
 */
#include "image-plan.h"
#include "../unit/qcow2-fixture.h"

#define OFFSET_MASK 0x00fffffffffffe00ULL

/* Tables are mostly empty: some zeros behind what is used are enough. */
#define MAX_ZEROS 4

static void add_slot(FuzzBase *base, FuzzSlotKind kind, uint64_t at,
                     unsigned bytes)
{
    FuzzSlot slot = { at, bytes };

    if (at + bytes <= base->image->len) {
        g_array_append_val(base->slots[kind], slot);
    }
}

static void add_table(FuzzBase *base, FuzzSlotKind kind, uint64_t at,
                      uint64_t entries)
{
    unsigned zeros = 0;

    for (; entries > 0; entries--, at += 8) {
        bool zero = qcow2_fixture_peek(base->image, at, 8) == 0;

        zeros += zero;
        if (!zero || zeros <= MAX_ZEROS) {
            add_slot(base, kind, at, 8);
        }
    }
}

static void add_l1(FuzzBase *base, const Qcow2FixtureHeader *header,
                   uint64_t offset, uint64_t entries)
{
    uint64_t i;

    add_table(base, FUZZ_SLOT_L1, offset, entries);
    for (i = 0; i < entries; i++) {
        uint64_t l2 = qcow2_fixture_peek(base->image, offset + i * 8, 8) &
                      OFFSET_MASK;

        if (l2) {
            add_table(base, FUZZ_SLOT_L2, l2, header->l2_entries);
        }
    }
}

static void add_refcounts(FuzzBase *base, const Qcow2FixtureHeader *header)
{
    uint64_t i;

    add_table(base, FUZZ_SLOT_REFCOUNT_TABLE, header->refcount_table_offset,
              header->refcount_table_entries);
    for (i = 0; i < header->refcount_table_entries; i++) {
        uint64_t block = qcow2_fixture_peek(
            base->image, header->refcount_table_offset + i * 8, 8);
        uint64_t at;

        for (at = 0; block != 0 && at < MIN(header->cluster_size, 512);
             at += MAX(header->refcount_bits / 8, 1)) {
            add_slot(base, FUZZ_SLOT_REFCOUNTS, block + at,
                     MAX(header->refcount_bits / 8, 1));
        }
    }
}

static void add_snapshot(FuzzBase *base, const Qcow2FixtureHeader *header,
                         unsigned index)
{
    static const unsigned char fields[] = {
        8, 4, 2, 2, 4, 4, 8, 4, 4, 8, 8, 8
    };
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    uint64_t at;
    unsigned i;

    qcow2_fixture_entry(base->image, index, &entry);
    at = entry.at;
    for (i = 0; i < G_N_ELEMENTS(fields); i++) {
        add_slot(base, FUZZ_SLOT_SNAPSHOT, at, fields[i]);
        at += fields[i];
    }
    add_l1(base, header, entry.l1_offset, entry.l1_size);
}

static void add_header(FuzzBase *base)
{
    static const unsigned char fields[] = { 4, 4, 8, 4, 4, 8, 4, 4, 8, 8,
                                            4, 4, 8, 8, 8, 8, 4, 4, 1, 1 };
    uint64_t at = 0;
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(fields); i++) {
        add_slot(base, FUZZ_SLOT_HEADER, at, fields[i]);
        at += fields[i];
    }
    for (at = 72; at < 200; at += 4) {
        add_slot(base, FUZZ_SLOT_EXTENSION, at, 4);
    }
}

static void add_bitmaps(FuzzBase *base)
{
    static const unsigned char fields[] = { 8, 4, 4, 1, 1, 2, 4 };
    uint64_t extension = qcow2_fixture_peek(base->image, 100, 4);
    uint64_t at;
    unsigned i;

    if (qcow2_fixture_peek(base->image, extension, 4) != 0x23852875) {
        return;
    }
    at = qcow2_fixture_peek(base->image, extension + 24, 8);
    add_table(base, FUZZ_SLOT_BITMAP, qcow2_fixture_peek(base->image, at, 8),
              3);
    for (i = 0; i < G_N_ELEMENTS(fields); i++) {
        add_slot(base, FUZZ_SLOT_BITMAP, at, fields[i]);
        at += fields[i];
    }
}

void fuzz_base_find_slots(FuzzBase *base)
{
    Qcow2FixtureHeader header;
    unsigned i;

    for (i = 0; i < FUZZ_SLOT_KINDS; i++) {
        base->slots[i] = g_array_new(FALSE, FALSE, sizeof(FuzzSlot));
    }
    qcow2_fixture_header(base->image, &header);
    add_header(base);
    add_l1(base, &header, header.l1_offset, header.l1_size);
    add_refcounts(base, &header);
    for (i = 0; i < header.snapshot_count; i++) {
        add_snapshot(base, &header, i);
    }
    add_bitmaps(base);
}
