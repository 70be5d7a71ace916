/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What every unit test's main() ends with.
 */
#ifndef RUN_SUITE_H
#define RUN_SUITE_H

#include <check.h>

/* Run @suite, print what came of it, and return the exit status for it. */
int run_suite(Suite *suite);

#endif /* RUN_SUITE_H */
