/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See power-cut.h.
 */
#include <string.h>

#include "power-cut.h"

#define SECTOR 512

static void write_sector(GByteArray *image, uint64_t offset,
                         const uint8_t *data, size_t bytes)
{
    size_t before = image->len;

    if (offset + bytes > before) {
        g_byte_array_set_size(image, offset + bytes);
        memset(image->data + before, 0, offset + bytes - before);
    }
    memcpy(image->data + offset, data, bytes);
}

/* Apply the sectors of one write that the disk happened to do. */
static void apply_some_sectors(GByteArray *image,
                               const MemoryFileRecord *record, GRand *rand)
{
    const uint8_t *data = g_bytes_get_data(record->data, NULL);
    bool torn = g_rand_boolean(rand);
    bool whole = g_rand_boolean(rand);
    uint64_t at = record->offset;
    uint64_t end = record->offset + record->bytes;

    while (at < end) {
        uint64_t next = MIN(end, (at / SECTOR + 1) * SECTOR);

        if (torn ? g_rand_boolean(rand) : whole) {
            write_sector(image, at, data + (at - record->offset), next - at);
        }
        at = next;
    }
}

static void discard_bytes(GByteArray *image, const MemoryFileRecord *record)
{
    uint64_t at = record->offset;

    if (at < image->len) {
        memset(image->data + at, 0,
               MIN((uint64_t)record->bytes, image->len - at));
    }
}

GByteArray *power_cut_at_random(const GByteArray *before,
                                const MemoryFileRecord *records, size_t start,
                                size_t end, GRand *rand)
{
    GByteArray *image =
        memory_file_replay(before->data, before->len, records, start);
    size_t i;

    for (i = start; i < end; i++) {
        const MemoryFileRecord *record = &records[i];

        if (record->op == MEMORY_FILE_WRITE) {
            apply_some_sectors(image, record, rand);
        } else if (record->op == MEMORY_FILE_TRUNCATE &&
                   (uint64_t)record->offset < image->len &&
                   g_rand_boolean(rand)) {
            g_byte_array_set_size(image, record->offset);
        } else if (record->op == MEMORY_FILE_DISCARD && g_rand_boolean(rand)) {
            discard_bytes(image, record);
        }
    }
    return image;
}

unsigned power_cut_rounds(unsigned few)
{
    return g_getenv("ROUNDS") ? 10 * few : few;
}
