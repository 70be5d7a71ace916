/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The depth that follows the device, on imagined devices with a clock of their
 * own.
 */
#include <check.h>

#include "run-suite.h"
#include "snap-depth.h"

#define REQUEST_BYTES (1024 * 1024)
#define REQUESTS      4000

/* A device whose requests take as long as the depth makes them take. */
typedef double RateFunc(unsigned depth); /* bytes per microsecond */

/* As much at once as one likes, each after a millisecond. */
static double rate_of_latency(unsigned depth)
{
    return depth * REQUEST_BYTES / 1000.0;
}

/* One GB/s, which a single request gets already. */
static double rate_of_bandwidth(unsigned depth)
{
    return 1000;
}

/* Twelve requests are as many as it can do at once. */
static double rate_of_both(unsigned depth)
{
    return (depth < 12 ? depth : 12) * 100;
}

/* The depth after a transfer; *@highest is the highest on the way. */
static unsigned transfer(SnapDepth depth, RateFunc *rate, unsigned waits_of_10,
                         unsigned *highest)
{
    double now = 1000;

    *highest = depth.now;
    for (unsigned i = 0; i < REQUESTS; i++) {
        snap_depth_note(&depth, REQUEST_BYTES, i % 10 < waits_of_10,
                        (int64_t)now);
        now += REQUEST_BYTES / rate(depth.now);
        if (depth.now > *highest) {
            *highest = depth.now;
        }
    }
    return depth.now;
}

START_TEST(grows_while_it_helps)
{
    unsigned highest;

    ck_assert_uint_eq(
        transfer(snap_depth_init(8, 32), rate_of_latency, 10, &highest), 32);
    ck_assert_uint_eq(
        transfer(snap_depth_init(3, 32), rate_of_latency, 10, &highest), 32);
    ck_assert_uint_eq(highest, 32);
}
END_TEST

START_TEST(goes_back_when_it_does_not)
{
    unsigned highest;

    ck_assert_uint_eq(
        transfer(snap_depth_init(8, 32), rate_of_bandwidth, 10, &highest), 8);
    ck_assert_uint_eq(highest, 16);
    ck_assert_uint_eq(
        transfer(snap_depth_init(4, 32), rate_of_both, 10, &highest), 16);
    ck_assert_uint_eq(highest, 32);
}
END_TEST

/* The pipe or the guest is the limit: more requests would only wait. */
START_TEST(stays_when_the_device_is_not_the_limit)
{
    unsigned highest;

    ck_assert_uint_eq(
        transfer(snap_depth_init(8, 32), rate_of_latency, 0, &highest), 8);
    ck_assert_uint_eq(
        transfer(snap_depth_init(8, 32), rate_of_latency, 4, &highest), 8);
    ck_assert_uint_eq(highest, 8);
}
END_TEST

START_TEST(fixed_is_fixed)
{
    unsigned highest;

    ck_assert_uint_eq(
        transfer(snap_depth_init(1, 1), rate_of_latency, 10, &highest), 1);
    ck_assert_uint_eq(
        transfer(snap_depth_init(32, 32), rate_of_latency, 10, &highest), 32);
    ck_assert_uint_eq(highest, 32);
}
END_TEST

/* Requests that come together and a clock that stands still decide nothing. */
START_TEST(needs_time_to_measure)
{
    SnapDepth depth = snap_depth_init(8, 32);

    for (unsigned i = 0; i < REQUESTS; i++) {
        snap_depth_note(&depth, REQUEST_BYTES, true, 1000);
    }
    ck_assert_uint_eq(depth.now, 8);
    /* Nor does time in which next to nothing was asked for. */
    depth = snap_depth_init(8, 32);
    for (unsigned i = 0; i < 60; i++) {
        snap_depth_note(&depth, REQUEST_BYTES, true, 1000 + i * 1000 * 1000);
    }
    ck_assert_uint_eq(depth.now, 8);
}
END_TEST

static Suite *snap_depth_suite(void)
{
    Suite *suite = suite_create("snap-depth");
    TCase *tcase = tcase_create("snap-depth");

    tcase_add_test(tcase, grows_while_it_helps);
    tcase_add_test(tcase, goes_back_when_it_does_not);
    tcase_add_test(tcase, stays_when_the_device_is_not_the_limit);
    tcase_add_test(tcase, fixed_is_fixed);
    tcase_add_test(tcase, needs_time_to_measure);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snap_depth_suite());
}
