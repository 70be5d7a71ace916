/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the command line knows: one table of commands, one of options. Checks,
 * messages, the help and through it the completion all follow from them.
 */
#ifndef SNAP_COMMANDS_H
#define SNAP_COMMANDS_H

#include "snap-internal.h"

typedef bool SnapOptionParser(const char *text, SnapOptions *options,
                              GError **errp);

typedef struct SnapOption {
    const char *name;     /* the long one, without --; NULL: none */
    char letter;          /* 0: none */
    const char *argument; /* its words or what it is; NULL: takes none */
    bool may_lack_argument;
    const char *commands;    /* that take it, words; NULL: all */
    const char *help;        /* NULL ends the table */
    SnapOptionParser *parse; /* NULL: known where it is found */
} SnapOption;

typedef struct SnapCommand {
    const char *name; /* NULL ends the table */
    SnapHandler *handler;
    const char *synopsis; /* what stands behind the name */
    const char *purpose;
    const SnapOption *options; /* NULL: snap_options; else it reads its words */
    bool has_output;           /* a file to write stands behind the image */
    bool may_have_image_b;     /* another image may stand there */
} SnapCommand;

extern const SnapCommand snap_commands[];
extern const SnapOption snap_options[];
extern const SnapOption snap_snapshot_options[];

/* NULL: there is no such command. */
const SnapCommand *snap_command_find(const char *name);

/* "save, load or list": all there are. The caller frees it. */
char *snap_command_names(void);

/*
 * @table as getopt_long() wants it: the long options, for g_free(), and the
 * @letters, where a ':' in front sets missing arguments apart.
 */
struct option *snap_option_list(const SnapOption *table, GString *letters);

/* The option of @table that getopt_long() has @found, or has in optopt. */
const SnapOption *snap_option_find(const SnapOption *table, int found);

bool snap_option_is_for(const SnapOption *option, const char *command);

#endif /* SNAP_COMMANDS_H */
