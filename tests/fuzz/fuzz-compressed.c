/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Compressed clusters. The input is a byte that chooses the kind of compression
 * and the size of the cluster, and what is stored. More bytes behind it, as the
 * file has them, change nothing in a cluster that came out.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "../../qcow2/decompress.h"
#include "../../qcow2/internal.h"

#define LEAST_CLUSTER_BITS 9
#define MOST_CLUSTER_BITS  21

/* In memory of their very lengths, so that a byte too many is noticed. */
static int decompress(unsigned type, const uint8_t *packed, size_t packed_bytes,
                      uint8_t *cluster, size_t bytes)
{
    g_autofree uint8_t *copy = g_memdup2(packed, packed_bytes);

    memset(cluster, 0xa5, bytes);
    return qcow2_decompress(type, copy, packed_bytes, cluster, bytes);
}

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { data, bytes };
    unsigned choice = fuzz_take(&input, 1);
    unsigned type = choice & 1;
    unsigned span = MOST_CLUSTER_BITS - LEAST_CLUSTER_BITS + 1;
    size_t size = (size_t)1 << (LEAST_CLUSTER_BITS + (choice >> 1) % span);
    g_autofree uint8_t *cluster = g_malloc(size);
    g_autofree uint8_t *again = g_malloc(size);
    g_autofree uint8_t *longer = NULL;
    int ret = decompress(type, input.data, input.bytes, cluster, size);

    fuzz_say("cluster of %zu bytes, kind %u: %d", size, type, ret);
    fuzz_assert(ret == 0 || ret == -EINVAL || ret == -ENOMEM, "%d", ret);
    if (ret == 0) {
        longer = g_malloc(input.bytes + 512);
        memcpy(longer, input.data, input.bytes);
        memset(longer + input.bytes, choice, 512);
        ret = decompress(type, longer, input.bytes + 512, again, size);
        fuzz_assert(ret == 0 && !memcmp(cluster, again, size),
                    "%d with more bytes behind it", ret);
    }
}

const FuzzTarget fuzz_compressed = { "compressed", run };
