/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Hostile images from short inputs: one of several sound images, of which some
 * numbers are changed. A fuzzer that changes bytes of a whole image would spend
 * its time in data clusters.
 */
#ifndef IMAGE_PLAN_H
#define IMAGE_PLAN_H

#include "fuzz.h"

/* Where the numbers of an image are, by what they are. */
typedef enum FuzzSlotKind {
    FUZZ_SLOT_HEADER,
    FUZZ_SLOT_EXTENSION,
    FUZZ_SLOT_L1,
    FUZZ_SLOT_L2,
    FUZZ_SLOT_REFCOUNT_TABLE,
    FUZZ_SLOT_REFCOUNTS,
    FUZZ_SLOT_SNAPSHOT,
    FUZZ_SLOT_BITMAP,
    FUZZ_SLOT_KINDS,
} FuzzSlotKind;

typedef struct FuzzSlot {
    uint64_t at; /* file offset */
    unsigned bytes;
} FuzzSlot;

typedef struct FuzzBase {
    GByteArray *image;
    GArray *slots[FUZZ_SLOT_KINDS]; /* of FuzzSlot */
} FuzzBase;

/* One of the sound images; any number will do. Made once, never freed. */
const FuzzBase *fuzz_base(unsigned number);

/* Find the slots of a sound image. */
void fuzz_base_find_slots(FuzzBase *base);

/*
 * The image that the rest of @input describes: itself, if it begins like one,
 * else a base and what is changed in it. The caller frees it.
 */
GByteArray *fuzz_image_make(FuzzInput *input);

#endif /* IMAGE_PLAN_H */
