/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * How the cells of a map are drawn. A cell of which anything is solid or shaded
 * shows how much of it; all of it looks different from nearly all.
 */
#include <inttypes.h>

#include "size.h"
#include "snap-map.h"

/* Behind it there is a blank; the rest is edges. */
#define LABEL_COLUMNS (SNAP_MAP_BESIDE_COLUMNS - 3)
/* How much of a cell: some, up to all. */
#define LEVELS 8

typedef struct Glyphs {
    const char *solid[LEVELS];
    const char *shaded[LEVELS];
    const char *dotted;
    const char *edge;
    const char *legends[SNAP_MAP_MARKS];
} Glyphs;

static const Glyphs block_glyphs = {
    .solid = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" },
    .shaded = { "░", "░", "░", "░", "▒", "▒", "▒", "▓" },
    .dotted = "·",
    .edge = "│",
    .legends = { "▁ to █", "░ ▒ ▓ ", "·     ", "blank " },
};

static const Glyphs ascii_glyphs = {
    .solid = { "-", "-", "+", "+", "+", "*", "*", "#" },
    .shaded = { "o", "o", "o", "o", "o", "o", "o", "@" },
    .dotted = ".",
    .edge = "|",
    .legends = { "- + * #", "o @    ", ".      ", "blank  " },
};

static const char *const colors[SNAP_MAP_MARKS] = {
    "\x1b[36m",
    "\x1b[33m",
    "\x1b[90m",
    "\x1b[0m",
};

static const Glyphs *glyphs_for(const SnapTerminal *terminal)
{
    return terminal->unicode ? &block_glyphs : &ascii_glyphs;
}

/* What there is more of, of what is more than nothing. */
static SnapMapMark cell_mark(const SnapMapCell *cell)
{
    const uint64_t *marked = cell->marked;

    if (marked[SNAP_MAP_SOLID] || marked[SNAP_MAP_SHADED]) {
        return marked[SNAP_MAP_SOLID] >= marked[SNAP_MAP_SHADED]
                   ? SNAP_MAP_SOLID
                   : SNAP_MAP_SHADED;
    }
    return marked[SNAP_MAP_DOTTED] ? SNAP_MAP_DOTTED : SNAP_MAP_BLANK;
}

static unsigned cell_level(const SnapMapCell *cell)
{
    uint64_t part = cell->marked[SNAP_MAP_SOLID] +
                    cell->marked[SNAP_MAP_SHADED];

    if (part >= cell->pages) {
        return LEVELS - 1;
    }
    return (unsigned)((double)part / cell->pages * (LEVELS - 1));
}

static const char *cell_glyph(const SnapMapCell *cell, SnapMapMark mark,
                              const Glyphs *glyphs)
{
    switch (mark) {
    case SNAP_MAP_SOLID:
        return glyphs->solid[cell_level(cell)];
    case SNAP_MAP_SHADED:
        return glyphs->shaded[cell_level(cell)];
    case SNAP_MAP_DOTTED:
        return glyphs->dotted;
    default:
        return " ";
    }
}

/* Colour changes where the mark does, and is that of blanks at either end. */
static void draw_row(GString *to, const SnapMapCell *cells, guint count,
                     const SnapTerminal *terminal)
{
    const Glyphs *glyphs = glyphs_for(terminal);
    SnapMapMark last = SNAP_MAP_BLANK;
    guint i;

    g_string_append(to, glyphs->edge);
    for (i = 0; i < count; i++) {
        SnapMapMark mark = cell_mark(&cells[i]);

        if (terminal->color && mark != last) {
            g_string_append(to, colors[mark]);
        }
        g_string_append(to, cell_glyph(&cells[i], mark, glyphs));
        last = mark;
    }
    if (terminal->color && last != SNAP_MAP_BLANK) {
        g_string_append(to, colors[SNAP_MAP_BLANK]);
    }
    g_string_append(to, glyphs->edge);
}

/*
 * Where the @row begins, as a whole number of the largest unit of which all
 * rows begin at one.
 */
static void draw_label(GString *to, const SnapMapScale *scale, uint64_t row)
{
    static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
                                         "TiB", "PiB", "EiB" };
    unsigned zeros = __builtin_ctz(scale->row_cells) +
                     __builtin_ctzll(scale->cell_pages) +
                     __builtin_ctz(scale->page_size);
    unsigned unit = MIN(zeros / 10, G_N_ELEMENTS(units) - 1);
    uint64_t address = row * scale->row_cells * scale->cell_pages *
                       scale->page_size;
    g_autofree char *label = row ? g_strdup_printf("%" PRIu64 " %s",
                                                   address >> (10 * unit),
                                                   units[unit])
                                 : g_strdup("0");

    g_string_append_printf(to, "%*s ", LABEL_COLUMNS, label);
}

void snap_map_draw(GString *to, const SnapMapScale *scale, const GArray *cells,
                   const char *title, const SnapTerminal *terminal)
{
    bool behind = cells->len <= scale->row_cells &&
                  SNAP_MAP_BESIDE_COLUMNS + cells->len + 1 + strlen(title) <=
                      terminal->columns;
    guint at = 0;

    if (!behind) {
        g_string_append_printf(to, "%s\n", title);
    }
    do {
        guint count = MIN(cells->len - at, scale->row_cells);

        draw_label(to, scale, at / scale->row_cells);
        draw_row(to, &g_array_index(cells, SnapMapCell, at), count, terminal);
        if (behind) {
            g_string_append_printf(to, " %s", title);
        }
        g_string_append_c(to, '\n');
        at += count;
    } while (at < cells->len);
}

char *snap_map_describe(const SnapMapScale *scale)
{
    g_autofree char *size = size_format(scale->cell_pages * scale->page_size);

    return g_strdup_printf("one cell = %s (%" PRIu64 " page%s)", size,
                           scale->cell_pages, scale->cell_pages > 1 ? "s" : "");
}

void snap_map_legend(GString *to, const char *const words[SNAP_MAP_MARKS],
                     const SnapTerminal *terminal)
{
    const Glyphs *glyphs = glyphs_for(terminal);
    SnapMapMark mark;

    for (mark = 0; mark < SNAP_MAP_MARKS; mark++) {
        g_string_append_printf(
            to, "    %s%s%s  %s\n", terminal->color ? colors[mark] : "",
            glyphs->legends[mark],
            terminal->color ? colors[SNAP_MAP_BLANK] : "", words[mark]);
    }
}
