/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * snapshot: what `qemu-img snapshot' of QEMU 7.2 does, to the letter, so that
 * scripts can be pointed here. So it has options of its own, it takes names
 * that create refuses, and its messages are not ours. What is not the same:
 * control characters of names are shown as \xNN, a backing file is not opened,
 * and what the image's format has to say is said in our words.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "qcow2-snapshots.h"
#include "snap-command-line.h"
#include "snap-commands.h"
#include "snap-error.h"

const SnapOption snap_snapshot_options[] = {
    { NULL, 'l', NULL, false, NULL, "list the snapshots" },
    { NULL, 'a', "SNAPSHOT", false, NULL,
      "let the disk be what it was at the snapshot" },
    { NULL, 'c', "SNAPSHOT", false, NULL, "create a snapshot" },
    { NULL, 'd', "SNAPSHOT", false, NULL, "delete a snapshot" },
    { "force-share", 'U', NULL, false, NULL, "do not lock FILE (with -l)" },
    { NULL, 'q', NULL, false, NULL, "no effect" },
    { "image-opts", 0, NULL, false, NULL, "not supported" },
    { "object", 0, "OBJECT", false, NULL, "not supported" },
    { "help", 'h', NULL, false, NULL, "show this help" },
    { NULL },
};

typedef struct Request {
    char action;          /* 'l', 'a', 'c', 'd'; 0: only open the image */
    const char *snapshot; /* what the action is about */
    const char *file;
    bool force_share;
    bool help;
} Request;

static bool fail(GError **errp, SnapError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static bool fail(GError **errp, SnapError code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *errp = g_error_new_valist(SNAP_ERROR, code, format, args);
    va_end(args);
    return false;
}

/* A command line that is wrong; @word is the option that was not understood. */
static bool fail_usage(SnapResult *result, const char *text, const char *word,
                       GError **errp)
{
    result->hint =
        g_strdup("Try '" SNAP_PROGRAM " --help' for more information");
    return word ? fail(errp, SNAP_ERROR_INVALID, "%s '%s'", text, word)
                : fail(errp, SNAP_ERROR_INVALID, "%s", text);
}

static bool take_option(const SnapOption *option, Request *request,
                        SnapResult *result, GError **errp)
{
    switch (option->letter) {
    case 'l':
    case 'a':
    case 'c':
    case 'd':
        if (request->action) {
            return fail_usage(result, "Cannot mix '-l', '-a', '-c', '-d'", NULL,
                              errp);
        }
        request->action = option->letter;
        request->snapshot = optarg;
        return true;
    case 'U':
        request->force_share = true;
        return true;
    case 'h':
        request->help = true;
        return true;
    case 'q':
        return true;
    default:
        return fail(errp, SNAP_ERROR_UNSUPPORTED,
                    "--%s is not supported: an image is a file name",
                    option->name);
    }
}

static bool parse(char **words, Request *request, SnapResult *result,
                  GError **errp)
{
    g_autoptr(GString) letters = g_string_new(NULL);
    g_autofree struct option *names =
        snap_option_list(snap_snapshot_options, letters);
    int count = g_strv_length(words);
    int found;

    opterr = 0;
    while (!request->help && (found = getopt_long(count, words, letters->str,
                                                  names, NULL)) != -1) {
        if (found == ':' || found == '?') {
            return fail_usage(result,
                              found == ':' ? "missing argument for option"
                                           : "unrecognized option",
                              words[optind - 1], errp);
        }
        if (!take_option(snap_option_find(snap_snapshot_options, found),
                         request, result, errp)) {
            return false;
        }
    }
    if (!request->help && optind != count - 1) {
        return fail_usage(result, "Expecting one image file name", NULL, errp);
    }
    request->file = words[optind];
    return true;
}

/*
 * Why could a file not be opened? The reason is asked for once more, as a
 * number, because the words for it must be others than ours.
 */
static bool fail_open(const Request *request, bool writable, SnapResult *result,
                      GError *why, GError **errp)
{
    g_autoptr(GError) reason = why;
    const char *file = request->file;
    int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd;

    if (g_error_matches(reason, SNAP_ERROR, SNAP_ERROR_LOCKED)) {
        result->hint =
            g_strdup_printf("Is another process using the image [%s]?", file);
        return fail(errp, SNAP_ERROR_LOCKED,
                    "Could not open '%s': Failed to get %s\"write\" lock", file,
                    writable ? "" : "shared ");
    }
    fd = open(file, flags | (writable ? O_RDWR : O_RDONLY));
    if (fd < 0) {
        return fail(errp, reason->code,
                    "Could not open '%s': Could not open "
                    "'%s': %s",
                    file, file, g_strerror(errno));
    }
    close(fd);
    if (g_file_test(file, G_FILE_TEST_IS_DIR)) {
        return fail(errp, reason->code,
                    "Could not open '%s': 'file' driver "
                    "requires '%s' to be a regular file",
                    file, file);
    }
    return fail(errp, reason->code, "Could not open '%s': %s", file,
                reason->message);
}

/* @image->qcow2 stays NULL if it is in no format that has snapshots. Yields. */
static bool coroutine_fn open_image(const Request *request, SnapImage *image,
                                    SnapResult *result, GError **errp)
{
    bool writable = request->action != 'l';
    HostFileOptions options = {
        .writable = writable,
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .lock = writable ? BLOCK_FILE_LOCK_WRITE : BLOCK_FILE_LOCK_READ,
    };
    GError *error = NULL;
    bool is_qcow2;

    if (writable && request->force_share) {
        return fail(errp, SNAP_ERROR_INVALID,
                    "Could not open '%s': "
                    "force-share=on can only be used with read-only images",
                    request->file);
    }
    if (!*request->file) {
        return fail(errp, SNAP_ERROR_INVALID,
                    "Could not open '': The 'file' block driver requires a "
                    "file name");
    }
    if (request->force_share) {
        options.lock = BLOCK_FILE_LOCK_NONE;
    }
    image->file = host_file_open(request->file, &options, &error);
    if (!image->file) {
        return fail_open(request, writable, result, error, errp);
    }
    if (!qcow2_probe(image->file, &is_qcow2, &error)) {
        return fail_open(request, writable, result, error, errp);
    }
    if (!is_qcow2) {
        return true;
    }
    image->qcow2 = writable ? qcow2_open_writable(image->file, &error)
                            : qcow2_open(image->file, &error);
    if (!image->qcow2) {
        return fail_open(request, writable, result, error, errp);
    }
    return true;
}

static bool coroutine_fn create(const Request *request, const SnapImage *image,
                                GError **errp)
{
    /* What does not fit is cut off. */
    g_autofree char *name = g_strndup(request->snapshot, QCOW2_MAX_NAME_BYTES);
    Qcow2SnapshotStamp stamp = { 0 };
    struct timespec now;
    g_autoptr(GError) error = NULL;

    clock_gettime(CLOCK_REALTIME, &now);
    stamp.date_sec = now.tv_sec;
    stamp.date_nsec = now.tv_nsec;
    if (qcow2_snapshot_create_like_qemu_img(image->qcow2, name, &stamp,
                                            &error)) {
        return true;
    }
    if (g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NO_SPACE)) {
        return fail(errp, error->code,
                    "Could not create snapshot '%s': %d "
                    "(%s)",
                    request->snapshot, -ENOSPC, g_strerror(ENOSPC));
    }
    return fail(errp, error->code, "Could not create snapshot '%s': %s",
                request->snapshot, error->message);
}

static bool coroutine_fn apply(const Request *request, const SnapImage *image,
                               GError **errp)
{
    const Qcow2Snapshot *snapshot =
        qcow2_find_snapshot(image->qcow2, request->snapshot);
    g_autoptr(GError) error = NULL;

    if (qcow2_header(image->qcow2)->bitmap_count) {
        return fail(errp, SNAP_ERROR_UNSUPPORTED,
                    "Could not apply snapshot '%s': Device has active dirty "
                    "bitmaps",
                    request->snapshot);
    }
    if (!snapshot) {
        return fail(errp, SNAP_ERROR_NOT_FOUND,
                    "Could not apply snapshot '%s': "
                    "Failed to load snapshot: No such file or directory",
                    request->snapshot);
    }
    if (qcow2_snapshot_apply(image->qcow2, snapshot, &error)) {
        return true;
    }
    return fail(errp, error->code, "Could not apply snapshot '%s': %s",
                request->snapshot, error->message);
}

/* The first one of that name; an ID does not count. */
static const Qcow2Snapshot *find_by_name(const Qcow2Image *image,
                                         const char *name)
{
    const GPtrArray *snapshots = qcow2_snapshots(image);
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (!strcmp(snapshot->name, name)) {
            return snapshot;
        }
    }
    return NULL;
}

static bool coroutine_fn delete (const Request *request, const SnapImage *image,
                                 GError **errp)
{
    const Qcow2Snapshot *snapshot =
        find_by_name(image->qcow2, request->snapshot);
    g_autoptr(GError) error = NULL;

    if (!snapshot) {
        return fail(errp, SNAP_ERROR_NOT_FOUND,
                    "Could not delete snapshot "
                    "'%s': snapshot not found",
                    request->snapshot);
    }
    if (qcow2_snapshot_delete(image->qcow2, snapshot, &error)) {
        return true;
    }
    return fail(errp, error->code, "Could not delete snapshot '%s': %s",
                request->snapshot, error->message);
}

static bool coroutine_fn act(const Request *request, const SnapImage *image,
                             GError **errp)
{
    switch (request->action) {
    case 'l':
        snap_print_snapshots(qcow2_snapshots(image->qcow2));
        return true;
    case 'a':
        return apply(request, image, errp);
    case 'c':
        return create(request, image, errp);
    case 'd':
        return delete (request, image, errp);
    default:
        return true;
    }
}

/* An image of another format passes for a raw one. */
static bool act_on_raw(const Request *request, GError **errp)
{
    if (request->action != 'l') {
        fprintf(stderr,
                "WARNING: Image format was not specified for '%s' and probing "
                "guessed raw.\n"
                "         Automatically detecting the format is dangerous for "
                "raw images, write operations on block 0 will be restricted.\n"
                "         Specify the 'raw' format explicitly to remove the "
                "restrictions.\n",
                request->file);
    }
    switch (request->action) {
    case 'a':
        return fail(errp, SNAP_ERROR_UNSUPPORTED,
                    "Could not apply snapshot "
                    "'%s': Block driver does not support snapshots",
                    request->snapshot);
    case 'c':
        return fail(errp, SNAP_ERROR_UNSUPPORTED,
                    "Could not create snapshot "
                    "'%s': %d (%s)",
                    request->snapshot, -ENOTSUP, g_strerror(ENOTSUP));
    case 'd':
        return fail(errp, SNAP_ERROR_UNSUPPORTED,
                    "Could not delete snapshot "
                    "'%s': snapshot not found",
                    request->snapshot);
    default:
        return true;
    }
}

bool coroutine_fn snap_snapshot(const SnapOptions *options, SnapResult *result,
                                GError **errp)
{
    Request request = { 0 };
    SnapImage image = { 0 };
    bool done;

    if (!parse(options->words, &request, result, errp)) {
        return false;
    }
    if (request.help) {
        g_autofree char *help = snap_help(options->command);

        fputs(help, stdout);
        return true;
    }
    done = open_image(&request, &image, result, errp) &&
           (image.qcow2 ? act(&request, &image, errp)
                        : act_on_raw(&request, errp));
    snap_image_close(&image);
    return done;
}
