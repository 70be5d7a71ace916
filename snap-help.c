/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The help, from the tables of commands and options. The completion of the
 * shell reads it, so its form is fixed: two spaces before what can be typed,
 * an option's arguments behind it, words that are alternatives with | between.
 */
#include "snap-command-line.h"
#include "snap-commands.h"

#define HELP_COLUMN 23
#define HELP_WIDTH  80

/* Words from HELP_COLUMN on; the line has the text before that already. */
static void append_wrapped(GString *help, size_t column, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    char **word;

    if (column + 2 > HELP_COLUMN) {
        g_string_append_c(help, '\n');
        column = 0;
    }
    g_string_append_printf(help, "%*s", (int)(HELP_COLUMN - column), "");
    column = HELP_COLUMN;
    for (word = words; *word; word++) {
        if (word > words && column + 1 + strlen(*word) >= HELP_WIDTH) {
            g_string_append_printf(help, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (word > words) {
            g_string_append_c(help, ' ');
            column++;
        }
        g_string_append(help, *word);
        column += strlen(*word);
    }
    g_string_append_c(help, '\n');
}

/* "  -s, --size=SIZE", "  -n NAME" */
static char *option_words(const SnapOption *option)
{
    GString *words = g_string_new("      ");

    if (option->letter) {
        g_string_printf(words, "  -%c%s", option->letter,
                        option->name ? ", " : "");
    }
    if (option->name) {
        g_string_append_printf(words, "--%s", option->name);
    }
    if (option->may_lack_argument) {
        g_string_append_printf(words, "[=%s]", option->argument);
    } else if (option->argument) {
        g_string_append_printf(words, "%c%s", option->name ? '=' : ' ',
                               option->argument);
    }
    return g_string_free(words, FALSE);
}

/* "save, load: any bytes will do": the commands where not all are meant. */
static char *option_text(const SnapOption *option, bool with_commands)
{
    g_auto(GStrv) commands = NULL;
    g_autofree char *list = NULL;

    if (!with_commands || !option->commands) {
        return g_strdup(option->help);
    }
    commands = g_strsplit(option->commands, " ", -1);
    list = g_strjoinv(", ", commands);
    return g_strdup_printf("%s: %s", list, option->help);
}

/* Those of @table that @command takes; NULL: all. */
static void append_options(GString *help, const SnapOption *table,
                           const char *command)
{
    const SnapOption *option;

    g_string_append(help, "\nOptions:\n");
    for (option = table; option->help; option++) {
        if (!command || snap_option_is_for(option, command)) {
            g_autofree char *words = option_words(option);
            g_autofree char *text = option_text(option, !command);

            g_string_append(help, words);
            append_wrapped(help, strlen(words), text);
        }
    }
}

static void append_commands(GString *help)
{
    const SnapCommand *command;

    g_string_append(help, "\nCommands:\n");
    for (command = snap_commands; command->name; command++) {
        g_string_append_printf(help, "  %s", command->name);
        append_wrapped(help, 2 + strlen(command->name), command->purpose);
    }
}

static char *command_help(const SnapCommand *command)
{
    GString *help = g_string_new(NULL);
    const char *purpose = command->purpose;

    g_string_append_printf(help, "Usage: " SNAP_PROGRAM " %s %s\n\n%c%s.\n",
                           command->name, command->synopsis,
                           g_ascii_toupper(*purpose), purpose + 1);
    append_options(help, command->options ? command->options : snap_options,
                   command->name);
    return g_string_free(help, FALSE);
}

char *snap_help(const char *command)
{
    GString *help;

    if (command) {
        return command_help(snap_command_find(command));
    }
    help = g_string_new("Usage: " SNAP_PROGRAM " COMMAND [OPTIONS] IMAGE\n\n"
                        "Store a running VM's state as an internal snapshot of "
                        "a qcow2 image,\nand restore it.\n");
    append_commands(help);
    append_options(help, snap_options, NULL);
    g_string_append(help, "\n(qemu) migrate \"exec:" SNAP_PROGRAM " save -n "
                          "before-upgrade --create states.qcow2\"\n"
                          "$ qemu-system-x86_64 ... \\\n"
                          "      -incoming \"exec:" SNAP_PROGRAM
                          " load -n before-upgrade states.qcow2\"\n"
                          "\nSee " SNAP_PROGRAM "(1) for more.\n");
    return g_string_free(help, FALSE);
}
