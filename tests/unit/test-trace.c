/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which events a trace shows, and where.
 */
#include <check.h>
#include <glib.h>

#include "run-suite.h"
#include "scratch.h"
#include "snap-error.h"
#include "trace.h"

static const struct {
    const char *spec; /* without the file */
    const char *shown;
} specs[] = {
    { "", "a_one x=1\na_two 2\nb_one\n" },
    { "enable=*,", "a_one x=1\na_two 2\nb_one\n" },
    { "*,", "a_one x=1\na_two 2\nb_one\n" },
    { "a_*,", "a_one x=1\na_two 2\n" },
    { "enable=?_one,", "a_one x=1\nb_one\n" },
    { "a_one,", "a_one x=1\n" },
    { "nothing,", "" },
    { "a_two,b_one,", "b_one\n" },
};

static void show_all(Trace *trace)
{
    trace_event(trace, "a_one", "x=%d", 1);
    trace_event(trace, "a_two", "%s", "2");
    trace_event(trace, "b_one", "%s", "");
}

START_TEST(pattern_decides)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_path(scratch, "trace");
    g_autofree char *spec = g_strdup_printf("%sfile=%s", specs[_i].spec, path);
    g_autofree char *shown = NULL;
    Trace *trace = trace_new(spec, NULL);

    ck_assert_ptr_nonnull(trace);
    show_all(trace);
    /* At once, and not when somebody gets round to it. */
    ck_assert(g_file_get_contents(path, &shown, NULL, NULL));
    ck_assert_str_eq(shown, specs[_i].shown);
    trace_free(trace);
    scratch_free(scratch);
}
END_TEST

START_TEST(file_is_appended_to)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "trace", "before\n", 7);
    g_autofree char *spec = g_strdup_printf("file=%s,enable=b*", path);
    g_autofree char *shown = NULL;
    Trace *trace = trace_new(spec, NULL);

    show_all(trace);
    trace_free(trace);
    ck_assert(g_file_get_contents(path, &shown, NULL, NULL));
    ck_assert_str_eq(shown, "before\nb_one\n");
    scratch_free(scratch);
}
END_TEST

START_TEST(nobody_listens)
{
    show_all(NULL);
    trace_free(NULL);
}
END_TEST

START_TEST(impossible_specs_are_refused)
{
    g_autoptr(GError) invalid = NULL;
    g_autoptr(GError) bytes = NULL;
    g_autoptr(GError) io = NULL;

    ck_assert_ptr_null(trace_new("events=x", &invalid));
    ck_assert(g_error_matches(invalid, SNAP_ERROR, SNAP_ERROR_INVALID));
    ck_assert_ptr_null(trace_new("?55\xdc", &bytes));
    ck_assert(g_error_matches(bytes, SNAP_ERROR, SNAP_ERROR_INVALID));
    ck_assert_ptr_null(trace_new("*,file=/nowhere/trace", &io));
    ck_assert(g_error_matches(io, SNAP_ERROR, SNAP_ERROR_IO) ||
              g_error_matches(io, SNAP_ERROR, SNAP_ERROR_NOT_FOUND));
    ck_assert_ptr_nonnull(g_strstr_len(io->message, -1, "/nowhere/trace"));
}
END_TEST

static Suite *trace_suite(void)
{
    Suite *suite = suite_create("trace");
    TCase *tcase = tcase_create("trace");

    tcase_add_loop_test(tcase, pattern_decides, 0, G_N_ELEMENTS(specs));
    tcase_add_test(tcase, file_is_appended_to);
    tcase_add_test(tcase, nobody_listens);
    tcase_add_test(tcase, impossible_specs_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(trace_suite());
}
