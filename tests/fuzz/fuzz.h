/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Hostile input: what a fuzz target is. A target takes any bytes and ends the
 * process when the program under test breaks a promise; that it crashes or
 * leaks is seen by who runs it. entry.c makes a fuzzer of one target, replay.c
 * a program that runs any of them on files.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

/* Longer inputs are not looked at. */
#define FUZZ_MAX_BYTES (1024 * 1024)

typedef struct FuzzTarget {
    const char *name;
    void (*run)(const uint8_t *data, size_t bytes);

    /*
     * NULL, or: change @data in a way that random bytes seldom hit on. @most is
     * the room there is. Returns the new length.
     */
    size_t (*mutate)(uint8_t *data, size_t bytes, size_t most, GRand *rand);
} FuzzTarget;

extern const FuzzTarget fuzz_header;
extern const FuzzTarget fuzz_snapshot_table;
extern const FuzzTarget fuzz_image;
extern const FuzzTarget fuzz_check;
extern const FuzzTarget fuzz_compressed;
extern const FuzzTarget fuzz_stream;
extern const FuzzTarget fuzz_trailer;
extern const FuzzTarget fuzz_devices;
extern const FuzzTarget fuzz_command_line;

/* End the process with these words unless @condition holds. */
#define fuzz_assert(condition, ...)               \
    do {                                          \
        if (!(condition)) {                       \
            fuzz_broken(#condition, __VA_ARGS__); \
        }                                         \
    } while (0)

void fuzz_broken(const char *condition, const char *format, ...)
    G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;

/* Words about what is done, for who looks at one input; shown with V=1. */
void fuzz_say(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* A call that failed has an error with words, one that did not has none. */
void fuzz_assert_error(bool done, const GError *error);

/* What is left of an input that is taken apart. Behind its end all is zero. */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t bytes;
} FuzzInput;

/* The next @bytes, at most 8, as a big-endian number. */
uint64_t fuzz_take(FuzzInput *input, unsigned bytes);

#endif /* FUZZ_H */
