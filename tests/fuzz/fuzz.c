/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What all fuzz targets need.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

void fuzz_broken(const char *condition, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "broken promise: %s: ", condition);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

void fuzz_say(const char *format, ...)
{
    va_list args;

    if (getenv("V")) {
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
    }
}

void fuzz_assert_error(bool done, const GError *error)
{
    if (done) {
        fuzz_assert(!error, "done, but '%s'", error->message);
    } else {
        fuzz_assert(error && *error->message, "failed without words");
        fuzz_say("refused: %s", error->message);
    }
}

uint64_t fuzz_take(FuzzInput *input, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0) {
        value <<= 8;
        if (input->bytes > 0) {
            value |= *input->data++;
            input->bytes--;
        }
    }
    return value;
}
