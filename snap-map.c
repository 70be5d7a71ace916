/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What is in the cells of a map.
 */
#include "checked.h"
#include "snap-map.h"

/* Rows begin at round addresses. */
#define ROW_UNIT 16
/* More is not seen at a glance, and need not be had in memory. */
#define MAX_ROW_CELLS 256
/* Of all blocks together, without the first ones, which each block has. */
#define MAX_FURTHER_ROWS 12

static unsigned choose_row_cells(unsigned columns)
{
    unsigned cells = columns > SNAP_MAP_BESIDE_COLUMNS
                         ? columns - SNAP_MAP_BESIDE_COLUMNS
                         : 0;

    return CLAMP(cells / ROW_UNIT * ROW_UNIT, ROW_UNIT, MAX_ROW_CELLS);
}

static bool fits(const SnapMapScale *scale, const GArray *pages)
{
    uint64_t rows = 0;
    guint i;

    for (i = 0; i < pages->len && rows <= MAX_FURTHER_ROWS; i++) {
        uint64_t cells =
            div_round_up(g_array_index(pages, uint64_t, i), scale->cell_pages);

        rows += cells ? (cells - 1) / scale->row_cells : 0;
    }
    return rows <= MAX_FURTHER_ROWS;
}

SnapMapScale snap_map_scale(const GArray *pages, uint32_t page_size,
                            unsigned columns)
{
    SnapMapScale scale = {
        .page_size = page_size,
        .cell_pages = 1,
        .row_cells = choose_row_cells(columns),
    };

    while (!fits(&scale, pages)) {
        scale.cell_pages *= 2;
    }
    return scale;
}

GArray *snap_map_cells(const SnapMapScale *scale, uint64_t pages)
{
    guint count = div_round_up(pages, scale->cell_pages);
    GArray *cells = g_array_sized_new(FALSE, TRUE, sizeof(SnapMapCell), count);
    guint i;

    g_array_set_size(cells, count);
    for (i = 0; i < count; i++) {
        uint64_t left = pages - i * scale->cell_pages;

        g_array_index(cells, SnapMapCell, i).pages =
            MIN(left, scale->cell_pages);
    }
    return cells;
}

void snap_map_mark(const SnapMapScale *scale, GArray *cells, uint64_t first,
                   uint64_t count, SnapMapMark mark)
{
    uint64_t at = first / scale->cell_pages;
    uint64_t within = first % scale->cell_pages;

    for (; count > 0 && mark != SNAP_MAP_BLANK && at < cells->len; at++) {
        SnapMapCell *cell = &g_array_index(cells, SnapMapCell, at);
        uint64_t part = MIN(count, scale->cell_pages - within);

        if (within < cell->pages) {
            cell->marked[mark] += MIN(part, cell->pages - within);
        }
        count -= part;
        within = 0;
    }
}
