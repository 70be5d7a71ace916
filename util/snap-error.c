/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Turns the negative errno of leaf I/O into the GError of module borders, in
 * one place, so that a full disk is told from a broken one everywhere alike.
 */
#include <errno.h>

#include "snap-error.h"

GQuark snap_error_quark(void)
{
    return g_quark_from_static_string("snap-error-quark");
}

static SnapError snap_error_from_errno(int error)
{
    switch (-error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return SNAP_ERROR_NO_SPACE;
    case ENOENT:
        return SNAP_ERROR_NOT_FOUND;
    case EEXIST:
        return SNAP_ERROR_EXISTS;
    case ECANCELED:
        return SNAP_ERROR_INTERRUPTED;
    default:
        return SNAP_ERROR_IO;
    }
}

void snap_error_set_errno(GError **errp, int error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(errp, SNAP_ERROR, snap_error_from_errno(error), "%s: %s", text,
                g_strerror(-error));
}

const char *snap_error_class(const GError *error)
{
    static const char *const classes[] = {
        [SNAP_ERROR_IO] = "io",
        [SNAP_ERROR_NO_SPACE] = "no-space",
        [SNAP_ERROR_LOCKED] = "locked",
        [SNAP_ERROR_DAMAGED] = "damaged",
        [SNAP_ERROR_UNSUPPORTED] = "unsupported",
        [SNAP_ERROR_NOT_FOUND] = "not-found",
        [SNAP_ERROR_AMBIGUOUS] = "ambiguous",
        [SNAP_ERROR_EXISTS] = "exists",
        [SNAP_ERROR_INVALID] = "invalid",
        [SNAP_ERROR_STREAM] = "stream",
        [SNAP_ERROR_INTERRUPTED] = "interrupted",
    };

    /* Others are those of files. */
    return error->domain == SNAP_ERROR ? classes[error->code] : "io";
}

void snap_error_append(GError **errp, const char *format, ...)
{
    g_autofree char *before = NULL;
    g_autofree char *more = NULL;
    va_list args;

    if (!errp || !*errp) {
        return;
    }
    va_start(args, format);
    more = g_strdup_vprintf(format, args);
    va_end(args);
    before = (*errp)->message;
    (*errp)->message = g_strconcat(before, more, NULL);
}
