/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the progress meter writes to standard error, and when.
 */
#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "progress.h"
#include "run-suite.h"
#include "signal-delivery.h"

#define INTERVAL_US (G_USEC_PER_SEC / 5)

/* Standard error, which for the time being is a file. */
typedef struct Output {
    int fd;    /* the file */
    int saved; /* standard error as it was */
} Output;

static Output output_begin(void)
{
    Output output = { .fd = memfd_create("stderr", MFD_CLOEXEC) };

    output.saved = dup(STDERR_FILENO);
    ck_assert_int_ge(output.saved, 0);
    ck_assert_int_ge(dup2(output.fd, STDERR_FILENO), 0);
    return output;
}

/* What has been written so far; free it. */
static char *output_text(const Output *output)
{
    size_t bytes = lseek(output->fd, 0, SEEK_END);
    char *text = g_malloc0(bytes + 1);

    ck_assert_int_eq(pread(output->fd, text, bytes, 0), bytes);
    return text;
}

static char *output_end(Output *output)
{
    char *text = output_text(output);

    dup2(output->saved, STDERR_FILENO);
    close(output->saved);
    close(output->fd);
    return text;
}

static void assert_matches(const char *text, const char *pattern)
{
    ck_assert_msg(
        g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0),
        "'%s' is not '%s'", text, pattern);
}

static unsigned count_char(const char *text, char wanted)
{
    unsigned count = 0;

    for (; *text; text++) {
        count += *text == wanted;
    }
    return count;
}

START_TEST(percentage)
{
    Output output = output_begin();
    Progress *progress = progress_new(true, 800);
    g_autofree char *text = NULL;

    progress_advance(progress, 1);
    progress_advance(progress, 799);
    progress_free(progress);
    text = output_end(&output);
    assert_matches(text, "^    \\(0\\.12/100%\\)\r"
                         "(    \\(100\\.00/100%\\)\r)?"
                         "    \\(100\\.00/100%\\)\n$");
}
END_TEST

/* The last word is how far it came, not how far it was to go. */
START_TEST(percentage_of_what_was_not_finished)
{
    Output output = output_begin();
    Progress *progress = progress_new(true, 3ULL << 40);
    g_autofree char *text = NULL;

    progress_advance(progress, 1ULL << 40);
    progress_free(progress);
    text = output_end(&output);
    ck_assert_str_eq(text, "    (33.33/100%)\r    (33.33/100%)\n");
}
END_TEST

/* Without a total: bytes, and bytes per second. */
START_TEST(bytes_and_rate)
{
    Output output = output_begin();
    Progress *progress = progress_new(true, 0);
    g_autofree char *text = NULL;

    progress_advance(progress, 1536 * 1024);
    progress_advance(progress, 512 * 1024);
    progress_free(progress);
    text = output_end(&output);
    assert_matches(text, "^    1\\.5 MiB \\([0-9.e+]+ [KMGTPE]?i?B/s\\)   \r"
                         "(    2 MiB \\([0-9.e+]+ [KMGTPE]?i?B/s\\)   \r)?"
                         "    2 MiB \\([0-9.e+]+ [KMGTPE]?i?B/s\\)   \n$");
}
END_TEST

/* The rate is what it says: bytes since the start by the time since then. */
START_TEST(rate_is_per_second)
{
    Output output = output_begin();
    gint64 start = g_get_monotonic_time();
    Progress *progress = progress_new(true, 0);
    g_autofree char *text = NULL;
    double elapsed;
    double rate = 0;

    g_usleep(50000);
    progress_advance(progress, 10000000);
    elapsed = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    progress_free(progress);
    text = output_end(&output);
    ck_assert_int_eq(sscanf(text, "    9.54 MiB (%lf MiB/s)", &rate), 1);
    /* At most what 50 ms make, at least what the whole time makes. */
    ck_assert_double_le(rate, 191.5);
    ck_assert_double_ge(rate, 9.53 / elapsed - 1);
}
END_TEST

/* As often as one can look, not as often as there is something to show. */
START_TEST(not_too_often)
{
    Output output = output_begin();
    gint64 start = g_get_monotonic_time();
    Progress *progress = progress_new(true, 20000);
    g_autofree char *text = NULL;
    unsigned shown;
    gint64 elapsed;

    for (unsigned i = 0; i < 10000; i++) {
        progress_advance(progress, 1);
    }
    g_usleep(INTERVAL_US + 1000);
    for (unsigned i = 0; i < 10000; i++) {
        progress_advance(progress, 1);
    }
    elapsed = g_get_monotonic_time() - start;
    progress_free(progress);
    text = output_end(&output);
    shown = count_char(text, '\r');
    ck_assert_uint_ge(shown, 2);
    ck_assert_uint_le(shown, 1 + elapsed / INTERVAL_US);
    ck_assert_uint_eq(count_char(text, '\n'), 1);
    ck_assert(g_str_has_suffix(text, "    (100.00/100%)\n"));
}
END_TEST

START_TEST(nothing_unless_asked_for)
{
    Output output = output_begin();
    Progress *progress = progress_new(false, _i ? 1000 : 0);
    g_autofree char *text = NULL;

    progress_advance(progress, 500);
    progress_advance(progress, 500);
    progress_free(progress);
    progress_free(NULL);
    text = output_end(&output);
    ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(signal_shows_a_line)
{
    Output output = output_begin();
    Progress *progress = progress_new(false, 1000);
    g_autofree char *once = NULL;
    g_autofree char *twice = NULL;

    signal_deliver(SIGUSR1);
    once = output_text(&output);
    progress_advance(progress, 250);
    signal_deliver(SIGUSR1);
    progress_free(progress);
    twice = output_end(&output);
    ck_assert_str_eq(once, "    (0.00/100%)\n");
    ck_assert_str_eq(twice, "    (0.00/100%)\n    (25.00/100%)\n");
}
END_TEST

START_TEST(signal_shows_bytes_and_rate)
{
    Output output = output_begin();
    Progress *progress = progress_new(false, 0);
    g_autofree char *text = NULL;

    progress_advance(progress, 3 * 1024);
    signal_deliver(SIGUSR1);
    progress_free(progress);
    text = output_end(&output);
    assert_matches(text, "^    3 KiB \\([0-9.e+]+ [KMGTPE]?i?B/s\\)   \n$");
}
END_TEST

/* Nobody listens any more, and what was begun is ended. */
START_TEST(signal_is_given_back)
{
    struct sigaction action;

    progress_free(progress_new(false, 1));
    ck_assert_int_eq(sigaction(SIGUSR1, NULL, &action), 0);
    ck_assert(action.sa_handler == SIG_DFL);
}
END_TEST

static Suite *progress_suite(void)
{
    Suite *suite = suite_create("progress");
    TCase *tcase = tcase_create("progress");

    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, percentage);
    tcase_add_test(tcase, percentage_of_what_was_not_finished);
    tcase_add_test(tcase, bytes_and_rate);
    tcase_add_test(tcase, rate_is_per_second);
    tcase_add_test(tcase, not_too_often);
    tcase_add_loop_test(tcase, nothing_unless_asked_for, 0, 2);
    tcase_add_test(tcase, signal_shows_a_line);
    tcase_add_test(tcase, signal_shows_bytes_and_rate);
    tcase_add_test(tcase, signal_is_given_back);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(progress_suite());
}
