/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One fuzz target, FUZZ_TARGET, as libFuzzer and AFL++ call it.
 */
#include <signal.h>
#include <sys/time.h>

#include "fuzz.h"

/* What one input may cost. */
#define MAX_SECONDS 10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most,
                               unsigned seed);

/* AFL++ has none, and mutates itself. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t most)
    __attribute__((weak));

static void take_too_long(int number)
{
    fuzz_broken("the input is dealt with in time", "%d s are over",
                MAX_SECONDS);
}

/*
 * Seconds of this process, and not those that others take: a fuzzer runs beside
 * other work, where a time-out by the clock finds what is not there.
 */
static void limit_time(time_t seconds)
{
    struct itimerval timer = { .it_value = { .tv_sec = seconds } };

    signal(SIGPROF, take_too_long);
    setitimer(ITIMER_PROF, &timer, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes <= FUZZ_MAX_BYTES) {
        limit_time(MAX_SECONDS);
        FUZZ_TARGET.run(data, bytes);
        limit_time(0);
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
