/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A picture of RAM blocks, to be seen at a glance: each block is some rows of
 * cells, each cell a character for as many pages as the scale says. What is in
 * the cells is computed (snap-map.c) before and apart from how they are drawn
 * (snap-map-draw.c), and neither takes more than a screen for any block.
 */
#ifndef SNAP_MAP_H
#define SNAP_MAP_H

#include "page-map.h"
#include "snap-terminal.h"

/* What a page is drawn as. Who draws says what that means: snap_map_legend(). */
typedef enum SnapMapMark {
    SNAP_MAP_SOLID,
    SNAP_MAP_SHADED,
    SNAP_MAP_DOTTED,
    SNAP_MAP_BLANK,
} SnapMapMark;

#define SNAP_MAP_MARKS (SNAP_MAP_BLANK + 1)

/* What stands beside the cells of a row: its address and two edges. */
#define SNAP_MAP_BESIDE_COLUMNS 13

typedef struct SnapMapCell {
    uint64_t pages;                  /* that the block has there, at least 1 */
    uint64_t marked[SNAP_MAP_BLANK]; /* of these, by mark; the rest is blank */
} SnapMapCell;

/* The same for all blocks of a picture, so that they can be compared. */
typedef struct SnapMapScale {
    uint32_t page_size;  /* bytes */
    uint64_t cell_pages; /* that a cell stands for; a power of two */
    unsigned row_cells;  /* at most */
} SnapMapScale;

/*
 * One for blocks of @pages (of uint64_t), in @columns of a terminal: there are
 * a few rows more than blocks.
 */
SnapMapScale snap_map_scale(const GArray *pages, uint32_t page_size,
                            unsigned columns);

/* The cells (SnapMapCell) of a block of @pages, all blank. */
GArray *snap_map_cells(const SnapMapScale *scale, uint64_t pages);

/*
 * @count pages from @first on are @mark, which nobody has said of them before.
 * What is not in the block is left out.
 */
void snap_map_mark(const SnapMapScale *scale, GArray *cells, uint64_t first,
                   uint64_t count, SnapMapMark mark);

/* "one cell = 256 KiB (64 pages)". Free it. */
char *snap_map_describe(const SnapMapScale *scale);

/*
 * The rows of @cells, with the address of each. @title stands behind a row that
 * leaves room for it, or else above.
 */
void snap_map_draw(GString *to, const SnapMapScale *scale, const GArray *cells,
                   const char *title, const SnapTerminal *terminal);

/* A line for each mark, which stands for @words. */
void snap_map_legend(GString *to, const char *const words[SNAP_MAP_MARKS],
                     const SnapTerminal *terminal);

#endif /* SNAP_MAP_H */
