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

#include "printable.h"
#include "snap-error.h"
#include "snap-report.h"

/* What a command has to tell, if any. */
typedef struct SnapReport {
    const char *command;
    const char *what; /* it did, as the object is called */
    bool with;        /* what it did may be of several images */
    bool bytes;
    bool rate;
} SnapReport;

/* One more member of the object that @line ends in. */
static void add_name(GString *line, const char *member)
{
    bool first = g_str_has_suffix(line->str, "{");

    g_string_append_printf(line, "%s\"%s\":", first ? "" : ",", member);
}

/* JSON is UTF-8; file names need not be. */
static void append_text(GString *line, const char *text)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    g_autofree char *quoted = NULL;
    g_autofree char *safe = NULL;

    json_node_set_string(node, valid);
    quoted = json_to_string(node, FALSE);
    safe = printable_json(quoted);
    g_string_append(line, safe);
}

static void add_text(GString *line, const char *member, const char *text)
{
    add_name(line, member);
    append_text(line, text);
}

static void add_number(GString *line, const char *member, int64_t number)
{
    add_name(line, member);
    g_string_append_printf(line, "%" G_GINT64_FORMAT, number);
}

/* json-glib would print a fraction with all 17 digits that a double has. */
static void add_seconds(GString *line, int64_t microseconds)
{
    add_name(line, "seconds");
    g_string_append_printf(line, "%" G_GINT64_FORMAT ".%06d",
                           microseconds / G_USEC_PER_SEC,
                           (int)(microseconds % G_USEC_PER_SEC));
}

/* Always an array, also of nothing, as in lists. */
static void add_texts(GString *line, const char *member, const GPtrArray *texts)
{
    guint i;

    add_name(line, member);
    g_string_append_c(line, '[');
    for (i = 0; texts && i < texts->len; i++) {
        g_string_append(line, i ? "," : "");
        append_text(line, g_ptr_array_index(texts, i));
    }
    g_string_append_c(line, ']');
}

/* {"@what": {, with the file's name if that is known. */
static GString *begin_line(const SnapOptions *options, const char *what)
{
    GString *line = g_string_new("{");

    add_name(line, what);
    g_string_append_c(line, '{');
    if (options->image) {
        add_text(line, "filename", options->image);
    }
    return line;
}

static char *end_line(GString *line)
{
    g_string_append(line, "}}");
    return g_string_free(line, FALSE);
}

char *snap_report_error(const SnapOptions *options, const GError *error)
{
    GString *line = begin_line(options, "error");

    add_text(line, "class", snap_error_class(error));
    add_text(line, "desc", error->message);
    return end_line(line);
}

char *snap_report_warning(const SnapOptions *options, const char *text)
{
    GString *line = begin_line(options, "warning");

    add_text(line, "desc", text);
    return end_line(line);
}

static const SnapReport *find_report(const char *command)
{
    static const SnapReport reports[] = {
        { "save", "saved", .with = true, .bytes = true, .rate = true },
        { "extract", "extracted", .bytes = true, .rate = true },
        { "index", "indexed" },
        { "create", "created", .with = true },
        { "delete", "deleted", .with = true },
        { "apply", "applied", .with = true },
        { "rename", "renamed" },
        { "gc", "freed", .bytes = true },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(reports); i++) {
        if (!strcmp(reports[i].command, command)) {
            return &reports[i];
        }
    }
    return NULL;
}

char *snap_report_done(const SnapOptions *options, const SnapResult *result)
{
    const SnapReport *report = find_report(options->command);
    double seconds = result->microseconds / 1e6;
    GString *line;

    if (!report) {
        return NULL;
    }
    line = begin_line(options, report->what);
    if (result->id) {
        add_text(line, "id", result->id);
        add_text(line, "name", result->name);
    }
    if (options->output) {
        add_text(line, "output", options->output);
    }
    if (result->old_name) {
        add_text(line, "old-name", result->old_name);
    }
    if (report->with) {
        add_texts(line, "with", options->with);
    }
    if (report->bytes) {
        add_number(line, "bytes", result->bytes);
    }
    add_seconds(line, result->microseconds);
    if (report->rate) {
        add_number(line, "rate",
                   seconds > 0 ? (int64_t)(result->bytes / seconds) : 0);
    }
    return end_line(line);
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
