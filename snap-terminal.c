/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-terminal.h.
 */
#include <langinfo.h>
#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snap-terminal.h"

#define DEFAULT_COLUMNS 80
/* What somebody may have put into COLUMNS. */
#define MAX_COLUMNS 10000

static unsigned columns(void)
{
    const char *text = g_getenv("COLUMNS");
    struct winsize size;
    guint64 number;

    if (text &&
        g_ascii_string_to_unsigned(text, 10, 1, MAX_COLUMNS, &number, NULL)) {
        return number;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return DEFAULT_COLUMNS;
}

/* The locale of the environment, which is not that of the program. */
static bool has_unicode(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", NULL);
    bool unicode;

    if (!locale) {
        return false;
    }
    unicode = !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
    freelocale(locale);
    return unicode;
}

static bool wants_color(SnapColor color)
{
    const char *no_color = g_getenv("NO_COLOR");
    const char *term = g_getenv("TERM");

    if (color != SNAP_COLOR_AUTO) {
        return color == SNAP_COLOR_ALWAYS;
    }
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && *term &&
           strcmp(term, "dumb") != 0;
}

SnapTerminal snap_terminal(SnapColor color)
{
    SnapTerminal terminal = {
        .columns = columns(),
        .unicode = has_unicode(),
        .color = wants_color(color),
    };

    return terminal;
}
