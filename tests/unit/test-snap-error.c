/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * From a negative errno to the class of a failure and its text.
 */
#include <check.h>
#include <errno.h>

#include "run-suite.h"
#include "snap-error.h"

static const struct {
    int error;
    SnapError code;
} classes[] = {
    { -ENOSPC, SNAP_ERROR_NO_SPACE }, { -EDQUOT, SNAP_ERROR_NO_SPACE },
    { -EFBIG, SNAP_ERROR_NO_SPACE },  { -ENOENT, SNAP_ERROR_NOT_FOUND },
    { -EEXIST, SNAP_ERROR_EXISTS },   { -EIO, SNAP_ERROR_IO },
    { -EPERM, SNAP_ERROR_IO },        { -EACCES, SNAP_ERROR_IO },
    { -EAGAIN, SNAP_ERROR_IO },       { -ENOMEM, SNAP_ERROR_IO },
    { -EBADF, SNAP_ERROR_IO },        { -EPIPE, SNAP_ERROR_IO },
    { -EROFS, SNAP_ERROR_IO },        { -ECANCELED, SNAP_ERROR_INTERRUPTED },
    { -99999, SNAP_ERROR_IO },
};

START_TEST(errno_becomes_a_class)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++) {
        g_autoptr(GError) error = NULL;

        snap_error_set_errno(&error, classes[i].error, "cannot");
        ck_assert(g_error_matches(error, SNAP_ERROR, classes[i].code));
    }
}
END_TEST

START_TEST(text_says_what_and_why)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *expected = g_strdup_printf("cannot read 7 bytes at 0x10: "
                                                "%s",
                                                g_strerror(EIO));

    snap_error_set_errno(&error, -EIO, "cannot %s %d bytes at 0x%x", "read", 7,
                         16u);
    ck_assert_str_eq(error->message, expected);
}
END_TEST

/* An image's name in an argument is text, whatever is in it. */
START_TEST(percent_signs_are_not_formats_twice)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *expected =
        g_strdup_printf("%%n %%s 100%%: %s", g_strerror(EIO));

    snap_error_set_errno(&error, -EIO, "%s 100%%", "%n %s");
    ck_assert_str_eq(error->message, expected);
}
END_TEST

START_TEST(nobody_wants_to_know)
{
    snap_error_set_errno(NULL, -EIO, "cannot %s", "read");
}
END_TEST

START_TEST(more_is_said)
{
    g_autoptr(GError) error = NULL;

    snap_error_append(NULL, "nobody");
    snap_error_append(&error, "nothing");
    ck_assert_ptr_null(error);
    g_set_error(&error, SNAP_ERROR, SNAP_ERROR_LOCKED, "100%%");
    snap_error_append(&error, "; '%s' %d", "%s", 7);
    ck_assert_str_eq(error->message, "100%; '%s' 7");
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_LOCKED));
}
END_TEST

START_TEST(every_class_has_a_word)
{
    int code;

    for (code = SNAP_ERROR_IO; code <= SNAP_ERROR_INTERRUPTED; code++) {
        g_autoptr(GError) error = g_error_new(SNAP_ERROR, code, "text");

        ck_assert_ptr_nonnull(snap_error_class(error));
    }
}
END_TEST

START_TEST(domain_is_our_own)
{
    ck_assert_uint_ne(SNAP_ERROR, 0);
    ck_assert_uint_eq(SNAP_ERROR, snap_error_quark());
    ck_assert_str_eq(g_quark_to_string(SNAP_ERROR), "snap-error-quark");
}
END_TEST

static Suite *snap_error_suite(void)
{
    Suite *suite = suite_create("snap-error");
    TCase *tcase = tcase_create("snap-error");

    tcase_add_test(tcase, errno_becomes_a_class);
    tcase_add_test(tcase, text_says_what_and_why);
    tcase_add_test(tcase, percent_signs_are_not_formats_twice);
    tcase_add_test(tcase, nobody_wants_to_know);
    tcase_add_test(tcase, more_is_said);
    tcase_add_test(tcase, every_class_has_a_word);
    tcase_add_test(tcase, domain_is_our_own);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snap_error_suite());
}
