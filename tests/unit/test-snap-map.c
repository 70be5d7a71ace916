/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What is in the cells of a map, beside an array with an element per page, and
 * how cells are drawn.
 */
#include <check.h>
#include <string.h>

#include "run-suite.h"
#include "snap-map.h"

#define PAGE 4096
#define MIB  (UINT64_C(1) << 20)
#define EIB  (UINT64_C(1) << 60)

/* As many cells as @blocks of @pages each get in @columns. */
static SnapMapScale scale_of(uint64_t pages, unsigned blocks, unsigned columns)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (unsigned i = 0; i < blocks; i++) {
        g_array_append_val(list, pages);
    }
    return snap_map_scale(list, PAGE, columns);
}

START_TEST(rows_fill_the_columns_but_not_the_screen)
{
    static const struct {
        uint64_t pages;
        unsigned columns;
        uint64_t cell_pages;
        unsigned row_cells;
    } cases[] = {
        { 0, 80, 1, 64 },
        { 1, 80, 1, 64 },
        { 64 * 13, 80, 1, 64 },
        { 64 * 13 + 1, 80, 2, 64 },
        { 128 * MIB / PAGE, 80, 64, 64 },
        { 128 * MIB / PAGE, 120, 32, 96 },
        { 128 * MIB / PAGE, 10000, 16, 256 },
        { 128 * MIB / PAGE, 1, 256, 16 },
        { EIB / PAGE, 80, EIB / PAGE / 512, 64 },
        { 15 * EIB / PAGE, 80, EIB / PAGE / 32, 64 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        SnapMapScale scale = scale_of(cases[i].pages, 1, cases[i].columns);

        ck_assert_uint_eq(scale.cell_pages, cases[i].cell_pages);
        ck_assert_uint_eq(scale.row_cells, cases[i].row_cells);
    }
}
END_TEST

START_TEST(many_large_blocks_have_a_row_each)
{
    SnapMapScale scale = scale_of(EIB / PAGE, 10000, 80);
    g_autoptr(GArray) cells = snap_map_cells(&scale, EIB / PAGE);

    ck_assert_uint_eq(cells->len, 64);
}
END_TEST

/* Runs of all lengths, at all places, and beyond the end. */
START_TEST(cells_add_up)
{
    uint64_t pages = 64 * 13 + 5;
    SnapMapScale scale = scale_of(pages, 1, 80);
    g_autoptr(GArray) cells = snap_map_cells(&scale, pages);
    g_autofree uint8_t *model = g_malloc0(pages);
    uint64_t at = 0;

    memset(model, SNAP_MAP_BLANK, pages);
    for (unsigned i = 0; at < pages + 10; i++) {
        uint64_t count = i % 11 + 1;

        snap_map_mark(&scale, cells, at, count, i % SNAP_MAP_MARKS);
        for (uint64_t page = at; page < MIN(at + count, pages); page++) {
            model[page] = i % SNAP_MAP_MARKS;
        }
        at += count;
    }
    snap_map_mark(&scale, cells, UINT64_MAX - 5, 5, SNAP_MAP_SOLID);
    at = 0;
    for (unsigned i = 0; i < cells->len; i++) {
        const SnapMapCell *cell = &g_array_index(cells, SnapMapCell, i);
        uint64_t expected[SNAP_MAP_MARKS] = { 0 };

        ck_assert_uint_eq(cell->pages, MIN(scale.cell_pages, pages - at));
        for (uint64_t page = at; page < at + cell->pages; page++) {
            expected[model[page]]++;
        }
        ck_assert_mem_eq(cell->marked, expected, sizeof(cell->marked));
        at += cell->pages;
    }
    ck_assert_uint_eq(at, pages);
}
END_TEST

START_TEST(what_is_behind_the_end_is_left_out)
{
    SnapMapScale scale = {
        .page_size = PAGE,
        .cell_pages = 8,
        .row_cells = 16,
    };
    g_autoptr(GArray) cells = snap_map_cells(&scale, 21);

    snap_map_mark(&scale, cells, 7, 100, SNAP_MAP_SHADED);
    snap_map_mark(&scale, cells, 22, 1, SNAP_MAP_SOLID);
    ck_assert_uint_eq(cells->len, 3);
    for (unsigned i = 0; i < 3; i++) {
        static const unsigned expected[] = { 1, 8, 5 };
        const SnapMapCell *cell = &g_array_index(cells, SnapMapCell, i);

        ck_assert_uint_eq(cell->marked[SNAP_MAP_SHADED], expected[i]);
        ck_assert_uint_eq(cell->marked[SNAP_MAP_SOLID], 0);
    }
}
END_TEST

static const SnapTerminal ascii = { .columns = 29 };
static const SnapTerminal unicode = { .columns = 29, .unicode = true };
static const SnapTerminal colors = { .columns = 29, .color = true };

/* A block of @pages, of which the first ones are marked as in @marks. */
static void expect_drawn(uint64_t cell_pages, const char *marks, uint64_t pages,
                         const SnapTerminal *terminal, const char *expected)
{
    SnapMapScale scale = {
        .page_size = PAGE,
        .cell_pages = cell_pages,
        .row_cells = 16,
    };
    g_autoptr(GArray) cells = snap_map_cells(&scale, pages);
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; marks[i]; i++) {
        SnapMapMark mark = marks[i] == 's'   ? SNAP_MAP_SOLID
                           : marks[i] == 'h' ? SNAP_MAP_SHADED
                           : marks[i] == 'd' ? SNAP_MAP_DOTTED
                                             : SNAP_MAP_BLANK;

        snap_map_mark(&scale, cells, i, 1, mark);
    }
    snap_map_draw(text, &scale, cells, "title", terminal);
    ck_assert_str_eq(text->str, expected);
}

START_TEST(a_cell_shows_what_counts_most)
{
    /* Anything of a cell is seen, and all of it looks like nothing else. */
    expect_drawn(1, "shd ", 5, &ascii, "         0 |#@.  | title\n");
    expect_drawn(1, "shd ", 5, &unicode, "         0 │█▓·  │ title\n");
    expect_drawn(4,
                 "d   "
                 "sddd"
                 "ss  "
                 "sssd"
                 "ssss"
                 "hddd"
                 "hhhh"
                 "hss",
                 31, &ascii, "         0 |.-+*#o@#| title\n");
    expect_drawn(8,
                 "sddddddd"
                 "ssdddddd"
                 "sssdddddd",
                 24, &unicode, "         0 │▁▂▃│ title\n");
    expect_drawn(8,
                 "sssss   "
                 "sssssss "
                 "hhhhh  s"
                 "hsh    ",
                 32, &unicode, "         0 │▅▇▒░│ title\n");
    /* The last cell may be of fewer pages. */
    expect_drawn(8, "sssssssss", 9, &ascii, "         0 |##| title\n");
    expect_drawn(8, "", 0, &ascii, "         0 || title\n");
}
END_TEST

START_TEST(rows_have_round_addresses)
{
    expect_drawn(1, "s", 17, &ascii,
                 "title\n"
                 "         0 |#               |\n"
                 "    64 KiB | |\n");
    expect_drawn(1024, "s", 16 * 1024 * 3, &ascii,
                 "title\n"
                 "         0 |-               |\n"
                 "    64 MiB |                |\n"
                 "   128 MiB |                |\n");
    /* No room behind it. */
    expect_drawn(1, "", 11, &ascii, "title\n         0 |           |\n");
    expect_drawn(1, "", 10, &ascii, "         0 |          | title\n");
}
END_TEST

START_TEST(colors_end_with_the_row)
{
    expect_drawn(1, "ssd hs", 6, &colors,
                 "         0 |\x1b[36m##\x1b[90m.\x1b[0m \x1b[33m@"
                 "\x1b[36m#\x1b[0m| title\n");
    expect_drawn(1, "  ", 2, &colors, "         0 |  | title\n");
}
END_TEST

START_TEST(scale_and_legend_are_told)
{
    static const char *const words[] = { "one", "two", "three", "four" };
    SnapMapScale scale = { .page_size = PAGE, .cell_pages = 64 };
    g_autofree char *many = snap_map_describe(&scale);
    g_autofree char *one = NULL;
    g_autoptr(GString) text = g_string_new(NULL);

    scale.cell_pages = 1;
    one = snap_map_describe(&scale);
    ck_assert_str_eq(many, "one cell = 256 KiB (64 pages)");
    ck_assert_str_eq(one, "one cell = 4 KiB (1 page)");
    snap_map_legend(text, words, &ascii);
    ck_assert_str_eq(text->str, "    - + * #  one\n"
                                "    o @      two\n"
                                "    .        three\n"
                                "    blank    four\n");
    g_string_truncate(text, 0);
    snap_map_legend(text, words, &colors);
    ck_assert_ptr_nonnull(strstr(text->str, "\x1b[33mo @    \x1b[0m  two\n"));
}
END_TEST

static Suite *map_suite(void)
{
    Suite *suite = suite_create("snap-map");
    TCase *tcase = tcase_create("snap-map");

    tcase_add_test(tcase, rows_fill_the_columns_but_not_the_screen);
    tcase_add_test(tcase, many_large_blocks_have_a_row_each);
    tcase_add_test(tcase, cells_add_up);
    tcase_add_test(tcase, what_is_behind_the_end_is_left_out);
    tcase_add_test(tcase, a_cell_shows_what_counts_most);
    tcase_add_test(tcase, rows_have_round_addresses);
    tcase_add_test(tcase, colors_end_with_the_row);
    tcase_add_test(tcase, scale_and_legend_are_told);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(map_suite());
}
