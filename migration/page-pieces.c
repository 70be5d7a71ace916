/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See page-pieces.h.
 */
#include <string.h>

#include "page-pieces.h"

#define SIDES 2

PagePieces page_pieces_begin(const GArray *a, const GArray *b)
{
    PagePieces pieces = { .runs = { a, b } };

    return pieces;
}

static uint64_t run_end(const PageRun *run)
{
    return (uint64_t)run->first + run->count;
}

/* The first run of @side that ends behind `page', or NULL. */
static const PageRun *find_run(PagePieces *pieces, unsigned side)
{
    const GArray *runs = pieces->runs[side];

    for (; runs && pieces->at[side] < runs->len; pieces->at[side]++) {
        const PageRun *run = &g_array_index(runs, PageRun, pieces->at[side]);

        if (run_end(run) > pieces->page) {
            return run;
        }
    }
    return NULL;
}

/* Is it known what fills the pages of @run? NULL: they are absent. */
static bool known_fill(const PageRun *run, uint8_t *fill)
{
    *fill = run ? run->fill : 0;
    return !run || run->kind == MIGRATION_PAGE_FILL;
}

static PageVerdict compare_fills(uint8_t a, uint8_t b)
{
    if (a == b) {
        return a == 0 ? PAGE_ZERO : PAGE_SAME;
    }
    if (a == 0) {
        return PAGE_ONLY_B;
    }
    return b == 0 ? PAGE_ONLY_A : PAGE_CHANGED;
}

static void judge(const PageRun *const runs[SIDES], PagePiece *piece)
{
    uint8_t a;
    uint8_t b;
    bool known_a = known_fill(runs[0], &a);
    bool known_b = known_fill(runs[1], &b);

    piece->known = known_a && known_b;
    piece->verdict = piece->known ? compare_fills(a, b) : PAGE_SAME;
}

bool page_pieces_next(PagePieces *pieces, PagePiece *piece)
{
    const PageRun *runs[SIDES] = { find_run(pieces, 0), find_run(pieces, 1) };
    uint64_t first = G_MAXUINT64;
    uint64_t end = G_MAXUINT64;
    unsigned side;

    for (side = 0; side < SIDES; side++) {
        if (runs[side]) {
            first = MIN(first, MAX(runs[side]->first, pieces->page));
        }
    }
    if (first == G_MAXUINT64) {
        return false;
    }
    for (side = 0; side < SIDES; side++) {
        if (runs[side] && runs[side]->first > first) {
            end = MIN(end, runs[side]->first);
            runs[side] = NULL;
        } else if (runs[side]) {
            end = MIN(end, run_end(runs[side]));
        }
    }
    judge(runs, piece);
    piece->first = first;
    piece->count = end - first;
    pieces->page = end;
    return true;
}

/*
 * The next piece that has to be read, if no more than @gap pages from @pieces
 * on need not. It goes on behind that piece then.
 */
static bool find_near(PagePieces *pieces, uint64_t gap, PagePiece *piece)
{
    PagePieces ahead = *pieces;
    uint64_t limit = pieces->page + gap;

    while (page_pieces_next(&ahead, piece) && piece->first <= limit) {
        if (!piece->known) {
            *pieces = ahead;
            return true;
        }
    }
    return false;
}

bool page_pieces_next_read(PagePieces *pieces, uint64_t most, uint64_t gap,
                           PagePiece *piece)
{
    uint64_t limit;
    uint64_t end;

    if (!page_pieces_next(pieces, piece)) {
        return false;
    }
    if (piece->known) {
        return true;
    }
    limit = piece->first + most;
    end = piece->first + piece->count;
    while (end < limit) {
        PagePieces ahead = *pieces;
        PagePiece next;

        if (!find_near(&ahead, gap, &next) || next.first >= limit) {
            break;
        }
        *pieces = ahead;
        end = next.first + next.count;
    }
    piece->count = MIN(end, limit) - piece->first;
    pieces->page = piece->first + piece->count;
    return true;
}

static bool is_zero(const uint8_t *page, size_t page_size)
{
    return page[0] == 0 && !memcmp(page, page + 1, page_size - 1);
}

PageVerdict page_verdict(const uint8_t *a, const uint8_t *b, size_t page_size)
{
    if (!memcmp(a, b, page_size)) {
        return is_zero(a, page_size) ? PAGE_ZERO : PAGE_SAME;
    }
    if (is_zero(a, page_size)) {
        return PAGE_ONLY_B;
    }
    return is_zero(b, page_size) ? PAGE_ONLY_A : PAGE_CHANGED;
}
