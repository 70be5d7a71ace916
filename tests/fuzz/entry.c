/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One fuzz target, FUZZ_TARGET, as libFuzzer and AFL++ call it.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most,
                               unsigned seed);

/* AFL++ has none, and mutates itself. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t most)
    __attribute__((weak));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes <= FUZZ_MAX_BYTES) {
        FUZZ_TARGET.run(data, bytes);
    }
    return 0;
}

/* Every other time what the target knows of its format, if anything. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most,
                               unsigned seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

    if (!FUZZ_TARGET.mutate || g_rand_boolean(rand)) {
        return LLVMFuzzerMutate(data, bytes, most);
    }
    return FUZZ_TARGET.mutate(data, bytes, most, rand);
}
