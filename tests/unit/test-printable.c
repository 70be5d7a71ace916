/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Names from an image, printed: nothing in them reaches the terminal as a
 * command, and everything else is left alone.
 */
#include <check.h>
#include <glib.h>

#include "printable.h"
#include "run-suite.h"

static const struct {
    const char *text;
    const char *printed;
} texts[] = {
    { "", "" },
    { "before-upgrade", "before-upgrade" },
    { "a name, with 'quotes' and \\", "a name, with 'quotes' and \\" },
    { "gr\xc3\xbc\xc3\x9f dich", "gr\xc3\xbc\xc3\x9f dich" },
    { "\xe2\x82\xac\xf0\x9f\x90\xa7", "\xe2\x82\xac\xf0\x9f\x90\xa7" },
    { "two\nlines\r", "two\\x0alines\\x0d" },
    { "\x1b[31mred\x07\x7f", "\\x1b[31mred\\x07\\x7f" },
    /* The second set of control characters, its neighbours, and a torn one. */
    { "\xc2\x9b"
      "31m",
      "\\xc2\\x9b31m" },
    { "\xc2\x80\xc2\x9f", "\\xc2\\x80\\xc2\\x9f" },
    { "\xc2\xa0\xc3\x80", "\xc2\xa0\xc3\x80" },
    { "\xc2", "\xc2" },
};

START_TEST(texts_are_printed)
{
    g_autofree char *printed = printable(texts[_i].text);

    ck_assert_str_eq(printed, texts[_i].printed);
}
END_TEST

START_TEST(json_means_the_same)
{
    g_autofree char *printed = printable_json(
        "{ \"a\" : \"\xc2\x9b\x7f\\u001b\xc2\xa0\xc3\x9f\xc2\x80\"\n}");

    ck_assert_str_eq(printed,
                     "{ \"a\" : \"\\u009b\\u007f\\u001b\xc2\xa0\xc3\x9f"
                     "\\u0080\"\n}");
}
END_TEST

static Suite *printable_suite(void)
{
    Suite *suite = suite_create("printable");
    TCase *tcase = tcase_create("printable");

    tcase_add_loop_test(tcase, texts_are_printed, 0, G_N_ELEMENTS(texts));
    tcase_add_test(tcase, json_means_the_same);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(printable_suite());
}
