/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The map of references against a plain array.
 */
#include <check.h>

#include "../../qcow2/reference-map.h"
#include "run-suite.h"

#define CLUSTERS 200000

START_TEST(is_like_an_array)
{
    g_autoptr(Qcow2ReferenceMap) map = qcow2_reference_map_new(CLUSTERS);
    g_autofree uint64_t *array = g_new0(uint64_t, CLUSTERS);
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    uint64_t next;
    unsigned i;

    for (i = 0; i < 2000; i++) {
        uint64_t at = g_rand_int_range(random, 0, CLUSTERS);
        uint64_t value = g_rand_int(random) % 300;

        if (i % 3 == 0) {
            value = UINT64_MAX - i;
        }
        array[at] = value;
        ck_assert(qcow2_reference_map_set(map, at, value));
    }
    next = qcow2_reference_map_next(map, 0);
    for (i = 0; i < CLUSTERS; i++) {
        ck_assert_uint_eq(qcow2_reference_map_get(map, i), array[i]);
        if (array[i]) {
            ck_assert_uint_eq(next, i);
            next = qcow2_reference_map_next(map, i + 1);
        }
    }
    ck_assert_uint_eq(next, QCOW2_NO_CLUSTER);
}
END_TEST

START_TEST(is_zero_outside)
{
    g_autoptr(Qcow2ReferenceMap) map = qcow2_reference_map_new(3);
    g_autoptr(Qcow2ReferenceMap) none = qcow2_reference_map_new(0);

    ck_assert(qcow2_reference_map_set(map, 2, 1));
    ck_assert_uint_eq(qcow2_reference_map_get(map, 3), 0);
    ck_assert_uint_eq(qcow2_reference_map_get(map, UINT64_MAX), 0);
    ck_assert_uint_eq(qcow2_reference_map_next(map, 3), QCOW2_NO_CLUSTER);
    ck_assert_uint_eq(qcow2_reference_map_next(none, 0), QCOW2_NO_CLUSTER);
}
END_TEST

/* Two billion clusters, the most there can be, in little time and memory. */
START_TEST(holds_the_largest_file)
{
    uint64_t last = QCOW2_REFERENCE_MAP_MAX_CLUSTERS;
    g_autoptr(Qcow2ReferenceMap) map = qcow2_reference_map_new(last + 1);

    ck_assert(qcow2_reference_map_set(map, last, 256));
    ck_assert_uint_eq(qcow2_reference_map_next(map, 0), last);
    ck_assert_uint_eq(qcow2_reference_map_get(map, last), 256);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-reference-map");
    TCase *tests = tcase_create("reference-map");

    tcase_add_test(tests, is_like_an_array);
    tcase_add_test(tests, is_zero_outside);
    tcase_add_test(tests, holds_the_largest_file);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
