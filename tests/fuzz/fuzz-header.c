/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Header, extensions and backing name. The input is the first cluster of an
 * image, or as much of it as there is.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "fuzz.h"
#include "../../qcow2/internal.h"

/* What qcow2/header.h promises to its callers. */
static void check_promises(const Qcow2Header *header, size_t bytes,
                           uint64_t file_size)
{
    uint64_t cluster_size = qcow2_cluster_size(header);
    uint64_t limit = file_size == QCOW2_ANY_FILE_SIZE ? INT64_MAX : file_size;

    fuzz_assert(header->version == 2 || header->version == 3, "version");
    fuzz_assert(header->cluster_bits >= 9 && header->cluster_bits <= 21,
                "cluster bits");
    fuzz_assert(header->refcount_order <= 6, "refcount order");
    fuzz_assert(header->header_length <= cluster_size, "header length");
    fuzz_assert(header->l1_size <= QCOW2_MAX_L1_ENTRIES, "L1 size");
    fuzz_assert(header->snapshot_count <= QCOW2_MAX_SNAPSHOTS, "snapshots");
    fuzz_assert(
        range_within(header->l1_table_offset, 8ULL * header->l1_size, limit) ||
            header->l1_size == 0,
        "L1 table");
    fuzz_assert(range_within(header->refcount_table_offset,
                             header->refcount_table_clusters * cluster_size,
                             limit) ||
                    header->refcount_table_clusters == 0,
                "refcount table");
    fuzz_assert(!header->backing_file || strlen(header->backing_file) <= bytes,
                "backing name");
}

static void decode(const uint8_t *cluster, size_t bytes, uint64_t file_size)
{
    g_autoptr(GError) error = NULL;
    Qcow2Header header;
    bool done = qcow2_header_decode(cluster, bytes, file_size, &header, &error);

    fuzz_assert_error(done, error);
    if (done) {
        check_promises(&header, bytes, file_size);
        qcow2_header_clear(&header);
    }
}

/* In a copy of the right length, so that a sanitizer sees what goes beyond. */
static void run(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(MAX(bytes, 1));

    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    decode(copy, bytes, bytes);
    decode(copy, bytes, 1ULL << 40);
    decode(copy, bytes, QCOW2_ANY_FILE_SIZE);
    free(copy);
}

static const struct {
    unsigned at;
    unsigned bytes;
} fields[] = {
    { 4, 4 },  { 8, 8 },  { 16, 4 }, { 20, 4 }, { 24, 8 },  { 32, 4 },
    { 36, 4 }, { 40, 8 }, { 48, 8 }, { 56, 4 }, { 60, 4 },  { 64, 8 },
    { 72, 8 }, { 80, 8 }, { 88, 8 }, { 96, 4 }, { 100, 4 }, { 104, 1 },
};

static const uint32_t extensions[] = {
    0, 0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441, 0x12345678,
};

static uint64_t interesting(GRand *rand)
{
    uint64_t power = 1ULL << g_rand_int_range(rand, 0, 64);

    return power - 1 + g_rand_int_range(rand, 0, 3);
}

static void put(uint8_t *to, unsigned bytes, uint64_t value)
{
    while (bytes-- > 0) {
        to[bytes] = value;
        value >>= 8;
    }
}

/* A field of another value, or an extension where one may stand. */
static size_t mutate(uint8_t *data, size_t bytes, size_t most, GRand *rand)
{
    unsigned field = g_rand_int_range(rand, 0, G_N_ELEMENTS(fields) + 6);
    size_t at = 104 + 8 * g_rand_int_range(rand, 0, 32);

    if (field < G_N_ELEMENTS(fields)) {
        if (fields[field].at + fields[field].bytes <= bytes) {
            put(data + fields[field].at, fields[field].bytes,
                interesting(rand));
        }
        return bytes;
    }
    if (at + 8 <= bytes) {
        put(data + at, 4,
            extensions[g_rand_int_range(rand, 0, G_N_ELEMENTS(extensions))]);
        put(data + at + 4, 4,
            g_rand_boolean(rand) ? (uint64_t)g_rand_int_range(rand, 0, 128)
                                 : interesting(rand));
    }
    return bytes;
}

const FuzzTarget fuzz_header = { "header", run, mutate };
