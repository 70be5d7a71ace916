/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the command line asked for, in one struct, and what came of it.
 */
#ifndef SNAP_OPTIONS_H
#define SNAP_OPTIONS_H

#include "host-file.h"

typedef struct SnapOptions {
    const char *command; /* "save", "load", "list", "inspect" */
    const char *image;   /* file name */
    const char *name;    /* -n: name or ID of a snapshot; NULL: not given */
    bool create;         /* --create or -s: make the image if it is missing */
    uint64_t size;       /* -s: virtual size of a new image, bytes */
    bool raw;            /* --raw: store the bytes whatever they are */
    HostFileCache cache;
    HostFileAio aio;
    unsigned depth; /* requests in flight; 0: follow the device */
    bool force_share;
    bool progress;
    bool quiet;
    bool json;
    Trace *trace; /* -T; NULL: not given */
} SnapOptions;

/* The option --depth. */
#define SNAP_MIN_DEPTH 1
#define SNAP_MAX_DEPTH 32

typedef struct SnapResult {
    int signal;          /* stopped by this signal; 0: by none */
    bool output_begun;   /* load: bytes have gone to standard output */
    GPtrArray *warnings; /* of char *: worth saying, though nothing failed */
} SnapResult;

/*
 * Carry out the command. Outside coroutines. Returns false and fills @errp;
 * the message names the file.
 */
bool snap_handle(const SnapOptions *options, SnapResult *result, GError **errp);

#endif /* SNAP_OPTIONS_H */
