/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What differs between two VM states: found by
 * snap-diff-ram.c and snap-diff-devices.c, shown by snap-diff-output.c.
 */
#ifndef SNAP_DIFF_H
#define SNAP_DIFF_H

#include "page-pieces.h"
#include "snap-map.h"
#include "snap-pages.h"
#include "snap-state.h"

#define SNAP_DIFF_SIDES 2

typedef struct SnapDiffSide {
    const char *filename;
    SnapImage own;    /* open unless both are in the same image */
    SnapImage *image; /* that it is in */
    SnapState state;
    SnapSource source; /* its bytes */
    SnapPages *pages;
} SnapDiffSide;

/* A RAM block, by name. */
typedef struct SnapDiffBlock {
    const MigrationBlock *sides[SNAP_DIFF_SIDES]; /* NULL: it has none */
    uint64_t pages[PAGE_VERDICTS];
} SnapDiffBlock;

typedef enum SnapDeviceVerdict {
    SNAP_DEVICE_SAME,
    SNAP_DEVICE_ONLY_A,
    SNAP_DEVICE_ONLY_B,
    SNAP_DEVICE_VERSION, /* another one, so its length means nothing */
    SNAP_DEVICE_LENGTH,
    SNAP_DEVICE_CONTENT,
    SNAP_DEVICE_UNKNOWN, /* where it ends is not known */
} SnapDeviceVerdict;

/* A section, by name and instance; all but RAM. */
typedef struct SnapDiffDevice {
    const MigrationSection *section; /* of the side that has it, or of a */
    SnapDeviceVerdict verdict;
} SnapDiffDevice;

typedef struct SnapDiff {
    SnapDiffSide sides[SNAP_DIFF_SIDES];
    uint32_t page_size;            /* bytes; 0: there is not a page */
    GArray *blocks;                /* of SnapDiffBlock */
    uint64_t pages[PAGE_VERDICTS]; /* of all blocks */
    GArray *devices;               /* of SnapDiffDevice, the same ones, too */
    unsigned different_blocks;     /* by size, or there on one side only */
    unsigned different_devices;    /* without those that are UNKNOWN */
    unsigned unknown_devices;
    bool different_machines;

    bool ranges;  /* --ranges: print them while they are found */
    GString *map; /* --map: the picture so far; NULL: none */
    SnapMapScale scale;
    SnapTerminal terminal;
} SnapDiff;

/*
 * Fill what is above about pages and blocks. Yields. Returns false and fills
 * @errp (INVALID: pages of different sizes, those of snap_compare_block()).
 */
bool coroutine_fn snap_diff_ram(const SnapOptions *options, SnapDiff *diff,
                                GError **errp);

/*
 * Fill `devices' and their numbers. Yields. Returns false and fills @errp
 * (STREAM, those of qcow2_vmstate_pread()).
 */
bool coroutine_fn snap_diff_devices(SnapDiff *diff, GError **errp);

/* Both sides' name, or that of the only one. */
const char *snap_diff_block_name(const SnapDiffBlock *block);

uint64_t snap_diff_different_pages(const SnapDiff *diff);
bool snap_diff_is_different(const SnapDiff *diff);

void snap_diff_print(const SnapDiff *diff);
void snap_diff_print_map(const SnapDiff *diff);
void snap_diff_print_json(const SnapDiff *diff);

#endif /* SNAP_DIFF_H */
