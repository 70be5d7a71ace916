/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Two random lists of runs, gone through side by side, beside arrays with an
 * element per page.
 */
#include <check.h>
#include <string.h>

#include "page-pieces.h"
#include "run-suite.h"

#define PAGES 400

/* What a side holds of a page. */
enum {
    ABSENT,
    ZERO,
    FILL_1,
    FILL_2,
    DATA,
    DEFLATED,
    CONTENTS,
};

typedef struct Side {
    uint8_t pages[PAGES];
    GArray *runs; /* NULL: none */
} Side;

static PageRun run_of(int content, uint32_t first, uint32_t count)
{
    PageRun run = { .first = first, .count = count };

    switch (content) {
    case DATA:
        run.kind = MIGRATION_PAGE_DATA;
        break;
    case DEFLATED:
        run.kind = MIGRATION_PAGE_DEFLATED;
        break;
    default:
        run.kind = MIGRATION_PAGE_FILL;
        run.fill = content - ZERO;
    }
    return run;
}

/* Runs of up to @longest pages; some follow one another without a change. */
static void side_fill(Side *side, GRand *random, unsigned longest)
{
    uint32_t page = 0;

    memset(side, 0, sizeof(*side));
    side->runs = g_array_new(FALSE, FALSE, sizeof(PageRun));
    while (page < PAGES) {
        int content = g_rand_int_range(random, 0, CONTENTS);
        uint32_t count = g_rand_int_range(random, 1, longest + 1);
        PageRun run;

        count = MIN(count, PAGES - page);
        run = run_of(content, page, count);
        memset(side->pages + page, content, count);
        if (content != ABSENT) {
            g_array_append_val(side->runs, run);
        }
        page += count;
    }
}

static bool must_read(const Side sides[2], uint64_t page)
{
    return sides[0].pages[page] >= DATA || sides[1].pages[page] >= DATA;
}

static PageVerdict expected_verdict(const Side sides[2], uint64_t page)
{
    uint8_t a = MAX(sides[0].pages[page], ZERO);
    uint8_t b = MAX(sides[1].pages[page], ZERO);

    if (a == b) {
        return a == ZERO ? PAGE_ZERO : PAGE_SAME;
    }
    return a == ZERO ? PAGE_ONLY_B : b == ZERO ? PAGE_ONLY_A : PAGE_CHANGED;
}

static void expect_absent(const Side sides[2], uint64_t page, uint64_t end)
{
    for (; page < end; page++) {
        ck_assert_int_eq(sides[0].pages[page], ABSENT);
        ck_assert_int_eq(sides[1].pages[page], ABSENT);
    }
}

static void expect_known(const Side sides[2], const PagePiece *piece)
{
    for (uint64_t page = piece->first; page < piece->first + piece->count;
         page++) {
        ck_assert(!must_read(sides, page));
        ck_assert_int_eq(piece->verdict, expected_verdict(sides, page));
    }
}

START_TEST(pieces_are_what_both_sides_hold)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(_i);
    Side sides[2];
    PagePieces pieces;
    PagePiece piece;
    uint64_t page = 0;

    side_fill(&sides[0], random, _i % 9 + 1);
    side_fill(&sides[1], random, _i % 4 * 20 + 1);
    pieces = page_pieces_begin(sides[0].runs, sides[1].runs);
    while (page_pieces_next(&pieces, &piece)) {
        ck_assert_uint_ge(piece.first, page);
        ck_assert_uint_gt(piece.count, 0);
        expect_absent(sides, page, piece.first);
        page = piece.first + piece.count;
        ck_assert_uint_le(page, PAGES);
        if (piece.known) {
            expect_known(sides, &piece);
        }
        for (uint64_t i = piece.first; i < page && !piece.known; i++) {
            ck_assert(must_read(sides, i));
        }
    }
    expect_absent(sides, page, PAGES);
    g_array_unref(sides[0].runs);
    g_array_unref(sides[1].runs);
}
END_TEST

/* Neither longer than asked for, nor with more in vain than that. */
static void expect_worth_reading(const Side sides[2], const PagePiece *piece,
                                 uint64_t most, uint64_t gap)
{
    uint64_t vain = 0;

    ck_assert_uint_le(piece->count, most);
    ck_assert(must_read(sides, piece->first));
    for (uint64_t i = 0; i < piece->count; i++) {
        vain = must_read(sides, piece->first + i) ? 0 : vain + 1;
        ck_assert_uint_le(vain, gap);
    }
    ck_assert_uint_eq(vain, 0);
}

START_TEST(reads_are_joined_and_cut)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(_i);
    uint64_t most = _i % 30 + 1;
    uint64_t gap = _i % 7;
    Side sides[2];
    PagePieces pieces;
    PagePiece piece;
    uint64_t page = 0;

    side_fill(&sides[0], random, 6);
    side_fill(&sides[1], random, 11);
    pieces = page_pieces_begin(sides[0].runs, sides[1].runs);
    while (page_pieces_next_read(&pieces, most, gap, &piece)) {
        ck_assert_uint_ge(piece.first, page);
        expect_absent(sides, page, piece.first);
        page = piece.first + piece.count;
        if (piece.known) {
            expect_known(sides, &piece);
            continue;
        }
        expect_worth_reading(sides, &piece, most, gap);
    }
    expect_absent(sides, page, PAGES);
    g_array_unref(sides[0].runs);
    g_array_unref(sides[1].runs);
}
END_TEST

/* Of runs of @count pages each, which begin every @step pages. */
static void expect_reads(uint32_t step, uint32_t count, uint64_t most,
                         uint64_t gap, unsigned expected)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(PageRun));
    PagePieces pieces;
    PagePiece piece;
    unsigned reads = 0;

    for (uint32_t page = 0; page < PAGES; page += step) {
        PageRun run = run_of(DATA, page, count);

        g_array_append_val(runs, run);
    }
    pieces = page_pieces_begin(runs, NULL);
    while (page_pieces_next_read(&pieces, most, gap, &piece)) {
        ck_assert(!piece.known);
        reads++;
    }
    ck_assert_uint_eq(reads, expected);
}

START_TEST(as_few_reads_as_can_be)
{
    expect_reads(10, 10, PAGES, 0, 1);
    expect_reads(10, 10, 100, 0, 4);
    expect_reads(10, 7, PAGES, 2, 40);
    expect_reads(10, 7, PAGES, 3, 1);
    expect_reads(10, 7, 20, 3, 20);
}
END_TEST

START_TEST(nothing_has_no_pieces)
{
    g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(PageRun));
    PagePieces pieces = page_pieces_begin(NULL, none);
    PagePiece piece;

    ck_assert(!page_pieces_next(&pieces, &piece));
    ck_assert(!page_pieces_next_read(&pieces, 8, 1, &piece));
}
END_TEST

/* The last page of the largest block that there can be. */
START_TEST(the_last_page_is_one)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(PageRun));
    PageRun run = run_of(DATA, G_MAXUINT32, 1);
    PagePieces pieces;
    PagePiece piece;

    g_array_append_val(runs, run);
    pieces = page_pieces_begin(runs, runs);
    ck_assert(page_pieces_next_read(&pieces, 8, 1, &piece));
    ck_assert_uint_eq(piece.first, G_MAXUINT32);
    ck_assert_uint_eq(piece.count, 1);
    ck_assert(!page_pieces_next_read(&pieces, 8, 1, &piece));
}
END_TEST

START_TEST(pages_are_compared)
{
    uint8_t zero[64] = { 0 };
    uint8_t first[64] = { 1 };
    uint8_t last[64] = { 0 };

    last[63] = 1;
    ck_assert_int_eq(page_verdict(zero, zero, 64), PAGE_ZERO);
    ck_assert_int_eq(page_verdict(first, first, 64), PAGE_SAME);
    ck_assert_int_eq(page_verdict(first, last, 64), PAGE_CHANGED);
    ck_assert_int_eq(page_verdict(last, zero, 64), PAGE_ONLY_A);
    ck_assert_int_eq(page_verdict(first, zero, 64), PAGE_ONLY_A);
    ck_assert_int_eq(page_verdict(zero, last, 64), PAGE_ONLY_B);
}
END_TEST

static Suite *pieces_suite(void)
{
    Suite *suite = suite_create("page-pieces");
    TCase *tcase = tcase_create("page-pieces");

    tcase_add_loop_test(tcase, pieces_are_what_both_sides_hold, 0, 40);
    tcase_add_loop_test(tcase, reads_are_joined_and_cut, 0, 40);
    tcase_add_test(tcase, as_few_reads_as_can_be);
    tcase_add_test(tcase, nothing_has_no_pieces);
    tcase_add_test(tcase, the_last_page_is_one);
    tcase_add_test(tcase, pages_are_compared);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(pieces_suite());
}
