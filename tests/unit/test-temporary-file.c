/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Temporary files, on file systems with files that have no name and on others:
 * what is left of them, and what it is called.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run-suite.h"
#include "scratch.h"
#include "snap-error.h"
#include "temporary-file.h"

/* Our own open(), which knows no nameless files if told so: an errno. */
static int nameless_error;

int open(const char *path, int flags, ...)
{
    typeof(open) *real = dlsym(RTLD_NEXT, "open64");
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
    if ((flags & O_TMPFILE) == O_TMPFILE && nameless_error) {
        errno = nameless_error;
        return -1;
    }
    return real(path, flags, mode);
}

/* Each of these is interrupted so often before it does anything. */
static int interruptions;

static int interrupt_call(void)
{
    static int left;

    left = left > 0 ? left - 1 : interruptions;
    errno = EINTR;
    return left > 0 ? -1 : 0;
}

int mkostemp(char *pattern, int flags)
{
    typeof(mkostemp) *real = dlsym(RTLD_NEXT, "mkostemp64");

    if (interrupt_call() < 0) {
        /* Some of what it tries may already stand there. */
        pattern[strlen(pattern) - 1] = '0';
        return -1;
    }
    return real(pattern, flags);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    typeof(linkat) *real = dlsym(RTLD_NEXT, "linkat");

    return interrupt_call() < 0 ? -1 : real(from, old, to, new, flags);
}

int renameat2(int from, const char *old, int to, const char *new,
              unsigned flags)
{
    typeof(renameat2) *real = dlsym(RTLD_NEXT, "renameat2");

    return interrupt_call() < 0 ? -1 : real(from, old, to, new, flags);
}

/* Both kinds of files; the errors are those of different file systems. */
static const int kinds[] = { 0, EOPNOTSUPP, EISDIR, EINVAL };

typedef struct Fixture {
    Scratch *scratch;
    char *directory;
    TemporaryFile *file;
} Fixture;

static void setup(Fixture *fixture, int kind)
{
    GError *error = NULL;

    nameless_error = kinds[kind];
    fixture->scratch = scratch_new();
    fixture->directory =
        g_path_get_dirname(scratch_path(fixture->scratch, "any"));
    fixture->file = temporary_file_new(fixture->directory, &error);
    ck_assert_msg(fixture->file != NULL, "%s", error ? error->message : "");
}

static void teardown(Fixture *fixture)
{
    nameless_error = 0;
    temporary_file_free(fixture->file);
    scratch_free(fixture->scratch);
    g_free(fixture->directory);
}

static unsigned count_files(const Fixture *fixture)
{
    GDir *entries = g_dir_open(fixture->directory, 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(entries)) {
        count++;
    }
    g_dir_close(entries);
    return count;
}

static void write_word(const TemporaryFile *file, const char *word)
{
    int fd = open(temporary_file_path(file), O_RDWR, 0);
    struct stat status;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_int_eq(write(fd, word, strlen(word)), strlen(word));
    close(fd);
}

static void assert_kept(const Fixture *fixture, const char *path,
                        const char *name, const char *word)
{
    g_autofree char *text = NULL;

    ck_assert_str_eq(path, scratch_path(fixture->scratch, name));
    ck_assert(g_file_get_contents(path, &text, NULL, NULL));
    ck_assert_str_eq(text, word);
}

START_TEST(goes_away)
{
    Fixture fixture;

    setup(&fixture, _i);
    write_word(fixture.file, "word");
    ck_assert_uint_eq(count_files(&fixture), kinds[_i] ? 1 : 0);
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 0);
    teardown(&fixture);
}
END_TEST

START_TEST(stays_when_it_is_kept)
{
    g_autofree char *path = NULL;
    Fixture fixture;

    setup(&fixture, _i);
    write_word(fixture.file, "word");
    path = temporary_file_keep(fixture.file, "kept", NULL);
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 1);
    assert_kept(&fixture, path, "kept", "word");
    teardown(&fixture);
}
END_TEST

/* What is kept is all there is of it: a signal is no reason to lose it. */
START_TEST(interrupted_calls_are_made_again)
{
    Fixture fixture;
    g_autofree char *path = NULL;
    GError *error = NULL;

    interruptions = 2;
    setup(&fixture, _i);
    write_word(fixture.file, "word");
    path = temporary_file_keep(fixture.file, "name", &error);
    interruptions = 0;
    ck_assert_msg(path != NULL, "%s", error ? error->message : "");
    assert_kept(&fixture, path, "name", "word");
    ck_assert_uint_eq(count_files(&fixture), 1);
    teardown(&fixture);
}
END_TEST

START_TEST(replaces_nothing)
{
    g_autofree char *path = NULL;
    Fixture fixture;

    setup(&fixture, _i);
    scratch_write(fixture.scratch, "kept", "old", 3);
    scratch_write(fixture.scratch, "kept-2", "older", 5);
    write_word(fixture.file, "new");
    path = temporary_file_keep(fixture.file, "kept", NULL);
    assert_kept(&fixture, path, "kept-3", "new");
    assert_kept(&fixture, scratch_path(fixture.scratch, "kept"), "kept", "old");
    assert_kept(&fixture, scratch_path(fixture.scratch, "kept-2"), "kept-2",
                "older");
    teardown(&fixture);
}
END_TEST

START_TEST(is_published)
{
    struct stat status;
    Fixture fixture;

    umask(027);
    setup(&fixture, _i);
    write_word(fixture.file, "word");
    ck_assert(temporary_file_publish(fixture.file, "new", 0644, NULL));
    ck_assert_uint_eq(umask(022), 027);
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 1);
    assert_kept(&fixture, scratch_path(fixture.scratch, "new"), "new", "word");
    ck_assert_int_eq(stat(scratch_path(fixture.scratch, "new"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0640);
    teardown(&fixture);
}
END_TEST

START_TEST(is_not_published_instead_of_another)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    setup(&fixture, _i);
    scratch_write(fixture.scratch, "taken", "old", 3);
    ck_assert(!temporary_file_publish(fixture.file, "taken", 0644, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_EXISTS));
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 1);
    assert_kept(&fixture, scratch_path(fixture.scratch, "taken"), "taken",
                "old");
    teardown(&fixture);
}
END_TEST

START_TEST(is_published_in_place_of_another)
{
    struct stat status;
    Fixture fixture;

    setup(&fixture, _i);
    scratch_write(fixture.scratch, "taken", "older", 5);
    write_word(fixture.file, "word");
    ck_assert(temporary_file_replace(fixture.file, "taken", 0600, NULL));
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 1);
    assert_kept(&fixture, scratch_path(fixture.scratch, "taken"), "taken",
                "word");
    ck_assert_int_eq(stat(scratch_path(fixture.scratch, "taken"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    teardown(&fixture);
}
END_TEST

/* When that fails, nothing is left of it either. */
START_TEST(replaces_no_directory)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;
    const char *path;

    setup(&fixture, _i);
    path = scratch_path(fixture.scratch, "taken");
    ck_assert_int_eq(g_mkdir(path, 0700), 0);
    ck_assert(!temporary_file_replace(fixture.file, "taken", 0600, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO));
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 1);
    ck_assert_int_eq(g_rmdir(path), 0);
    teardown(&fixture);
}
END_TEST

START_TEST(a_name_that_is_impossible)
{
    g_autofree char *name = g_strnfill(300, 'n');
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    setup(&fixture, _i);
    ck_assert_ptr_null(temporary_file_keep(fixture.file, name, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO));
    g_clear_pointer(&fixture.file, temporary_file_free);
    ck_assert_uint_eq(count_files(&fixture), 0);
    teardown(&fixture);
}
END_TEST

START_TEST(a_directory_that_is_not_there)
{
    g_autoptr(GError) error = NULL;

    nameless_error = kinds[_i];
    ck_assert_ptr_null(temporary_file_new("./no/such/place", &error));
    nameless_error = 0;
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND));
    ck_assert_ptr_nonnull(strstr(error->message, "'./no/such/place'"));
}
END_TEST

/* Only what says "not here" leads to a file with a name. */
START_TEST(other_errors_are_errors)
{
    g_autoptr(GError) error = NULL;

    nameless_error = ENOSPC;
    ck_assert_ptr_null(temporary_file_new(".", &error));
    nameless_error = 0;
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NO_SPACE));
}
END_TEST

static Suite *temporary_file_suite(void)
{
    Suite *suite = suite_create("temporary-file");
    TCase *tcase = tcase_create("temporary-file");
    int all = G_N_ELEMENTS(kinds);

    tcase_add_loop_test(tcase, goes_away, 0, all);
    tcase_add_loop_test(tcase, stays_when_it_is_kept, 0, all);
    tcase_add_loop_test(tcase, interrupted_calls_are_made_again, 0, all);
    tcase_add_loop_test(tcase, replaces_nothing, 0, all);
    tcase_add_loop_test(tcase, is_published, 0, all);
    tcase_add_loop_test(tcase, is_not_published_instead_of_another, 0, all);
    tcase_add_loop_test(tcase, is_published_in_place_of_another, 0, all);
    tcase_add_loop_test(tcase, replaces_no_directory, 0, all);
    tcase_add_loop_test(tcase, a_name_that_is_impossible, 0, all);
    tcase_add_loop_test(tcase, a_directory_that_is_not_there, 0, all);
    tcase_add_test(tcase, other_errors_are_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(temporary_file_suite());
}
