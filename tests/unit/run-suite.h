/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What every unit test's main() ends with.
 */
#ifndef RUN_SUITE_H
#define RUN_SUITE_H

#include <check.h>

/*
 * For inner loops. Each of Check's own assertions writes to a file where the
 * test has come to: a system call, hundreds of thousands of them take seconds.
 */
#define assert_often(condition)                           \
    do {                                                  \
        if (!(condition)) {                               \
            ck_abort_msg("'%s' is not true", #condition); \
        }                                                 \
    } while (0)

/* Run @suite, print what came of it, and return the exit status for it. */
int run_suite(Suite *suite);

#endif /* RUN_SUITE_H */
