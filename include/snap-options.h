/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the command line asked for, in one struct, and what came of it.
 */
#ifndef SNAP_OPTIONS_H
#define SNAP_OPTIONS_H

#include "host-file.h"
#include "qcow2-check.h"

/* What becomes of RAM or a device that is extracted. */
typedef enum SnapFormat {
    SNAP_FORMAT_AUTOMATIC, /* as --block and --device say, else raw */
    SNAP_FORMAT_RAW,       /* guest-physical memory */
    SNAP_FORMAT_ELF,       /* the same as a core file */
    SNAP_FORMAT_BLOCKS,    /* RAM blocks */
    SNAP_FORMAT_BYTES,     /* what the stream has of a device */
} SnapFormat;

/* What -n says of a snapshot that exists. */
typedef enum SnapReading {
    SNAP_READ_EITHER, /* its ID or its name */
    SNAP_READ_ID,
    SNAP_READ_NAME,
} SnapReading;

/* --color: of what is drawn. */
typedef enum SnapColor {
    SNAP_COLOR_AUTO, /* on a terminal */
    SNAP_COLOR_ALWAYS,
    SNAP_COLOR_NEVER,
} SnapColor;

typedef struct SnapOptions {
    const char *command;  /* a name of snap-commands.c: "save", "load", ... */
    char **words;         /* snapshot: its own command line; else NULL */
    const char *image;    /* file name; snapshot: NULL */
    const char *output;   /* extract: file name, or "-"; else NULL */
    const char *name;     /* -n: name or ID of a snapshot; NULL: not given */
    SnapReading reading;  /* --id, --name: what that is */
    const char *side_a;   /* diff -a: name or ID; NULL: not given */
    const char *side_b;   /* diff -b */
    const char *image_b;  /* diff: the one of -b; NULL: the same one */
    const char *new_name; /* --to; NULL: not given */
    bool replace;         /* --replace: a snapshot of that name goes */
    bool devices;         /* inspect --devices: decode their state */
    bool no_discard;      /* --no-discard: freed clusters keep their space */
    bool apply;           /* load --apply: the disks go back, too */
    GPtrArray *with;      /* --with: of const char *; NULL: not given */
    bool create;          /* --create or -s: make the image if it is missing */
    uint64_t size;        /* -s: virtual size of a new image, bytes */
    bool raw;             /* --raw: store the bytes whatever they are */
    bool all;             /* --all: of all snapshots with VM state */
    bool verify;          /* --verify: nothing damaged goes out */
    bool no_index;        /* --no-index: nothing but the stream is stored */
    HostFileCache cache;
    HostFileAio aio;
    unsigned depth;        /* requests in flight; 0: follow the device */
    unsigned wait_lock;    /* --wait-lock: seconds; or SNAP_WAIT_FOR_EVER */
    const char *spool_dir; /* --spool-dir; NULL: beside the image */
    const char *result;    /* --result; NULL: not given */
    Qcow2Repair repair;    /* -r */
    SnapFormat format;     /* --format */
    const char *block;     /* --block: name of a RAM block; NULL: not given */
    const char *device;    /* --device: NAME[:INSTANCE]; NULL: not given */
    const char *order;     /* --order: names of some; NULL: not given */
    uint64_t below_4g;     /* --below-4g: bytes; 0: not given */
    bool force;            /* --force: a file that is there is replaced */
    bool map;              /* --map: draw the RAM */
    bool ranges;           /* diff --ranges: list what differs */
    SnapColor color;       /* --color */
    bool force_share;
    bool progress;
    bool quiet;
    bool json;
    Trace *trace; /* -T; NULL: not given */
} SnapOptions;

/* The option --depth. */
#define SNAP_MIN_DEPTH 1
#define SNAP_MAX_DEPTH 32

/* The option --wait-lock. */
#define SNAP_WAIT_DEFAULT  5
#define SNAP_WAIT_MAX      (G_MAXUINT - 1)
#define SNAP_WAIT_FOR_EVER G_MAXUINT

typedef struct SnapResult {
    int signal;           /* stopped by this signal; 0: by none */
    bool tell_error;      /* the error says more than that it was a signal */
    int exit_status;      /* check: the verdict; 0: as the return value says */
    char *hint;           /* a line to follow the error's; g_free(); or NULL */
    bool output_begun;    /* load: bytes have gone to standard output */
    bool output_taken;    /* standard output is not for reports */
    char *id;             /* of the snapshot that was changed or read */
    char *name;           /* the same; both: g_free(); or NULL */
    char *old_name;       /* rename: before; g_free(); or NULL */
    uint64_t bytes;       /* save, gc: of VM state; extract: of the output */
    int64_t microseconds; /* that the command took */
    GPtrArray *warnings;  /* of char *: worth saying, though nothing failed */
} SnapResult;

/* Exit statuses of diff, as those of qemu-img compare; 0: the same. */
enum {
    SNAP_DIFF_DIFFERENT = 1,
    SNAP_DIFF_FAILED = 2,
};

/*
 * Carry out the command. Outside coroutines. Returns false and fills @errp;
 * the message names the file.
 */
bool snap_handle(const SnapOptions *options, SnapResult *result, GError **errp);

#endif /* SNAP_OPTIONS_H */
