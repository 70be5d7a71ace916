/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The tables of commands and options do not contradict themselves, and words
 * become what they say.
 */
#include <check.h>
#include <getopt.h>

#include "../../snap-commands.h"
#include "run-suite.h"
#include "snap-command-line.h"
#include "snap-error.h"

typedef struct Parsed {
    SnapOptions options;
    char **words;
    char *text;
    GError *error;
    bool understood;
} Parsed;

/* @line is the command line without the program's name. */
static Parsed parse(const char *line)
{
    Parsed parsed = { 0 };
    g_autofree char *with_name = g_strdup_printf("qemu-snap %s", line);

    parsed.words = g_strsplit(with_name, " ", -1);
    optind = 0;
    parsed.understood = snap_parse_command_line(g_strv_length(parsed.words),
                                                parsed.words, &parsed.options,
                                                &parsed.text, &parsed.error);
    return parsed;
}

static void parsed_clear(Parsed *parsed)
{
    g_strfreev(parsed->words);
    g_free(parsed->text);
    g_clear_error(&parsed->error);
}

/* A letter that two options have would be the first one's. */
static void expect_distinct(const SnapOption *table)
{
    const SnapOption *one;
    const SnapOption *other;

    for (one = table; one->help; one++) {
        ck_assert(one->name || one->letter);
        for (other = one + 1; other->help; other++) {
            ck_assert(!one->letter || one->letter != other->letter);
            ck_assert(g_strcmp0(one->name, other->name) != 0 || !one->name);
        }
    }
}

START_TEST(options_are_distinct)
{
    expect_distinct(snap_options);
    expect_distinct(snap_snapshot_options);
}
END_TEST

START_TEST(options_name_commands_that_exist)
{
    const SnapOption *option;

    for (option = snap_options; option->help; option++) {
        g_auto(GStrv) commands =
            g_strsplit(option->commands ? option->commands : "save", " ", -1);
        char **command;

        for (command = commands; *command; command++) {
            ck_assert_ptr_nonnull(snap_command_find(*command));
        }
    }
}
END_TEST

START_TEST(help_fits_a_terminal)
{
    const SnapCommand *command;

    for (command = snap_commands; command->name; command++) {
        g_autofree char *help = snap_help(command->name);
        g_auto(GStrv) lines = g_strsplit(help, "\n", -1);
        char **line;

        for (line = lines; *line; line++) {
            ck_assert_uint_le(strlen(*line), 80);
            ck_assert(!g_str_has_suffix(*line, " "));
        }
        ck_assert(g_str_has_prefix(help, "Usage: qemu-snap "));
    }
}
END_TEST

START_TEST(options_stand_anywhere)
{
    Parsed parsed = parse("-n before --raw load disk -p");

    ck_assert(parsed.understood);
    ck_assert_str_eq(parsed.options.command, "load");
    ck_assert_str_eq(parsed.options.image, "disk");
    ck_assert_str_eq(parsed.options.name, "before");
    ck_assert(parsed.options.raw && parsed.options.progress);
    ck_assert_ptr_null(parsed.text);
    parsed_clear(&parsed);
}
END_TEST

START_TEST(own_options_are_left_alone)
{
    Parsed parsed = parse("snapshot -a before -Z disk");

    ck_assert(parsed.understood);
    ck_assert_str_eq(parsed.options.command, "snapshot");
    ck_assert_ptr_eq(parsed.options.words, parsed.words + 1);
    ck_assert_str_eq(parsed.options.words[3], "-Z");
    parsed_clear(&parsed);

    parsed = parse("-q snapshot disk");
    ck_assert(!parsed.understood);
    parsed_clear(&parsed);
}
END_TEST

START_TEST(help_is_a_text)
{
    Parsed parsed = parse("--help");

    ck_assert(parsed.understood);
    ck_assert_ptr_nonnull(strstr(parsed.text, "\nCommands:\n"));
    parsed_clear(&parsed);

    parsed = parse("check -h");
    ck_assert(parsed.understood);
    ck_assert_ptr_nonnull(strstr(parsed.text, "--repair=leaks|all"));
    ck_assert_ptr_null(strstr(parsed.text, "--name"));
    parsed_clear(&parsed);
}
END_TEST

START_TEST(names_are_read_one_way)
{
    Parsed parsed = parse("load -n 4 --id disk");

    ck_assert(parsed.understood);
    ck_assert_int_eq(parsed.options.reading, SNAP_READ_ID);
    ck_assert_str_eq(parsed.options.name, "4");
    parsed_clear(&parsed);

    parsed = parse("save --name=four disk");
    ck_assert(parsed.understood);
    ck_assert_int_eq(parsed.options.reading, SNAP_READ_NAME);
    ck_assert_str_eq(parsed.options.name, "four");
    parsed_clear(&parsed);

    parsed = parse("load -n 4 disk");
    ck_assert(parsed.understood);
    ck_assert_int_eq(parsed.options.reading, SNAP_READ_EITHER);
    parsed_clear(&parsed);

    /* "four" is no argument but an image, and there must be one. */
    parsed = parse("save --name four disk");
    ck_assert(!parsed.understood);
    ck_assert_ptr_nonnull(strstr(parsed.error->message, "--name=NAME"));
    parsed_clear(&parsed);
}
END_TEST

/* Also when the mistake stands before it. */
START_TEST(errors_know_the_form_that_is_wanted)
{
    Parsed parsed = parse("--frob list --output=json disk");

    ck_assert(!parsed.understood);
    ck_assert(parsed.options.json);
    ck_assert(g_error_matches(parsed.error, SNAP_ERROR, SNAP_ERROR_INVALID));
    parsed_clear(&parsed);

    parsed = parse("list --output json disk --output human");
    ck_assert(parsed.understood);
    ck_assert(!parsed.options.json);
    parsed_clear(&parsed);
}
END_TEST

static void expect_error(const char *line, const char *text)
{
    Parsed parsed = parse(line);

    ck_assert(!parsed.understood);
    ck_assert_str_eq(parsed.error->message, text);
    parsed_clear(&parsed);
}

/* The word that getopt_long() has got to is not always the one. */
START_TEST(the_right_option_is_blamed)
{
    expect_error("list -z disk", "unknown option '-z'");
    expect_error("--quiet -zU list disk", "unknown option '-z'");
    expect_error("list -Uz disk", "unknown option '-z'");
    expect_error("list --zoo disk", "unknown option '--zoo'");
    expect_error("list --quiet=1 disk", "option '--quiet' takes no argument");
    expect_error("list disk --quiet -Un", "option '-Un' needs an argument");
}
END_TEST

static Suite *command_line_suite(void)
{
    Suite *suite = suite_create("snap-command-line");
    TCase *tcase = tcase_create("snap-command-line");

    tcase_add_test(tcase, options_are_distinct);
    tcase_add_test(tcase, options_name_commands_that_exist);
    tcase_add_test(tcase, help_fits_a_terminal);
    tcase_add_test(tcase, options_stand_anywhere);
    tcase_add_test(tcase, own_options_are_left_alone);
    tcase_add_test(tcase, help_is_a_text);
    tcase_add_test(tcase, names_are_read_one_way);
    tcase_add_test(tcase, errors_know_the_form_that_is_wanted);
    tcase_add_test(tcase, the_right_option_is_blamed);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(command_line_suite());
}
