/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the command line as the tables of commands and options say. Options
 * may stand anywhere, so whether the command takes them is checked at the end.
 */
#include <getopt.h>
#include <limits.h>

#include "snap-command-line.h"
#include "snap-commands.h"
#include "snap-error.h"

static bool invalid(GError **errp, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool invalid(GError **errp, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *errp = g_error_new_valist(SNAP_ERROR, SNAP_ERROR_INVALID, format, args);
    va_end(args);
    return false;
}

/*
 * What getopt_long() did not like: a letter, which may stand among others, or
 * a long option, which it may know but not with an argument. The word before
 * optind tells nothing of a letter that others follow: it is the one before.
 */
static bool refuse_option(char **argv, GError **errp)
{
    const char *word = argv[optind - 1];

    if (optopt == 0) {
        return invalid(errp, "unknown option '%s'", word);
    }
    if (optopt > UCHAR_MAX) {
        return invalid(errp, "option '--%s' takes no argument",
                       snap_option_find(snap_options, optopt)->name);
    }
    return invalid(errp, "unknown option '-%c'", optopt);
}

/* Fills @used with the options that were given. */
static bool parse_options(int argc, char **argv, SnapOptions *options,
                          GPtrArray *used, GError **errp)
{
    g_autoptr(GString) letters = g_string_new(NULL);
    g_autofree struct option *names = snap_option_list(snap_options, letters);
    int found;

    /* One line is enough of a message, and ours has the program's name. */
    opterr = 0;
    while ((found = getopt_long(argc, argv, letters->str, names, NULL)) != -1) {
        const SnapOption *option;

        if (found == ':') {
            return invalid(errp, "option '%s' needs an argument",
                           argv[optind - 1]);
        }
        if (found == '?') {
            return refuse_option(argv, errp);
        }
        option = snap_option_find(snap_options, found);
        if (option->parse && !option->parse(optarg, options, errp)) {
            return false;
        }
        g_ptr_array_add(used, (void *)option);
    }
    return true;
}

/* What is wrong before --output is to be told in that form as well. */
static bool asks_for_json(char **argv)
{
    char **word;

    for (word = argv; *word; word++) {
        if (!strcmp(*word, "--output=json") ||
            (!strcmp(*word, "--output") && word[1] &&
             !strcmp(word[1], "json"))) {
            return true;
        }
    }
    return false;
}

/* A command with options of its own, which are behind it and not our concern. */
static bool reads_words(char **argv, SnapOptions *options)
{
    const SnapCommand *command = argv[0] && argv[1] ? snap_command_find(argv[1])
                                                    : NULL;

    if (!command || !command->options) {
        return false;
    }
    options->command = command->name;
    options->words = argv + 1;
    return true;
}

static bool is_used(const GPtrArray *used, const char *name)
{
    guint i;

    for (i = 0; i < used->len; i++) {
        const SnapOption *option = g_ptr_array_index(used, i);

        if (!g_strcmp0(option->name, name)) {
            return true;
        }
    }
    return false;
}

static bool check_options(const GPtrArray *used, const char *command,
                          GError **errp)
{
    guint i;

    for (i = 0; i < used->len; i++) {
        const SnapOption *option = g_ptr_array_index(used, i);

        if (!snap_option_is_for(option, command)) {
            g_autofree char *word =
                option->name ? g_strdup_printf("--%s", option->name)
                             : g_strdup_printf("-%c", option->letter);

            return invalid(errp, "%s does not take %s", command, word);
        }
    }
    return true;
}

/* --name and --id without an argument tell how to read that of -n. */
static bool check_reading(const GPtrArray *used, const SnapOptions *options,
                          GError **errp)
{
    const char *option = is_used(used, "id") ? "id" : "name";

    if (is_used(used, "id") && is_used(used, "name")) {
        return invalid(errp, "--id and --name exclude each other");
    }
    if (is_used(used, option) && !options->name && !options->side_a &&
        !options->side_b) {
        return invalid(errp, "--%s needs -n as well, or an argument: --%s=%s",
                       option, option, !strcmp(option, "id") ? "ID" : "NAME");
    }
    return true;
}

static bool parse_command(const char *word, SnapOptions *options, GError **errp)
{
    g_autofree char *names = snap_command_names();
    const SnapCommand *command;

    if (!word) {
        return invalid(errp, "a command is expected: %s", names);
    }
    command = snap_command_find(word);
    if (!command) {
        return invalid(errp, "unknown command '%s': %s is expected", word,
                       names);
    }
    options->command = command->name;
    return true;
}

static bool parse_files(char **words, SnapOptions *options, GError **errp)
{
    const SnapCommand *command = snap_command_find(options->command);
    bool has_output = command->has_output;

    if (!words[0]) {
        return invalid(errp, "%s: an image is expected", options->command);
    }
    if (has_output && !words[1]) {
        return invalid(errp, "%s: an output is expected behind the image",
                       options->command);
    }
    options->image = words[0];
    if (words[1] && command->may_have_image_b) {
        options->image_b = *++words;
    }
    if (words[1] && (!has_output || words[2])) {
        return invalid(errp, "%s: one image%s is expected, not also '%s'",
                       options->command, has_output ? " and one output" : "",
                       words[has_output ? 2 : 1]);
    }
    options->output = has_output ? words[1] : NULL;
    return true;
}

bool snap_parse_command_line(int argc, char **argv, SnapOptions *options,
                             char **text, GError **errp)
{
    g_autoptr(GPtrArray) used = g_ptr_array_new();
    char **operands;
    bool help;

    if (reads_words(argv, options)) {
        return true;
    }
    options->json = asks_for_json(argv);
    if (!parse_options(argc, argv, options, used, errp)) {
        return false;
    }
    /* getopt_long() has moved them to the end; NULL is behind the last one. */
    operands = argv + optind;
    help = is_used(used, "help");
    if (is_used(used, "version")) {
        *text = g_strdup(SNAP_PROGRAM " " SNAP_VERSION "\n");
        return true;
    }
    if (help && !operands[0]) {
        *text = snap_help(NULL);
        return true;
    }
    if (!parse_command(operands[0], options, errp)) {
        return false;
    }
    if (help) {
        *text = snap_help(options->command);
        return true;
    }
    if (snap_command_find(options->command)->options) {
        return invalid(errp, "%s: its options must stand behind it",
                       options->command);
    }
    /* Before an argument that is missing there is taken for an image. */
    return check_reading(used, options, errp) &&
           parse_files(operands + 1, options, errp) &&
           check_options(used, options->command, errp);
}
