/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-cpu.h. The fields that matter have had their places since version
 * 12 of the section, which is older than any machine type of today.
 */
#include <elf.h>
#include <string.h>

#include "bytes.h"
#include "snap-cpu.h"
#include "snap-elf.h"

/* General registers in the order of the stream. */
enum Register {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
};

/* The same of segments. */
enum Segment {
    ES,
    CS,
    SS,
    DS,
    FS,
    GS,
    LDT,
    TR,
    GDT,
    IDT,
};

/* Where they are in the payload. */
enum Offset {
    OFFSET_RIP = 128,
    OFFSET_RFLAGS = 136,
    OFFSET_SEGMENTS = 236,
    OFFSET_CR0 = 456,
    OFFSET_CR2 = 464,
    OFFSET_CR3 = 472,
    OFFSET_CR4 = 480,
    OFFSET_KERNEL_GS = 856,
};

/* Selector, base, limit, flags. */
#define SEGMENT_BYTES 20

/* One that is always set, and the highest that there is. */
#define RFLAGS_ALWAYS  2
#define RFLAGS_HIGHEST 21

#define SYSTEM_VERSION 1
#define SYSTEM_BYTES   440

bool snap_cpu_is_known(const uint8_t *state)
{
    uint64_t rflags = load_be64(state + OFFSET_RFLAGS);

    return (rflags & RFLAGS_ALWAYS) && rflags >> (RFLAGS_HIGHEST + 1) == 0;
}

static uint64_t get_register(const uint8_t *state, enum Register number)
{
    return load_be64(state + number * sizeof(uint64_t));
}

static const uint8_t *find_segment(const uint8_t *state, enum Segment number)
{
    return state + OFFSET_SEGMENTS + number * SEGMENT_BYTES;
}

static uint64_t get_selector(const uint8_t *state, enum Segment number)
{
    return load_be32(find_segment(state, number));
}

static uint64_t get_base(const uint8_t *state, enum Segment number)
{
    return load_be64(find_segment(state, number) + 4);
}

static void add_zeros(GByteArray *bytes, guint count)
{
    guint old = bytes->len;

    g_byte_array_set_size(bytes, old + count);
    memset(bytes->data + old, 0, count);
}

void snap_cpu_add_status(GByteArray *notes, const SnapPhysical *physical,
                         unsigned cpu, const uint8_t *state)
{
    static const enum Register order[] = {
        R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI,
    };
    const uint64_t rest[] = {
        0, /* the number of a system call that is under way */
        load_be64(state + OFFSET_RIP),
        get_selector(state, CS),
        load_be64(state + OFFSET_RFLAGS),
        get_register(state, RSP),
        get_selector(state, SS),
        get_base(state, FS),
        get_base(state, GS),
        get_selector(state, DS),
        get_selector(state, ES),
        get_selector(state, FS),
        get_selector(state, GS),
    };
    g_autoptr(GByteArray) status = g_byte_array_new();
    unsigned i;

    /* As Linux has it of a process: signals, its number, times. */
    add_zeros(status, 32);
    snap_elf_add(status, physical, cpu + 1, 4);
    add_zeros(status, 76);
    for (i = 0; i < G_N_ELEMENTS(order); i++) {
        snap_elf_add(status, physical, get_register(state, order[i]), 8);
    }
    for (i = 0; i < G_N_ELEMENTS(rest); i++) {
        snap_elf_add(status, physical, rest[i], 8);
    }
    add_zeros(status, 8);
    snap_elf_add_note(notes, physical, "CORE", NT_PRSTATUS, status);
}

static void add_segment(GByteArray *bytes, const SnapPhysical *physical,
                        const uint8_t *state, enum Segment number)
{
    const uint8_t *segment = find_segment(state, number);

    snap_elf_add(bytes, physical, load_be32(segment), 4);
    snap_elf_add(bytes, physical, load_be32(segment + 12), 4);
    snap_elf_add(bytes, physical, load_be32(segment + 16), 4);
    snap_elf_add(bytes, physical, 0, 4);
    snap_elf_add(bytes, physical, load_be64(segment + 4), 8);
}

void snap_cpu_add_system(GByteArray *notes, const SnapPhysical *physical,
                         const uint8_t *state)
{
    static const enum Register registers[] = {
        RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP,
        R8,  R9,  R10, R11, R12, R13, R14, R15,
    };
    static const enum Segment segments[] = {
        CS, DS, ES, FS, GS, SS, LDT, TR, GDT, IDT,
    };
    const uint64_t rest[] = {
        load_be64(state + OFFSET_CR0), 0, /* there is no CR1 */
        load_be64(state + OFFSET_CR2), load_be64(state + OFFSET_CR3),
        load_be64(state + OFFSET_CR4), load_be64(state + OFFSET_KERNEL_GS),
    };
    g_autoptr(GByteArray) system = g_byte_array_new();
    unsigned i;

    snap_elf_add(system, physical, SYSTEM_VERSION, 4);
    snap_elf_add(system, physical, SYSTEM_BYTES, 4);
    for (i = 0; i < G_N_ELEMENTS(registers); i++) {
        snap_elf_add(system, physical, get_register(state, registers[i]), 8);
    }
    snap_elf_add(system, physical, load_be64(state + OFFSET_RIP), 8);
    snap_elf_add(system, physical, load_be64(state + OFFSET_RFLAGS), 8);
    for (i = 0; i < G_N_ELEMENTS(segments); i++) {
        add_segment(system, physical, state, segments[i]);
    }
    for (i = 0; i < G_N_ELEMENTS(rest); i++) {
        snap_elf_add(system, physical, rest[i], 8);
    }
    g_assert(system->len == SYSTEM_BYTES);
    snap_elf_add_note(notes, physical, "QEMU", 0, system);
}
