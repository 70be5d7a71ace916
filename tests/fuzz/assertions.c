/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The fixtures of the unit tests assert with Check, which can only do that
 * while it runs a test. Here it is not linked: this is what an assertion does.
 */
#include <check.h>

#include "fuzz.h"

void _mark_point(const char *file, int line)
{
}

void _ck_assert_failed(const char *file, int line, const char *expression,
                       const char *message, ...)
{
    fuzz_broken(expression, "%s:%d", file, line);
}
