/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * From an input to a hostile image. A change is a kind of number, which one of
 * them, how it changes, and an operand; what a fuzzer does to one byte of that
 * leaves the others what they were.
 */
#include <string.h>

#include "image-plan.h"
#include "../unit/qcow2-fixture.h"

#define COPIED     (1ULL << 63)
#define COMPRESSED (1ULL << 62)

/* More of them only hide one another. */
#define MAX_CHANGES 64

/* Behind the kinds of slots: what happens to more than one number. */
enum {
    CHANGE_CUT = FUZZ_SLOT_KINDS,
    CHANGE_GROW,
    CHANGE_REPEAT,
    CHANGE_BYTES,
    CHANGES,
};

enum {
    HOW_ZERO,
    HOW_SET,
    HOW_FLIP,
    HOW_ADD,
    HOW_SUBTRACT,
    HOW_ADD_SECTOR,
    HOW_ADD_CLUSTER,
    HOW_COPIED,
    HOW_COMPRESSED,
    HOW_HIGH,
    HOW_END,
    HOW_CLUSTER,
    HOW_SAME_KIND,
    HOW_OTHER_KIND,
    HOW_ONES,
    HOW_POWER,
    HOWS,
};

typedef struct Plan {
    const FuzzBase *base;
    GByteArray *image;
    FuzzInput *input;
    uint64_t cluster_size;
    FuzzSlot last; /* what was changed last */
} Plan;

static const FuzzSlot *pick(const Plan *plan, unsigned kind, unsigned index)
{
    const GArray *slots = plan->base->slots[kind % FUZZ_SLOT_KINDS];

    if (slots->len == 0) {
        slots = plan->base->slots[FUZZ_SLOT_HEADER];
    }
    return &g_array_index(slots, FuzzSlot, index % slots->len);
}

static uint64_t peek(const Plan *plan, const FuzzSlot *slot)
{
    return qcow2_fixture_peek(plan->image, slot->at, slot->bytes);
}

static void poke(Plan *plan, uint64_t at, unsigned bytes, uint64_t value)
{
    if (at + bytes <= plan->image->len) {
        qcow2_fixture_poke(plan->image, at, bytes, value);
    }
}

static uint64_t changed(const Plan *plan, unsigned kind, unsigned how,
                        uint64_t operand, uint64_t old)
{
    switch (how) {
    case HOW_ZERO:
        return 0;
    case HOW_SET:
        return fuzz_take(plan->input, 8);
    case HOW_FLIP:
        return old ^ 1ULL << operand % 64;
    case HOW_ADD:
        return old + operand;
    case HOW_SUBTRACT:
        return old - operand;
    case HOW_ADD_SECTOR:
        return old + 512;
    case HOW_ADD_CLUSTER:
        return old + operand * plan->cluster_size;
    case HOW_COPIED:
        return old ^ COPIED;
    case HOW_COMPRESSED:
        return (old ^ COMPRESSED) & ~COPIED;
    case HOW_HIGH:
        return old + (1ULL << 56);
    case HOW_END:
        return old + plan->image->len / plan->cluster_size * plan->cluster_size;
    case HOW_CLUSTER:
        return (operand & 0x8000 ? COPIED : 0) |
               (operand & 0x7fff) * plan->cluster_size;
    case HOW_SAME_KIND:
        return peek(plan, pick(plan, kind, operand));
    case HOW_OTHER_KIND:
        return peek(plan, pick(plan, operand >> 12, operand & 0xfff));
    case HOW_ONES:
        return UINT64_MAX;
    default:
        return (1ULL << operand % 64) - (operand >> 6) % 2;
    }
}

static void change_slot(Plan *plan, unsigned kind, unsigned index, unsigned how,
                        uint64_t operand)
{
    plan->last = *pick(plan, kind, index);
    poke(plan, plan->last.at, plan->last.bytes,
         changed(plan, kind, how, operand, peek(plan, &plan->last)));
}

static void grow(Plan *plan, uint64_t bytes)
{
    uint64_t old = plan->image->len;

    bytes = MIN(bytes, FUZZ_MAX_BYTES - MIN(old, FUZZ_MAX_BYTES));
    g_byte_array_set_size(plan->image, old + bytes);
    memset(plan->image->data + old, 0, bytes);
}

/* The numbers behind the last one become like it, or rise by a step. */
static void repeat(Plan *plan, unsigned count, uint64_t step)
{
    uint64_t value = peek(plan, &plan->last);

    while (count-- > 0) {
        plan->last.at += plan->last.bytes;
        value += step * plan->cluster_size;
        poke(plan, plan->last.at, plan->last.bytes, value);
    }
}

static void change(Plan *plan)
{
    unsigned kind = fuzz_take(plan->input, 1) % CHANGES;
    unsigned index = fuzz_take(plan->input, 2);
    unsigned how = fuzz_take(plan->input, 1);
    uint64_t operand = fuzz_take(plan->input, 2);

    switch (kind) {
    case CHANGE_CUT:
        g_byte_array_set_size(plan->image,
                              MIN(plan->image->len, index * 256 + operand));
        break;
    case CHANGE_GROW:
        grow(plan, index * 256 + operand);
        break;
    case CHANGE_REPEAT:
        repeat(plan, index, operand % 4);
        break;
    case CHANGE_BYTES:
        for (how %= 64; how > 0; how--) {
            poke(plan, index * 256 + operand++, 1, fuzz_take(plan->input, 1));
        }
        break;
    default:
        change_slot(plan, kind, index, how % HOWS, operand);
        break;
    }
}

GByteArray *fuzz_image_make(FuzzInput *input)
{
    Plan plan = { .input = input };
    unsigned changes = 0;

    if (input->bytes >= 4 && !memcmp(input->data, "QFI\xfb", 4)) {
        return g_byte_array_append(g_byte_array_sized_new(input->bytes),
                                   input->data, input->bytes);
    }
    plan.base = fuzz_base(fuzz_take(input, 1));
    plan.image = qcow2_fixture_copy(plan.base->image);
    plan.cluster_size = 1ULL << qcow2_fixture_peek(plan.image, 20, 4);
    while (input->bytes > 0 && changes++ < MAX_CHANGES) {
        change(&plan);
    }
    return plan.image;
}
