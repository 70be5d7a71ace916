/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The listener behind -T. Each event is one write, so that lines of several
 * processes that share a file stay whole.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "snap-error.h"
#include "trace.h"

struct Trace {
    GPatternSpec *pattern;
    FILE *to;
};

static bool trace_set_option(const char *option, const char **pattern,
                             const char **file, GError **errp)
{
    if (g_str_has_prefix(option, "file=")) {
        *file = option + strlen("file=");
    } else if (g_str_has_prefix(option, "enable=")) {
        *pattern = option + strlen("enable=");
    } else if (!strchr(option, '=')) {
        *pattern = option;
    } else {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "invalid trace option '%s': enable=PATTERN or file=FILE "
                    "is expected",
                    option);
        return false;
    }
    return true;
}

Trace *trace_new(const char *spec, GError **errp)
{
    g_auto(GStrv) options = g_strsplit(spec, ",", -1);
    const char *pattern = "*";
    const char *file = NULL;
    FILE *to = stderr;
    Trace *trace;
    int i;

    for (i = 0; options[i]; i++) {
        if (!trace_set_option(options[i], &pattern, &file, errp)) {
            return NULL;
        }
    }
    /* GLib's patterns are characters, and it ends the program for bytes. */
    if (!g_utf8_validate(pattern, -1, NULL)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "the pattern of events is not UTF-8");
        return NULL;
    }
    if (file) {
        to = fopen(file, "ae");
        if (!to) {
            snap_error_set_errno(errp, -errno, "Could not open '%s'", file);
            return NULL;
        }
    }
    trace = g_new(Trace, 1);
    trace->pattern = g_pattern_spec_new(pattern);
    trace->to = to;
    return trace;
}

void trace_free(Trace *trace)
{
    if (!trace) {
        return;
    }
    g_pattern_spec_free(trace->pattern);
    if (trace->to != stderr) {
        fclose(trace->to);
    }
    g_free(trace);
}

void trace_event(Trace *trace, const char *name, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;
    va_list args;

    if (!trace || !g_pattern_spec_match_string(trace->pattern, name)) {
        return;
    }
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    line = g_strdup_printf("%s%s%s\n", name, text[0] ? " " : "", text);
    fputs(line, trace->to);
    fflush(trace->to);
}
