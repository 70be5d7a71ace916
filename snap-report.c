/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-report.h. Whoever waits for the file of a result sees the old one,
 * none, or all of the new one, so it is made beside its place and then moved.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>
#include <json-glib/json-glib.h>

#include "snap-error.h"
#include "snap-report.h"

/* JSON is UTF-8; file names need not be. */
static void add_text(JsonBuilder *json, const char *member, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    json_builder_set_member_name(json, member);
    json_builder_add_string_value(json, valid);
}

static void add_number(JsonBuilder *json, const char *member, int64_t number)
{
    json_builder_set_member_name(json, member);
    json_builder_add_int_value(json, number);
}

/* {"@what": {, with the file's name if that is known. */
static JsonBuilder *begin_line(const SnapOptions *options, const char *what)
{
    JsonBuilder *json = json_builder_new();

    json_builder_begin_object(json);
    json_builder_set_member_name(json, what);
    json_builder_begin_object(json);
    if (options->image) {
        add_text(json, "filename", options->image);
    }
    return json;
}

static char *end_line(JsonBuilder *json)
{
    g_autoptr(JsonNode) root = NULL;

    json_builder_end_object(json);
    json_builder_end_object(json);
    root = json_builder_get_root(json);
    return json_to_string(root, FALSE);
}

char *snap_report_error(const SnapOptions *options, const GError *error)
{
    g_autoptr(JsonBuilder) json = begin_line(options, "error");

    add_text(json, "class", snap_error_class(error));
    add_text(json, "desc", error->message);
    return end_line(json);
}

char *snap_report_warning(const SnapOptions *options, const char *text)
{
    g_autoptr(JsonBuilder) json = begin_line(options, "warning");

    add_text(json, "desc", text);
    return end_line(json);
}

char *snap_report_saved(const SnapOptions *options, const SnapResult *result)
{
    g_autoptr(JsonBuilder) json = begin_line(options, "saved");
    double seconds = result->microseconds / 1e6;

    add_text(json, "id", result->id);
    add_text(json, "name", result->name);
    add_number(json, "bytes", result->bytes);
    json_builder_set_member_name(json, "seconds");
    json_builder_add_double_value(json, seconds);
    add_number(json, "rate", seconds > 0 ? result->bytes / seconds : 0);
    return end_line(json);
}

/*
 * Is there nothing that would be lost? Only what begins as a result does is
 * replaced: the name may be one of the image by another way.
 */
static bool check_replaceable(const char *path, GError **errp)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;
    char first = '{';
    bool replaceable;

    if (fd < 0 && errno == ENOENT) {
        return true;
    }
    if (fd < 0) {
        snap_error_set_errno(errp, -errno, "the result cannot go to '%s'",
                             path);
        return false;
    }
    replaceable = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                  read(fd, &first, 1) >= 0 && first == '{';
    close(fd);
    if (!replaceable) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_EXISTS,
                    "the result cannot go to '%s', which is something else",
                    path);
    }
    return replaceable;
}

bool snap_report_check(const SnapOptions *options, GError **errp)
{
    const char *path = options->result;
    g_autofree char *directory = NULL;

    if (!path) {
        return true;
    }
    if (!g_strcmp0(path, options->image)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "the result cannot go to '%s', which is the image", path);
        return false;
    }
    if (!check_replaceable(path, errp)) {
        return false;
    }
    directory = g_path_get_dirname(path);
    if (access(directory, W_OK | X_OK) < 0) {
        snap_error_set_errno(errp, -errno, "the result cannot go to '%s'",
                             path);
        return false;
    }
    return true;
}

bool snap_report_write(const SnapOptions *options, const char *line,
                       GError **errp)
{
    g_autofree char *text = g_strconcat(line, "\n", NULL);
    g_autoptr(GError) error = NULL;

    /* Once more: the image may be new. */
    if (!check_replaceable(options->result, errp)) {
        return false;
    }
    if (!g_file_set_contents_full(options->result, text, strlen(text),
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0644,
                                  &error)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "cannot write the result: %s", error->message);
        return false;
    }
    return true;
}
