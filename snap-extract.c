/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * extract: memory of a machine that was saved, as a file that debuggers and
 * tools for memory images read. What such a file consists of is described by a
 * layout; what is in it is read from where it is in the VM state.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap-error.h"
#include "snap-extract.h"

static bool goes_to_stdout(const SnapOptions *options)
{
    return !strcmp(options->output, "-");
}

static SnapFormat format_of(const SnapOptions *options)
{
    if (options->format != SNAP_FORMAT_AUTOMATIC) {
        return options->format;
    }
    if (options->device) {
        return SNAP_FORMAT_BYTES;
    }
    return options->block ? SNAP_FORMAT_BLOCKS : SNAP_FORMAT_RAW;
}

static bool makes_directory(const SnapOptions *options)
{
    return format_of(options) == SNAP_FORMAT_BLOCKS && !options->block;
}

static bool check_stdout(const SnapOptions *options, GError **errp)
{
    if (makes_directory(options)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "--format=blocks makes a directory: standard output takes "
                    "one block (--block)");
        return false;
    }
    if (isatty(STDOUT_FILENO)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "standard output is a terminal: memory must go to a pipe "
                    "or a file");
        return false;
    }
    return true;
}

/* What --force may replace: a file, which is not what is read from. */
static bool check_replaced(const SnapOptions *options,
                           const struct stat *output, GError **errp)
{
    struct stat image;

    if (!options->force || makes_directory(options)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_EXISTS,
                    "'%s' is there already%s", options->output,
                    makes_directory(options) ? "" : " (--force replaces it)");
        return false;
    }
    if (!S_ISREG(output->st_mode)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_EXISTS,
                    "'%s' is there already, and not a file", options->output);
        return false;
    }
    if (stat(options->image, &image) == 0 && image.st_dev == output->st_dev &&
        image.st_ino == output->st_ino) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "the output cannot be the image");
        return false;
    }
    return true;
}

/* Before much is read: can the output be made? */
static bool check_output(const SnapOptions *options, GError **errp)
{
    g_autofree char *directory = NULL;
    struct stat output;

    if (goes_to_stdout(options)) {
        return check_stdout(options, errp);
    }
    directory = g_path_get_dirname(options->output);
    if (access(directory, W_OK | X_OK) < 0) {
        snap_error_set_errno(errp, -errno, "cannot make '%s'", options->output);
        return false;
    }
    return lstat(options->output, &output) < 0 ||
           check_replaced(options, &output, errp);
}

static bool check_options(const SnapOptions *options, GError **errp)
{
    SnapFormat format = format_of(options);
    const char *wrong = NULL;

    if ((options->device != NULL) != (format == SNAP_FORMAT_BYTES)) {
        wrong = "--device and --format=bytes go with each other only";
    } else if (options->block && format != SNAP_FORMAT_BLOCKS) {
        wrong = "--block goes with --format=blocks only";
    } else if ((options->below_4g || options->order) &&
               format != SNAP_FORMAT_RAW && format != SNAP_FORMAT_ELF) {
        wrong = "--below-4g and --order go with --format=raw or elf only";
    }
    if (wrong) {
        g_set_error_literal(errp, SNAP_ERROR, SNAP_ERROR_INVALID, wrong);
        return false;
    }
    return check_output(options, errp);
}

/* Beside the output, or where temporary files go. */
static char *temporary_directory(const SnapOptions *options)
{
    const char *set = g_getenv("TMPDIR");

    if (!goes_to_stdout(options)) {
        return g_path_get_dirname(options->output);
    }
    return g_strdup(set ? set : "/var/tmp");
}

static bool coroutine_fn open_source(SnapExtract *extract, GError **errp)
{
    const SnapOptions *options = extract->options;
    g_autofree char *directory = temporary_directory(options);

    extract->source = snap_state_source(&extract->state);
    if (options->device) {
        return true;
    }
    extract->pages = snap_pages_open(extract->state.index, &extract->source,
                                     directory, options, errp);
    return extract->pages != NULL;
}

static bool lay_out_block(const SnapExtract *extract, SnapLayout *layout,
                          GError **errp)
{
    const char *name = extract->options->block;
    const GPtrArray *blocks = stream_index_info(extract->state.index)->blocks;
    guint i;

    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = blocks->pdata[i];

        if (!strcmp(block->name, name)) {
            snap_layout_add_block(layout, 0, block, 0, block->bytes);
            return true;
        }
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND,
                "there is no RAM block '%s'", name);
    return false;
}

/* Offsets are addresses, counted from where RAM begins. */
static void lay_out_raw(SnapLayout *layout, const SnapPhysical *physical)
{
    guint i;

    for (i = 0; i < physical->ranges->len; i++) {
        const SnapPhysicalRange *range =
            &g_array_index(physical->ranges, SnapPhysicalRange, i);

        snap_layout_add_block(layout, range->start - physical->base,
                              range->block, range->offset, range->bytes);
    }
}

static bool coroutine_fn lay_out(const SnapExtract *extract, SnapLayout *layout,
                                 SnapResult *result, GError **errp)
{
    const SnapOptions *options = extract->options;
    const MigrationInfo *info = stream_index_info(extract->state.index);
    g_autoptr(SnapPhysical) physical = NULL;

    if (options->device) {
        return snap_extract_device(extract, layout, errp);
    }
    if (options->block) {
        return lay_out_block(extract, layout, errp);
    }
    physical = snap_physical_new(info, options->below_4g, options->order,
                                 result->warnings, errp);
    if (!physical) {
        return false;
    }
    if (format_of(options) == SNAP_FORMAT_ELF) {
        return snap_extract_core(extract, layout, physical, result, errp);
    }
    lay_out_raw(layout, physical);
    return true;
}

static void cancel(void *opaque)
{
    if (opaque) {
        pipe_end_cancel(opaque);
    }
}

static bool coroutine_fn write_stdout(SnapExtract *extract,
                                      const SnapLayout *layout, PipeEnd *to,
                                      GError **errp)
{
    g_autoptr(Progress) progress =
        progress_new(extract->options->progress, snap_layout_bytes(layout));

    extract->writing.progress = progress;
    return snap_write_pipe(&extract->writing, layout, to, errp);
}

static bool coroutine_fn write_file(SnapExtract *extract,
                                    const SnapLayout *layout, GError **errp)
{
    const SnapOptions *options = extract->options;
    g_autofree char *directory = g_path_get_dirname(options->output);
    g_autofree char *name = g_path_get_basename(options->output);
    g_autoptr(Progress) progress =
        progress_new(options->progress, snap_writing_data_bytes(layout));
    g_autoptr(TemporaryFile) temporary = NULL;

    extract->writing.progress = progress;
    temporary = snap_write_file(&extract->writing, layout, directory, errp);
    if (!temporary) {
        return false;
    }
    return options->force ? temporary_file_replace(temporary, name,
                                                   SNAP_EXTRACT_MODE, errp)
                          : temporary_file_publish(temporary, name,
                                                   SNAP_EXTRACT_MODE, errp);
}

static bool coroutine_fn write_any(SnapExtract *extract, PipeEnd *to,
                                   SnapResult *result, GError **errp)
{
    g_autoptr(SnapLayout) layout = NULL;

    if (makes_directory(extract->options)) {
        return snap_extract_directory(extract, &result->bytes, errp);
    }
    layout = snap_layout_new(extract->pages, &extract->source);
    if (!lay_out(extract, layout, result, errp)) {
        return false;
    }
    result->bytes = snap_layout_bytes(layout);
    return to ? write_stdout(extract, layout, to, errp)
              : write_file(extract, layout, errp);
}

/* From here on there is something to take away, or somebody to be told. */
static bool coroutine_fn write_output(SnapExtract *extract, PipeEnd *to,
                                      SnapResult *result, GError **errp)
{
    g_autoptr(Interrupt) interrupt = interrupt_new(cancel, to);
    bool done;

    extract->writing.interrupt = interrupt;
    done = write_any(extract, to, result, errp);
    if (!done && g_error_matches(*errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED)) {
        result->signal = interrupt_signal(interrupt);
    }
    return done;
}

static bool coroutine_fn run(SnapExtract *extract, const SnapImage *image,
                             PipeEnd *to, SnapResult *result, GError **errp)
{
    const SnapOptions *options = extract->options;
    const Qcow2Snapshot *snapshot = snap_choose(options, image->qcow2, errp);
    bool done;

    if (!snapshot ||
        !snap_state_open(options, image, snapshot, &extract->state, errp)) {
        return false;
    }
    result->id = g_strdup(snapshot->id);
    result->name = g_strdup(snapshot->name);
    done = snap_state_need_index(options, &extract->state, errp) &&
           open_source(extract, errp) &&
           write_output(extract, to, result, errp);
    snap_pages_close(extract->pages);
    if (done) {
        snap_state_warn(&extract->state, result);
    }
    snap_state_close(&extract->state);
    return done;
}

bool coroutine_fn snap_extract(const SnapOptions *options, SnapResult *result,
                               GError **errp)
{
    g_autoptr(PipeEnd) to = NULL;
    SnapExtract extract = { .options = options };
    SnapImage image = { 0 };
    bool done;

    if (!check_options(options, errp)) {
        return false;
    }
    if (goes_to_stdout(options)) {
        to = pipe_end_new_writer(STDOUT_FILENO, errp);
        if (!to) {
            return false;
        }
        result->output_taken = true;
    }
    extract.writing.options = options;
    if (!snap_image_open(options, HOST_FILE_CACHE_AUTOMATIC, &image, errp)) {
        return false;
    }
    done = run(&extract, &image, to, result, errp);
    snap_image_close(&image);
    return done;
}
