/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The picture of what a VM state holds of the RAM.
 */
#include <stdio.h>

#include "printable.h"
#include "size.h"
#include "snap-error.h"
#include "snap-map.h"
#include "snap-state.h"

static const char *const words[SNAP_MAP_MARKS] = {
    [SNAP_MAP_SOLID] = "data: in one page of the cell, up to all of them",
    [SNAP_MAP_SHADED] = "filled with another byte than 0",
    [SNAP_MAP_DOTTED] = "zeros",
    [SNAP_MAP_BLANK] = "absent from the stream",
};

static SnapMapMark mark_for(const PageRun *run)
{
    if (run->kind != MIGRATION_PAGE_FILL) {
        return SNAP_MAP_SOLID;
    }
    return run->fill == 0 ? SNAP_MAP_DOTTED : SNAP_MAP_SHADED;
}

static void draw_block(GString *to, const SnapMapScale *scale,
                       const PageMap *map, const MigrationBlock *block,
                       const SnapTerminal *terminal)
{
    const GArray *runs = page_map_runs(map, block);
    g_autoptr(GArray)
        cells = snap_map_cells(scale, block->bytes / scale->page_size);
    g_autofree char *name = printable(block->name);
    g_autofree char *size = size_format(block->bytes);
    g_autofree char *title = g_strdup_printf("%s, %s", name, size);
    guint i;

    for (i = 0; runs && i < runs->len; i++) {
        const PageRun *run = &g_array_index(runs, PageRun, i);

        snap_map_mark(scale, cells, run->first, run->count, mark_for(run));
    }
    snap_map_draw(to, scale, cells, title, terminal);
}

static SnapMapScale scale_for(const MigrationInfo *info, unsigned columns)
{
    g_autoptr(GArray) pages = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);
        uint64_t count = block->bytes / info->page_size;

        g_array_append_val(pages, count);
    }
    return snap_map_scale(pages, info->page_size, columns);
}

static void print_legend(const SnapTerminal *terminal)
{
    g_autoptr(GString) text = g_string_new("\n");

    snap_map_legend(text, words, terminal);
    fputs(text->str, stdout);
}

bool snap_state_print_map(const SnapOptions *options, const SnapState *state,
                          GError **errp)
{
    const MigrationInfo *info = stream_index_info(state->index);
    const PageMap *map = stream_index_pages(state->index);
    SnapTerminal terminal = snap_terminal(options->color);
    g_autofree char *what = NULL;
    SnapMapScale scale;
    guint i;

    if (!map || !info->page_size) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "where the pages are in the stream is not known");
        return false;
    }
    scale = scale_for(info, terminal.columns);
    what = snap_map_describe(&scale);
    printf("\nRAM, %s:\n", what);
    for (i = 0; i < info->blocks->len; i++) {
        g_autoptr(GString) text = g_string_new(NULL);

        draw_block(text, &scale, map, g_ptr_array_index(info->blocks, i),
                   &terminal);
        fputs(text->str, stdout);
    }
    print_legend(&terminal);
    return true;
}
