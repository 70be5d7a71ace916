/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What can be drawn where standard output goes.
 */
#ifndef SNAP_TERMINAL_H
#define SNAP_TERMINAL_H

#include "snap-options.h"

typedef struct SnapTerminal {
    unsigned columns;
    bool unicode; /* UTF-8; else ASCII */
    bool color;   /* it takes the usual sequences */
} SnapTerminal;

/*
 * The columns are what COLUMNS says, or else the terminal, or else 80. Colour
 * is what @color says; by itself it is used on a terminal, unless TERM says
 * that it is none or NO_COLOR is set.
 */
SnapTerminal snap_terminal(SnapColor color);

#endif /* SNAP_TERMINAL_H */
