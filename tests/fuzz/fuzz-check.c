/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Check and repair. Afterwards the image has not more corruptions than the
 * repair says are left, nor, after any of its writes, more than it had, unless
 * what is added to the file lies where it refers to already. The input is two
 * bytes that choose the repair and the moment of a power cut, and an image
 * (image-plan.h).
 */
#include <inttypes.h>

#include "bytes.h"
#include "image-plan.h"
#include "image-run.h"
#include "memory-file.h"

/* The image as it is when the power fails in the middle of a repair. */
static void check_power_cut(const GByteArray *image, BlockFile *file,
                            unsigned choice, const ImageVerdict *before)
{
    size_t count;
    const MemoryFileRecord *records = memory_file_records(file, &count);
    size_t kept = count * choice / 256;
    g_autoptr(GByteArray)
        content = memory_file_replay(image->data, image->len, records, kept);
    g_autoptr(BlockFile) cut = image_run_file(content);
    uint64_t after = image_run_judge(cut).but_flags;

    fuzz_assert(after <= before->but_flags || before->refers_behind_end,
                "%" PRIu64 " corruptions became %" PRIu64
                " after %zu of %zu operations",
                before->but_flags, after, kept, count);
}

/* The header is the one thing that is written although it is in use. */
static bool tables_in_header(const GByteArray *image)
{
    static const struct {
        unsigned char count;
        unsigned char offset;
    } tables[] = { { 36, 40 }, { 56, 48 }, { 60, 64 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        if (image->len >= 72 && load_be32(image->data + tables[i].count) &&
            load_be64(image->data + tables[i].offset) == 0) {
            return true;
        }
    }
    return false;
}

static void check_repaired(BlockFile *file, const Qcow2CheckResult *result,
                           const ImageVerdict *before)
{
    uint64_t left = result->corruptions + result->check_errors;
    ImageVerdict after = image_run_judge(file);

    fuzz_assert(after.corruptions <= left || before->refers_behind_end,
                "%" PRIu64 " are left and not %" PRIu64, after.corruptions,
                left);
    fuzz_assert(after.harmful <= before->harmful || before->refers_behind_end,
                "%" PRIu64 " corruptions became %" PRIu64, before->harmful,
                after.harmful);
}

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { data, bytes };
    Qcow2Repair repair = fuzz_take(&input, 1) % 3;
    unsigned choice = fuzz_take(&input, 1);
    g_autoptr(GByteArray) image = fuzz_image_make(&input);
    g_autoptr(BlockFile) file = image_run_file(image);
    ImageVerdict before = image_run_judge(file);
    Qcow2CheckResult result;

    memory_file_reset_records(file);
    if (repair == QCOW2_REPAIR_NOTHING || tables_in_header(image) ||
        before.too_many) {
        return;
    }
    if (image_run_check(file, repair, &result)) {
        check_repaired(file, &result, &before);
    }
    check_power_cut(image, file, choice, &before);
}

const FuzzTarget fuzz_check = { "check", run };
