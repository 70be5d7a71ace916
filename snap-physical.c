/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-physical.h.
 */
#include <elf.h>
#include <string.h>

#include "checked.h"
#include "printable.h"
#include "snap-error.h"
#include "snap-physical.h"

#define GIB (UINT64_C(1) << 30)

/* Where RAM goes on that has no room below. */
#define HIGH_START (4 * GIB)

/* RAM is cut at multiples of it: those of any page. Bytes. */
#define CUT_UNIT (64 * 1024)

/* How a kind of machine places its RAM. */
typedef struct Board {
    const char *machine; /* its name begins so; NULL: any */
    const char *block;   /* what it calls its RAM; NULL: anything */
    uint64_t base;
    uint64_t most_low; /* RAM that is smaller is not split; 0: none is */
    uint64_t low;      /* other RAM: so much of it is below 4 GiB */
    uint16_t elf_machine;
    bool big_endian;
} Board;

/* The first one that fits. */
static const Board boards[] = {
    { "pc-0.", NULL, 0, 0xe0000000, 0xe0000000, EM_X86_64 },
    { "pc-1.", NULL, 0, 0xe0000000, 0xe0000000, EM_X86_64 },
    { "pc-i440fx-1.", NULL, 0, 0xe0000000, 0xe0000000, EM_X86_64 },
    { "pc-i440fx-", NULL, 0, 0xe0000000, 0xc0000000, EM_X86_64 },
    { "pc-q35-", NULL, 0, 0xb0000000, 0x80000000, EM_X86_64 },
    { "microvm", NULL, 0, 0xc0000000, 0xc0000000, EM_X86_64 },
    { NULL, "mach-virt.ram", GIB, 0, 0, EM_AARCH64 },
    { NULL, "riscv_virt_board.ram", 2 * GIB, 0, 0, EM_RISCV },
    { NULL, "m68k_virt.ram", 0, 0, 0, 0, true },
    { "virt-", NULL, GIB, 0, 0, EM_AARCH64 },
    { "s390-ccw-virtio", NULL, 0, 0, 0, EM_S390, true },
    { "pseries", NULL, 0, 0, 0, EM_PPC64, true },
};

/* What RAM is called that no option gave a name. */
static const char *const ram_names[] = {
    "pc.ram",        "microvm.ram", "mach-virt.ram", "riscv_virt_board.ram",
    "m68k_virt.ram", "s390.ram",    "ppc_spapr.ram",
};

/* What the names of firmware and video memory end in. */
static const char *const device_names[] = {
    ".bios", ".rom", ".prom", ".vram", ".flash0", ".flash1", ".sram", ".nvram",
};

static const MigrationBlock *find_block(const MigrationInfo *info,
                                        const char *name)
{
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];

        if (!strcmp(block->name, name)) {
            return block;
        }
    }
    return NULL;
}

/* May it be RAM? What belongs to a device has a path, or such a name. */
static bool may_be_ram(const MigrationBlock *block)
{
    guint i;

    for (i = 0; i < G_N_ELEMENTS(device_names); i++) {
        if (g_str_has_suffix(block->name, device_names[i])) {
            return false;
        }
    }
    return block->bytes > 0 && !strpbrk(block->name, "/:@");
}

static bool is_among(const GPtrArray *blocks, const MigrationBlock *block)
{
    return g_ptr_array_find((GPtrArray *)blocks, block, NULL);
}

static char *list_names(const GPtrArray *blocks)
{
    GString *names = g_string_new(NULL);
    guint i;

    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = blocks->pdata[i];
        g_autofree char *name = printable(block->name);

        g_string_append_printf(names, "%s%s", i ? "," : "", name);
    }
    return g_string_free(names, FALSE);
}

/* Those that the user has named. */
static bool take_order(const MigrationInfo *info, const char *order,
                       GPtrArray *blocks, GError **errp)
{
    g_auto(GStrv) names = g_strsplit(order, ",", -1);
    char **name;

    for (name = names; *name; name++) {
        const MigrationBlock *block = find_block(info, *name);

        if (!block || is_among(blocks, block)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                        block ? "RAM block '%s' is named twice"
                              : "there is no RAM block '%s'",
                        *name);
            return false;
        }
        g_ptr_array_add(blocks, (void *)block);
    }
    return true;
}

/* The one that can only be it. */
static bool take_only(const MigrationInfo *info, GPtrArray *blocks,
                      GError **errp)
{
    g_autofree char *names = NULL;
    guint i;

    for (i = 0; i < G_N_ELEMENTS(ram_names); i++) {
        const MigrationBlock *block = find_block(info, ram_names[i]);

        if (block) {
            g_ptr_array_add(blocks, (void *)block);
            return true;
        }
    }
    for (i = 0; i < info->blocks->len; i++) {
        if (may_be_ram(info->blocks->pdata[i])) {
            g_ptr_array_add(blocks, info->blocks->pdata[i]);
        }
    }
    if (blocks->len == 1) {
        return true;
    }
    if (blocks->len == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "no block is known to be the machine's RAM: --order can "
                    "name it");
        return false;
    }
    names = list_names(blocks);
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                "several blocks may be the machine's RAM: --order has to say "
                "which are, by address: %s",
                names);
    return false;
}

static void warn_of_others(const MigrationInfo *info, const GPtrArray *blocks,
                           GPtrArray *warnings)
{
    g_autoptr(GPtrArray) others = g_ptr_array_new();
    g_autofree char *names = NULL;
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        if (may_be_ram(info->blocks->pdata[i]) &&
            !is_among(blocks, info->blocks->pdata[i])) {
            g_ptr_array_add(others, info->blocks->pdata[i]);
        }
    }
    if (others->len) {
        names = list_names(others);
        g_ptr_array_add(warnings,
                        g_strdup_printf("left out, because their addresses are "
                                        "not known: %s",
                                        names));
    }
}

static const Board *find_board(const MigrationInfo *info,
                               const GPtrArray *blocks)
{
    const MigrationBlock *first = blocks->pdata[0];
    guint i;

    for (i = 0; i < G_N_ELEMENTS(boards); i++) {
        const Board *board = &boards[i];

        if ((!board->machine ||
             (info->machine &&
              g_str_has_prefix(info->machine, board->machine))) &&
            (!board->block || !strcmp(first->name, board->block))) {
            return board;
        }
    }
    return NULL;
}

/* How many of @total bytes are below 4 GiB? */
static bool find_low(const Board *board, uint64_t total, uint64_t below_4g,
                     uint64_t *low, GError **errp)
{
    *low = total;
    if (!below_4g) {
        if (board && board->most_low && total >= board->most_low) {
            *low = board->low;
        }
        return true;
    }
    if (!board || !board->most_low) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--below-4g is for machines of the PC's kind");
        return false;
    }
    if (below_4g > HIGH_START || !is_aligned(below_4g, CUT_UNIT)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--below-4g: a multiple of 64K is expected, 4G at most");
        return false;
    }
    *low = MIN(total, below_4g);
    return true;
}

static void add_range(SnapPhysical *physical, const MigrationBlock *block,
                      uint64_t start, uint64_t offset, uint64_t bytes)
{
    SnapPhysicalRange range = {
        .start = start,
        .bytes = bytes,
        .block = block,
        .offset = offset,
    };

    if (bytes > 0) {
        g_array_append_val(physical->ranges, range);
    }
}

/* One behind the other, with the hole behind @low bytes. */
static void add_blocks(SnapPhysical *physical, const GPtrArray *blocks,
                       uint64_t low)
{
    uint64_t at = 0;
    guint i;

    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = blocks->pdata[i];
        uint64_t below = at < low ? MIN(block->bytes, low - at) : 0;

        add_range(physical, block, physical->base + at, 0, below);
        add_range(physical, block, HIGH_START + (at + below - low), below,
                  block->bytes - below);
        at += block->bytes;
    }
}

static bool sum_bytes(const GPtrArray *blocks, uint64_t *total, GError **errp)
{
    guint i;

    *total = 0;
    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = blocks->pdata[i];

        /* Addresses behind them must be numbers, too. */
        if (!checked_add(*total, block->bytes, total) ||
            *total > G_MAXINT64 - 2 * HIGH_START) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                        "no machine has so much RAM");
            return false;
        }
    }
    return true;
}

SnapPhysical *snap_physical_new(const MigrationInfo *info, uint64_t below_4g,
                                const char *order, GPtrArray *warnings,
                                GError **errp)
{
    g_autoptr(SnapPhysical) physical = g_new0(SnapPhysical, 1);
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();
    const Board *board;
    uint64_t total;
    uint64_t low;

    physical->ranges = g_array_new(FALSE, FALSE, sizeof(SnapPhysicalRange));
    if (!(order ? take_order(info, order, blocks, errp)
                : take_only(info, blocks, errp)) ||
        !sum_bytes(blocks, &total, errp)) {
        return NULL;
    }
    board = find_board(info, blocks);
    if (!find_low(board, total, below_4g, &low, errp)) {
        return NULL;
    }
    if (board) {
        physical->base = board->base;
        physical->base_known = true;
        physical->elf_machine = board->elf_machine;
        physical->big_endian = board->big_endian;
    }
    add_blocks(physical, blocks, low);
    warn_of_others(info, blocks, warnings);
    return g_steal_pointer(&physical);
}

void snap_physical_free(SnapPhysical *physical)
{
    if (physical) {
        g_array_unref(physical->ranges);
        g_free(physical);
    }
}
