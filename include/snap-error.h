/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The one GError domain of this program. A code names the class of a failure,
 * so that callers can tell a full disk from a damaged image without reading
 * the text. Messages say what is wrong and where (offset); they do not name
 * the image: the handler that knows which file it is puts the name in front.
 */
#ifndef SNAP_ERROR_H
#define SNAP_ERROR_H

#include <glib.h>

#define SNAP_ERROR snap_error_quark()
GQuark snap_error_quark(void);

typedef enum SnapError {
    SNAP_ERROR_IO,          /* the operating system said no */
    SNAP_ERROR_NO_SPACE,    /* the disk, a quota or a size limit is full */
    SNAP_ERROR_LOCKED,      /* somebody else uses the image */
    SNAP_ERROR_DAMAGED,     /* the image contradicts its format */
    SNAP_ERROR_UNSUPPORTED, /* valid, but not handled by this program */
    SNAP_ERROR_NOT_FOUND,   /* no such file or snapshot */
    SNAP_ERROR_AMBIGUOUS,   /* it may be any of several snapshots */
    SNAP_ERROR_EXISTS,      /* the name is taken */
    SNAP_ERROR_INVALID,     /* a request that cannot be meant */
    SNAP_ERROR_STREAM,      /* the migration stream is not complete or wrong */
    SNAP_ERROR_INTERRUPTED, /* a signal stopped us */
} SnapError;

/*
 * Fill @errp for @error, a negative errno, with the printf-style text and the
 * system's words for it. ENOSPC, EDQUOT and EFBIG become NO_SPACE, ENOENT
 * NOT_FOUND, EEXIST EXISTS, ECANCELED INTERRUPTED, everything else IO.
 */
void snap_error_set_errno(GError **errp, int error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* A word per code, which does not change: "io", "no-space", "locked", ... */
const char *snap_error_class(const GError *error);

/* Add to the end of *@errp's text; the counterpart of g_prefix_error(). */
void snap_error_append(GError **errp, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

#endif /* SNAP_ERROR_H */
