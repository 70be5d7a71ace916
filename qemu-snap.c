/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * From the command line to an exit status: what comes back from a command
 * becomes messages. The only file that prints errors and exits.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "patient-output.h"
#include "printable.h"
#include "snap-command-line.h"
#include "snap-error.h"
#include "snap-report.h"

/* Is @command meant, also where the command line was too wrong to know it? */
static bool is_command(int argc, char **argv, const SnapOptions *options,
                       const char *command)
{
    bool found = options->command && !strcmp(options->command, command);
    int i;

    for (i = 1; i < argc && !options->command; i++) {
        found |= !strcmp(argv[i], command);
    }
    return found;
}

/*
 * An incoming QEMU whose command ends without a word waits for ever; one wrong
 * byte makes it give up. So a load says something whatever happened.
 */
static void break_silence(int argc, char **argv, const SnapOptions *options,
                          const SnapResult *result)
{
    if (is_command(argc, argv, options, "load") && !result->output_begun &&
        !isatty(STDOUT_FILENO) && write(STDOUT_FILENO, "", 1) < 0) {
        return;
    }
}

/* Die of the signal that stopped us, so that the caller sees the cause. */
static void die_of(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* One line, whatever is in the names that it repeats. */
static void print_line(const char *text)
{
    g_autofree char *safe = printable(text);

    fprintf(stderr, SNAP_PROGRAM ": %s\n", safe);
}

static void print_warnings(const SnapOptions *options, const SnapResult *result)
{
    guint i;

    for (i = 0; i < result->warnings->len && !options->quiet; i++) {
        const char *text = g_ptr_array_index(result->warnings, i);
        g_autofree char *line = NULL;

        if (options->json) {
            line = snap_report_warning(options, text);
            fprintf(stderr, "%s\n", line);
        } else {
            line = g_strdup_printf("%s: warning: %s", options->image, text);
            print_line(line);
        }
    }
}

static void print_error(const SnapOptions *options, const SnapResult *result,
                        const GError *error)
{
    if (options->json) {
        g_autofree char *line = snap_report_error(options, error);

        fprintf(stderr, "%s\n", line);
        return;
    }
    print_line(error->message);
    if (result->hint) {
        g_autofree char *hint = printable(result->hint);

        fprintf(stderr, "%s\n", hint);
    }
}

/*
 * What was saved, or *@errp, to where --result says. A failure is added to
 * *@errp, or becomes it.
 */
static bool write_result(const SnapOptions *options, const SnapResult *result,
                         bool done, GError **errp)
{
    g_autofree char *line = NULL;
    g_autoptr(GError) error = NULL;

    if (!options->result) {
        return true;
    }
    line = done ? snap_report_done(options, result)
                : snap_report_error(options, *errp);
    if (snap_report_write(options, line, &error)) {
        return true;
    }
    if (done) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO,
                    "%s: the snapshot was saved, but: %s", options->image,
                    error->message);
    } else {
        snap_error_append(errp, "; %s", error->message);
    }
    return false;
}

/*
 * Bytes between those of QEMU's return path would be taken for an answer; a
 * QEMU that has not asked for one closes its end of the pipe, and nobody else
 * who does that misses a word.
 */
static bool print_done(const SnapOptions *options, const SnapResult *result,
                       GError **errp)
{
    g_autofree char *line = NULL;
    g_autofree char *text = NULL;

    if (!options->json || result->output_taken) {
        return true;
    }
    line = snap_report_done(options, result);
    if (!line) {
        return true;
    }
    text = g_strconcat(line, "\n", NULL);
    if (write(STDOUT_FILENO, text, strlen(text)) < 0 && errno != EPIPE) {
        snap_error_set_errno(errp, -errno,
                             "%s is done, but nothing can be written to "
                             "standard output",
                             options->command);
        return false;
    }
    return true;
}

static bool run(int argc, char **argv, SnapOptions *options, SnapResult *result,
                GError **errp)
{
    g_autofree char *text = NULL;
    bool done = snap_parse_command_line(argc, argv, options, &text, errp);

    if (text) {
        fputs(text, stdout);
        return true;
    }
    /* Where nothing can be written, not even that is written. */
    if (!snap_report_check(options, done ? errp : NULL)) {
        options->result = NULL;
        return false;
    }
    done = done && snap_handle(options, result, errp);
    if (!write_result(options, result, done, errp)) {
        return false;
    }
    return done && print_done(options, result, errp);
}

/*
 * Whoever started us may have closed a standard descriptor. The image must not
 * become it: something is going to be read from it or printed to it. What takes
 * its place fails when it is used, but for complaints, which nobody wants then.
 */
static void fill_standard_descriptors(void)
{
    static const int modes[] = {
        [STDIN_FILENO] = O_WRONLY,
        [STDOUT_FILENO] = O_RDONLY,
        [STDERR_FILENO] = O_WRONLY,
    };
    int fd;

    for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        /* The lowest free descriptor is what it gets. */
        if (fcntl(fd, F_GETFD) < 0) {
            /* cppcheck-suppress leakReturnValNotUsed */
            (void)open("/dev/null", modes[fd]);
        }
    }
}

int main(int argc, char **argv)
{
    SnapOptions options = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_AUTOMATIC,
        .wait_lock = SNAP_WAIT_DEFAULT,
    };
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    SnapResult result = { .warnings = warnings };
    g_autoptr(GError) error = NULL;
    bool done;

    fill_standard_descriptors();
    patient_output_init();
    /* A reader that closes its pipe is an event, not a reason to die. */
    signal(SIGPIPE, SIG_IGN);
    /* And a limit on file sizes is an error of the write that meets it. */
    signal(SIGXFSZ, SIG_IGN);
    done = run(argc, argv, &options, &result, &error);
    g_clear_pointer(&options.trace, trace_free);
    g_clear_pointer(&options.with, g_ptr_array_unref);
    print_warnings(&options, &result);
    if (done && (fflush(stdout) != 0 || ferror(stdout))) {
        g_set_error(&error, SNAP_ERROR, SNAP_ERROR_IO,
                    "cannot write to standard output: %s", g_strerror(errno));
        done = false;
    }
    if (!done) {
        break_silence(argc, argv, &options, &result);
    }
    /* A failure must not be taken for a difference. */
    if (!done && is_command(argc, argv, &options, "diff")) {
        result.exit_status = SNAP_DIFF_FAILED;
    }
    /*
     * Who dies of a signal needs no words, unless a program reads them, or they
     * say what has become of stream or disks.
     */
    if (!done && (options.json || !result.signal || result.tell_error)) {
        print_error(&options, &result, error);
    }
    g_free(result.hint);
    g_free(result.id);
    g_free(result.name);
    g_free(result.old_name);
    if (result.signal) {
        die_of(result.signal);
    }
    return done || result.exit_status ? result.exit_status : EXIT_FAILURE;
}
