/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where RAM is, of all boards that are known; sizes around those at which PCs
 * split it were measured in QEMU's own memory maps.
 */
#include <check.h>
#include <inttypes.h>

#include "run-suite.h"
#include "snap-error.h"
#include "snap-physical.h"

#define MIB 0x100000ULL
#define GIB 0x40000000ULL

/* "NAME=MIB NAME=MIB ..." */
static GPtrArray *parse_blocks(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    GPtrArray *blocks = g_ptr_array_new();

    for (char **word = words; *word; word++) {
        g_auto(GStrv) parts = g_strsplit(*word, "=", 2);
        MigrationBlock *block = g_new0(MigrationBlock, 1);

        block->name = g_strdup(parts[0]);
        block->bytes = g_ascii_strtoull(parts[1], NULL, 10) * MIB;
        block->number = blocks->len;
        g_ptr_array_add(blocks, block);
    }
    return blocks;
}

static void free_blocks(GPtrArray *blocks)
{
    for (guint i = 0; i < blocks->len; i++) {
        MigrationBlock *block = blocks->pdata[i];

        g_free(block->name);
        g_free(block);
    }
    g_ptr_array_unref(blocks);
}

typedef struct Case {
    const char *machine;
    const char *blocks;
    uint64_t below_4g;
    const char *order;
    const char *expected;
} Case;

/* Ranges as NAME+OFFSET@START:BYTES; warnings in brackets; or the error. */
static char *outcome(const Case *c)
{
    GPtrArray *blocks = parse_blocks(c->blocks);
    MigrationInfo info = { .machine = (char *)c->machine, .blocks = blocks };
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapPhysical) physical =
        snap_physical_new(&info, c->below_4g, c->order, warnings, &error);
    GString *text = g_string_new(NULL);

    ck_assert((physical != NULL) == (error == NULL));
    if (error) {
        g_string_append(text, error->message);
    }
    for (guint i = 0; physical && i < physical->ranges->len; i++) {
        const SnapPhysicalRange *range =
            &g_array_index(physical->ranges, SnapPhysicalRange, i);

        g_string_append_printf(text, "%s%s+%" PRIx64 "@%" PRIx64 ":%" PRIx64,
                               i ? " " : "", range->block->name, range->offset,
                               range->start, range->bytes);
    }
    if (physical && !physical->base_known) {
        g_string_append(text, " base?");
    }
    for (guint i = 0; i < warnings->len; i++) {
        g_string_append_printf(text, " [%s]", (char *)warnings->pdata[i]);
    }
    free_blocks(blocks);
    return g_string_free(text, FALSE);
}

static const Case cases[] = {
    { "pc-i440fx-7.2", "pc.ram=3583 pc.bios=1", 0, NULL,
      "pc.ram+0@0:dff00000" },
    { "pc-i440fx-7.2", "pc.ram=3584", 0, NULL,
      "pc.ram+0@0:c0000000 pc.ram+c0000000@100000000:20000000" },
    { "pc-i440fx-1.7", "pc.ram=3584", 0, NULL, "pc.ram+0@0:e0000000" },
    { "pc-i440fx-1.7", "pc.ram=5120", 0, NULL,
      "pc.ram+0@0:e0000000 pc.ram+e0000000@100000000:60000000" },
    { "pc-1.3", "pc.ram=4096", 0, NULL,
      "pc.ram+0@0:e0000000 pc.ram+e0000000@100000000:20000000" },
    { "pc-q35-8.0", "pc.ram=2815", 0, NULL, "pc.ram+0@0:aff00000" },
    { "pc-q35-8.0", "pc.ram=3072", 0, NULL,
      "pc.ram+0@0:80000000 pc.ram+80000000@100000000:40000000" },
    { "microvm", "microvm.ram=3072", 0, NULL, "microvm.ram+0@0:c0000000" },
    { "microvm", "microvm.ram=4096", 0, NULL,
      "microvm.ram+0@0:c0000000 microvm.ram+c0000000@100000000:40000000" },
    /* As the user knows better. */
    { "pc-i440fx-7.2", "pc.ram=3072", GIB, NULL,
      "pc.ram+0@0:40000000 pc.ram+40000000@100000000:80000000" },
    { "pc-i440fx-7.2", "pc.ram=512", GIB, NULL, "pc.ram+0@0:20000000" },
    { "pc-i440fx-7.2", "pc.ram=512", 5 * GIB, NULL,
      "--below-4g: a multiple of 64K is expected, 4G at most" },
    { "pc-i440fx-7.2", "pc.ram=512", 4096, NULL,
      "--below-4g: a multiple of 64K is expected, 4G at most" },
    { "virt-8.0", "mach-virt.ram=512", GIB, NULL,
      "--below-4g is for machines of the PC's kind" },
    /* Other names. */
    { "pc-q35-8.0",
      "mem0=64 pc.bios=1 /rom@etc/acpi/tables=1 0000:00:01.0/vga.vram=16 "
      "system.flash0=4",
      0, NULL, "mem0+0@0:4000000" },
    { "pc-q35-8.0", "pc.ram=64 dimm0=32 pc.rom=1 dimm1=32", 0, NULL,
      "pc.ram+0@0:4000000 [left out, because their addresses are not known: "
      "dimm0,dimm1]" },
    { "pc-q35-8.0", "n1=3072 n0=2048 pc.rom=1", 0, NULL,
      "several blocks may be the machine's RAM: --order has to say which are, "
      "by address: n1,n0" },
    { "pc-q35-8.0", "n1=3072 n0=1024 pc.rom=1", 0, "n0,n1",
      "n0+0@0:40000000 n1+0@40000000:40000000 n1+40000000@100000000:80000000" },
    { "pc-q35-8.0", "n1=3072 n0=2048 n2=64", 0, "n0,n1",
      "n0+0@0:80000000 n1+0@100000000:c0000000 [left out, because their "
      "addresses are not known: n2]" },
    { "pc-q35-8.0", "n1=64 n0=64", 0, "n0,n0",
      "RAM block 'n0' is named twice" },
    { "pc-q35-8.0", "n1=64 n0=64", 0, "n0,n2", "there is no RAM block 'n2'" },
    { "pc-q35-8.0", "pc.bios=1", 0, NULL,
      "no block is known to be the machine's RAM: --order can name it" },
    /* Other boards. */
    { "virt-8.0", "mach-virt.ram=128 virt.flash0=64 virt.flash1=64", 0, NULL,
      "mach-virt.ram+0@40000000:8000000" },
    { "virt-8.0", "mem=8192", 0, NULL, "mem+0@40000000:200000000" },
    { "virt", "riscv_virt_board.ram=128", 0, NULL,
      "riscv_virt_board.ram+0@80000000:8000000" },
    { "s390-ccw-virtio-8.0", "s390.ram=128", 0, NULL, "s390.ram+0@0:8000000" },
    { "pseries-8.0", "ppc_spapr.ram=128", 0, NULL,
      "ppc_spapr.ram+0@0:8000000" },
    { "sun4u", "sun4u.ram=128 sun4u.prom=1", 0, NULL,
      "sun4u.ram+0@0:8000000 base?" },
    { NULL, "pc.ram=128", 0, NULL, "pc.ram+0@0:8000000 base?" },
};

START_TEST(boards)
{
    g_autofree char *text = outcome(&cases[_i]);

    ck_assert_str_eq(text, cases[_i].expected);
}
END_TEST

/* No machine has them, but a stream may say so. */
START_TEST(impossible_sizes)
{
    MigrationBlock block = {
        .name = (char *)"pc.ram",
        .bytes = G_MAXUINT64 - 4095,
    };
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();
    MigrationInfo info = { .blocks = blocks };
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    g_ptr_array_add(blocks, &block);
    ck_assert_ptr_null(snap_physical_new(&info, 0, NULL, warnings, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_STREAM));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snap-physical");
    TCase *tests = tcase_create("snap-physical");

    tcase_add_loop_test(tests, boards, 0, G_N_ELEMENTS(cases));
    tcase_add_test(tests, impossible_sizes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
