/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What came of a command, for programs: JSON objects, each in one line, on
 * standard output or error (--output=json) and in a file (--result), because
 * QEMU does not look at the exit status of the commands behind exec:.
 */
#ifndef SNAP_REPORT_H
#define SNAP_REPORT_H

#include "snap-options.h"

/*
 * {"error": {"class", "desc", "filename"}}; the last one only where it is
 * known. The caller frees it.
 */
char *snap_report_error(const SnapOptions *options, const GError *error);

/* {"warning": {"desc", "filename"}}. The caller frees it. */
char *snap_report_warning(const SnapOptions *options, const char *text);

/*
 * What the command did; NULL where there is nothing to tell. The caller frees
 * it. "seconds" is what it took, "with" the names of further images.
 *   {"saved": {"filename", "id", "name", "with", "bytes", "seconds", "rate"}}:
 *   what was stored; the rate is in bytes per second
 *   {"extracted": {"filename", "id", "name", "output", "bytes", "seconds",
 *   "rate"}}: how long the output is, or all files of a directory are
 *   {"created"|"deleted"|"applied": {"filename", "id", "name", "with",
 *   "seconds"}}
 *   {"indexed": {"filename", "id", "name", "seconds"}}
 *   {"renamed": {"filename", "id", "name", "old-name", "seconds"}}
 *   {"freed": {"filename", "bytes", "seconds"}}: VM state in the active layer
 */
char *snap_report_done(const SnapOptions *options, const SnapResult *result);

/*
 * Will options->result be writable? Asked before anything is done. True when
 * none is wanted. Fills @errp (EXISTS: there is something else).
 */
bool snap_report_check(const SnapOptions *options, GError **errp);

/*
 * Put @line into options->result at once, in place of an older result. Fills
 * @errp (EXISTS, IO).
 */
bool snap_report_write(const SnapOptions *options, const char *line,
                       GError **errp);

#endif /* SNAP_REPORT_H */
