/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Whole images: all VM states are loaded, then the image is changed. A change
 * is refused, or the image has no more corruptions afterwards than it had,
 * unless it refers to what is nobody's, which may be taken. The input is two
 * bytes that choose the change, and an image (image-plan.h).
 */
#include <inttypes.h>
#include <string.h>

#include "image-plan.h"
#include "image-run.h"
#include "memory-file.h"

/* One operation of the change fails. */
static void arm_failure(BlockFile *file, unsigned choice)
{
    static const MemoryFileOp ops[] = { MEMORY_FILE_READ, MEMORY_FILE_WRITE,
                                        MEMORY_FILE_FLUSH,
                                        MEMORY_FILE_TRUNCATE };

    if (choice >= 128) {
        memory_file_fail(file, ops[choice % 4], choice / 4 % 32 + 1, -5);
    }
}

/* Corruptions that were there before, though a check could not tell them. */
static uint64_t known_before(const ImageVerdict *before,
                             const ImageVerdict *after)
{
    if (before->refers_to_tables) {
        return after->in_vain + after->lost;
    }
    return MIN(after->in_vain, before->hidden);
}

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { data, bytes };
    unsigned what = fuzz_take(&input, 1);
    unsigned operand = fuzz_take(&input, 1);
    g_autoptr(GByteArray) image = fuzz_image_make(&input);
    g_autoptr(BlockFile) file = image_run_file(image);
    ImageVerdict before = image_run_judge(file);
    ImageVerdict after;
    uint64_t left;
    bool done;

    image_run_load(file);
    memory_file_reset_records(file);
    arm_failure(file, what & 64 ? operand : 0);
    done = image_run_verb(file, what, what >> 3, operand * 16);
    for (unsigned op = 0; op < MEMORY_FILE_ALLOCATE; op++) {
        memory_file_fail(file, op, 0, 0);
    }
    after = image_run_judge_change(file, image);
    left = after.but_right_flags - known_before(&before, &after);
    fuzz_assert(left <= before.but_right_flags || before.refers_to_free ||
                    before.refers_behind_end,
                "change %u, %s: %" PRIu64 " corruptions became %" PRIu64, what,
                done ? "done" : "refused", before.but_right_flags,
                after.but_right_flags);
    if (done) {
        image_run_load(file);
    }
}

const FuzzTarget fuzz_image = { "image", run };
