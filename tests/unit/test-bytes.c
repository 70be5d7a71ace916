/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Big-endian numbers at any alignment, and arithmetic at the edge of what 64
 * bits hold: all that is known of numbers from an image passes through these.
 */
#include <check.h>
#include <glib.h>

#include "bytes.h"
#include "checked.h"
#include "run-suite.h"

/* Neighbours that must not be touched lie around each number. */
#define GUARD 0xee

START_TEST(loads_big_endian)
{
    static const uint8_t bytes[] = { GUARD, 0x81, 0x02, 0x93, 0x04,
                                     0xa5,  0x06, 0xb7, 0x08, GUARD };

    ck_assert_uint_eq(load_be16(bytes + 1), 0x8102);
    ck_assert_uint_eq(load_be32(bytes + 1), 0x81029304);
    ck_assert_uint_eq(load_be64(bytes + 1), 0x81029304a506b708);
    ck_assert_uint_eq(load_be16(bytes + 2), 0x0293);
    ck_assert_uint_eq(load_be32(bytes + 2), 0x029304a5);
    ck_assert_uint_eq(load_be64(bytes + 2), 0x029304a506b708ee);
}
END_TEST

static void assert_stored(const uint8_t *bytes, const uint8_t *expected,
                          size_t size)
{
    ck_assert_uint_eq(bytes[0], GUARD);
    ck_assert_mem_eq(bytes + 1, expected, size);
    ck_assert_uint_eq(bytes[1 + size], GUARD);
}

START_TEST(stores_big_endian)
{
    static const uint8_t expected[] = { 0x81, 0x02, 0x93, 0x04,
                                        0xa5, 0x06, 0xb7, 0x08 };
    uint8_t bytes[10];

    memset(bytes, GUARD, sizeof(bytes));
    store_be16(bytes + 1, 0x8102);
    assert_stored(bytes, expected, 2);
    memset(bytes, GUARD, sizeof(bytes));
    store_be32(bytes + 1, 0x81029304);
    assert_stored(bytes, expected, 4);
    memset(bytes, GUARD, sizeof(bytes));
    store_be64(bytes + 1, 0x81029304a506b708);
    assert_stored(bytes, expected, 8);
}
END_TEST

START_TEST(loads_what_was_stored)
{
    static const uint64_t values[] = { 0,          1,          0x7f,
                                       0x80,       0xff,       0x100,
                                       0x7fff,     0x8000,     UINT16_MAX,
                                       INT32_MAX,  0x80000000, UINT32_MAX,
                                       1ULL << 32, INT64_MAX,  UINT64_MAX };
    uint8_t bytes[16];

    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        for (unsigned offset = 0; offset < 8; offset++) {
            store_be64(bytes + offset, values[i]);
            ck_assert_uint_eq(load_be64(bytes + offset), values[i]);
            store_be32(bytes + offset, values[i]);
            ck_assert_uint_eq(load_be32(bytes + offset), (uint32_t)values[i]);
            store_be16(bytes + offset, values[i]);
            ck_assert_uint_eq(load_be16(bytes + offset), (uint16_t)values[i]);
        }
    }
}
END_TEST

START_TEST(sums)
{
    static const struct {
        uint64_t a;
        uint64_t b;
        bool fits;
    } cases[] = {
        { 0, 0, true },
        { 1, 2, true },
        { UINT64_MAX, 0, true },
        { UINT64_MAX - 1, 1, true },
        { INT64_MAX, INT64_MAX, true },
        { UINT64_MAX, 1, false },
        { UINT64_MAX, UINT64_MAX, false },
        { 1ULL << 63, 1ULL << 63, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t result = 42;
        uint64_t expected = cases[i].fits ? cases[i].a + cases[i].b : 42;

        ck_assert(checked_add(cases[i].a, cases[i].b, &result) ==
                  cases[i].fits);
        ck_assert_uint_eq(result, expected);
        ck_assert(checked_add(cases[i].b, cases[i].a, &result) ==
                  cases[i].fits);
        ck_assert_uint_eq(result, expected);
    }
}
END_TEST

START_TEST(products)
{
    static const struct {
        uint64_t a;
        uint64_t b;
        bool fits;
    } cases[] = {
        { 0, 0, true },
        { 0, UINT64_MAX, true },
        { 1, UINT64_MAX, true },
        { 7, 6, true },
        { UINT32_MAX, UINT32_MAX, true },
        { 1ULL << 31, 1ULL << 32, true },
        { UINT64_MAX / 3, 3, true },
        { 1ULL << 32, 1ULL << 32, false },
        { UINT64_MAX, 2, false },
        { UINT64_MAX / 3 + 1, 3, false },
        { UINT64_MAX, UINT64_MAX, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t result = 42;
        uint64_t expected = cases[i].fits ? cases[i].a * cases[i].b : 42;

        ck_assert(checked_mul(cases[i].a, cases[i].b, &result) ==
                  cases[i].fits);
        ck_assert_uint_eq(result, expected);
        ck_assert(checked_mul(cases[i].b, cases[i].a, &result) ==
                  cases[i].fits);
        ck_assert_uint_eq(result, expected);
    }
}
END_TEST

/* The result may be one of the operands. */
START_TEST(results_in_place)
{
    uint64_t value = 5;

    ck_assert(checked_add(value, value, &value));
    ck_assert_uint_eq(value, 10);
    ck_assert(checked_mul(value, value, &value));
    ck_assert_uint_eq(value, 100);
    ck_assert(!checked_mul(value, UINT64_MAX, &value));
    ck_assert(!checked_add(UINT64_MAX, value, &value));
    ck_assert_uint_eq(value, 100);
}
END_TEST

START_TEST(ranges)
{
    ck_assert(range_within(0, 0, 0));
    ck_assert(range_within(0, 10, 10));
    ck_assert(range_within(10, 0, 10));
    ck_assert(range_within(3, 7, 10));
    ck_assert(range_within(0, UINT64_MAX, UINT64_MAX));
    ck_assert(range_within(UINT64_MAX, 0, UINT64_MAX));
    ck_assert(range_within(UINT64_MAX - 1, 1, UINT64_MAX));
    ck_assert(!range_within(0, 1, 0));
    ck_assert(!range_within(1, 0, 0));
    ck_assert(!range_within(0, 11, 10));
    ck_assert(!range_within(11, 0, 10));
    ck_assert(!range_within(4, 7, 10));
    /* Their sum would be small again. */
    ck_assert(!range_within(UINT64_MAX, 2, 10));
    ck_assert(!range_within(2, UINT64_MAX, 10));
    ck_assert(!range_within(UINT64_MAX, UINT64_MAX, UINT64_MAX));
}
END_TEST

START_TEST(division)
{
    ck_assert_uint_eq(div_round_up(0, 512), 0);
    ck_assert_uint_eq(div_round_up(1, 512), 1);
    ck_assert_uint_eq(div_round_up(511, 512), 1);
    ck_assert_uint_eq(div_round_up(512, 512), 1);
    ck_assert_uint_eq(div_round_up(513, 512), 2);
    ck_assert_uint_eq(div_round_up(10, 3), 4);
    ck_assert_uint_eq(div_round_up(9, 3), 3);
    ck_assert_uint_eq(div_round_up(UINT64_MAX, 1), UINT64_MAX);
    ck_assert_uint_eq(div_round_up(UINT64_MAX, 2), 1ULL << 63);
    ck_assert_uint_eq(div_round_up(UINT64_MAX, UINT64_MAX), 1);
    ck_assert_uint_eq(div_round_up(1, UINT64_MAX), 1);
}
END_TEST

START_TEST(alignment)
{
    ck_assert_uint_eq(round_down(0, 512), 0);
    ck_assert_uint_eq(round_down(511, 512), 0);
    ck_assert_uint_eq(round_down(512, 512), 512);
    ck_assert_uint_eq(round_down(1023, 512), 512);
    ck_assert_uint_eq(round_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
    ck_assert_uint_eq(round_down(UINT64_MAX, 1), UINT64_MAX);
    ck_assert_uint_eq(round_up(0, 512), 0);
    ck_assert_uint_eq(round_up(1, 512), 512);
    ck_assert_uint_eq(round_up(512, 512), 512);
    ck_assert_uint_eq(round_up(513, 512), 1024);
    ck_assert_uint_eq(round_up(77, 1), 77);
    ck_assert_uint_eq(round_up(UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
    ck_assert_uint_eq(round_up(UINT64_MAX, 1), UINT64_MAX);
    ck_assert_uint_eq(round_up(1, 1ULL << 63), 1ULL << 63);
    ck_assert(is_aligned(0, 4096));
    ck_assert(is_aligned(8192, 4096));
    ck_assert(!is_aligned(8191, 4096));
    ck_assert(!is_aligned(2048, 4096));
    ck_assert(is_aligned(UINT64_MAX, 1));
    ck_assert(!is_aligned(UINT64_MAX, 2));
    ck_assert(is_aligned(1ULL << 63, 1ULL << 63));
}
END_TEST

static Suite *bytes_suite(void)
{
    Suite *suite = suite_create("bytes");
    TCase *tcase = tcase_create("bytes");

    tcase_add_test(tcase, loads_big_endian);
    tcase_add_test(tcase, stores_big_endian);
    tcase_add_test(tcase, loads_what_was_stored);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("checked");
    tcase_add_test(tcase, sums);
    tcase_add_test(tcase, products);
    tcase_add_test(tcase, results_in_place);
    tcase_add_test(tcase, ranges);
    tcase_add_test(tcase, division);
    tcase_add_test(tcase, alignment);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(bytes_suite());
}
