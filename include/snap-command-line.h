/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * From words to SnapOptions, and the help, which follows from the same tables.
 */
#ifndef SNAP_COMMAND_LINE_H
#define SNAP_COMMAND_LINE_H

#include "snap-options.h"

#define SNAP_PROGRAM "qemu-snap"
#define SNAP_VERSION "0.1"

/*
 * Fill *@options from @argv, whose words it keeps and may reorder. When only a
 * text was asked for (--help, --version), *@text is that, to be freed, and
 * nothing else is to be done. Returns false and fills @errp (INVALID).
 */
bool snap_parse_command_line(int argc, char **argv, SnapOptions *options,
                             char **text, GError **errp);

/*
 * The help of @command, or of the whole program (NULL). The caller frees it.
 */
char *snap_help(const char *command);

#endif /* SNAP_COMMAND_LINE_H */
