/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What came of a command, for programs: JSON objects, each in one line, on
 * standard error (--output=json) and in a file (--result), because QEMU does
 * not look at the exit status of the commands behind exec:.
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
 * {"saved": {"filename", "id", "name", "bytes", "seconds", "rate"}}: what a
 * save stored; the rate is in bytes per second. The caller frees it.
 */
char *snap_report_saved(const SnapOptions *options, const SnapResult *result);

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
