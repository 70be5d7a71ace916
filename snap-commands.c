/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The tables of commands and options, and how an option's argument is read.
 */
#include <getopt.h>

#include "size.h"
#include "snap-commands.h"
#include "snap-error.h"

const SnapCommand snap_commands[] = {
    { "save", snap_save, "[-n NAME] [-s SIZE] [OPTIONS] IMAGE < STREAM",
      "store a stream as a new snapshot's VM state" },
    { "load", snap_load, "[-n NAME] [--apply] [OPTIONS] IMAGE > STREAM",
      "write a snapshot's VM state as a stream" },
    { "list", snap_list, "[OPTIONS] IMAGE", "list the snapshots" },
    { "inspect", snap_inspect, "[-n NAME] [--devices|--map] [OPTIONS] IMAGE",
      "show what an image or a VM state is made of" },
    { "diff", snap_diff, "-a NAME -b NAME [OPTIONS] IMAGE [IMAGE]",
      "show what differs between two VM states", .may_have_image_b = true },
    { "extract", snap_extract,
      "[-n NAME] [--format=FORMAT] [OPTIONS] IMAGE OUTPUT",
      "write memory that a VM state holds into a file", .has_output = true },
    { "verify", snap_verify, "[-n NAME|--all] [OPTIONS] IMAGE",
      "see whether VM state is still what was saved" },
    { "index", snap_index, "[-n NAME] [OPTIONS] IMAGE",
      "add an index and checksums to VM state that has none" },
    { "check", snap_check, "[-r leaks|all] [OPTIONS] IMAGE",
      "find what is wrong in an image, and repair it" },
    { "create", snap_create, "-n NAME [OPTIONS] IMAGE",
      "add a snapshot of the disk, without VM state" },
    { "delete", snap_delete, "-n NAME [OPTIONS] IMAGE", "delete a snapshot" },
    { "apply", snap_apply, "-n NAME [OPTIONS] IMAGE",
      "let the disk be what it is in a snapshot" },
    { "rename", snap_rename, "-n NAME --to=NEW [OPTIONS] IMAGE",
      "give a snapshot another name" },
    { "gc", snap_gc, "[OPTIONS] IMAGE",
      "free VM state that QEMU left behind the disk" },
    { "snapshot", snap_snapshot,
      "[-Uq] [-l|-a SNAPSHOT|-c SNAPSHOT|-d SNAPSHOT] FILE",
      "do what `qemu-img snapshot' does, with its options",
      snap_snapshot_options },
    { NULL },
};

static bool invalid(GError **errp, const char *what, const char *text,
                    const char *expected)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                "invalid %s '%s': %s is expected", what, text, expected);
    return false;
}

static bool parse_name(const char *text, SnapOptions *options, GError **errp)
{
    options->name = text;
    return true;
}

static bool parse_side_a(const char *text, SnapOptions *options, GError **errp)
{
    options->side_a = text;
    return true;
}

static bool parse_side_b(const char *text, SnapOptions *options, GError **errp)
{
    options->side_b = text;
    return true;
}

static bool parse_by_name(const char *text, SnapOptions *options, GError **errp)
{
    options->name = text ? text : options->name;
    options->reading = SNAP_READ_NAME;
    return true;
}

static bool parse_by_id(const char *text, SnapOptions *options, GError **errp)
{
    options->name = text ? text : options->name;
    options->reading = SNAP_READ_ID;
    return true;
}

static bool parse_new_name(const char *text, SnapOptions *options,
                           GError **errp)
{
    options->new_name = text;
    return true;
}

static bool parse_replace(const char *text, SnapOptions *options, GError **errp)
{
    options->replace = true;
    return true;
}

static bool parse_devices(const char *text, SnapOptions *options, GError **errp)
{
    options->devices = true;
    return true;
}

static bool parse_no_discard(const char *text, SnapOptions *options,
                             GError **errp)
{
    options->no_discard = true;
    return true;
}

static bool parse_apply(const char *text, SnapOptions *options, GError **errp)
{
    options->apply = true;
    return true;
}

/* Every one counts. The words outlive the options. */
static bool parse_with(const char *text, SnapOptions *options, GError **errp)
{
    if (!options->with) {
        options->with = g_ptr_array_new();
    }
    g_ptr_array_add(options->with, (void *)text);
    return true;
}

static bool parse_size(const char *text, SnapOptions *options, GError **errp)
{
    if (!size_parse(text, &options->size)) {
        return invalid(errp, "size", text,
                       "a number, perhaps with one of the letters B, K, M, G, "
                       "T, P, E,");
    }
    options->create = true;
    return true;
}

static bool parse_no_index(const char *text, SnapOptions *options,
                           GError **errp)
{
    options->no_index = true;
    return true;
}

static bool parse_all(const char *text, SnapOptions *options, GError **errp)
{
    options->all = true;
    return true;
}

static bool parse_verify(const char *text, SnapOptions *options, GError **errp)
{
    options->verify = true;
    return true;
}

static bool parse_create(const char *text, SnapOptions *options, GError **errp)
{
    options->create = true;
    return true;
}

static bool parse_wait_lock(const char *text, SnapOptions *options,
                            GError **errp)
{
    guint64 seconds = SNAP_WAIT_FOR_EVER;

    if (text && !g_ascii_string_to_unsigned(text, 10, 0, SNAP_WAIT_MAX,
                                            &seconds, NULL)) {
        return invalid(errp, "time to wait", text, "a number of seconds");
    }
    options->wait_lock = seconds;
    return true;
}

static bool parse_spool_dir(const char *text, SnapOptions *options,
                            GError **errp)
{
    options->spool_dir = text;
    return true;
}

static bool parse_result(const char *text, SnapOptions *options, GError **errp)
{
    options->result = text;
    return true;
}

static bool parse_raw(const char *text, SnapOptions *options, GError **errp)
{
    options->raw = true;
    return true;
}

static bool parse_cache(const char *text, SnapOptions *options, GError **errp)
{
    static const struct {
        const char *name;
        HostFileCache cache;
    } modes[] = {
        { "none", HOST_FILE_CACHE_NONE },
        { "writeback", HOST_FILE_CACHE_WRITEBACK },
        { "directsync", HOST_FILE_CACHE_DIRECTSYNC },
        { "unsafe", HOST_FILE_CACHE_UNSAFE },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(text, modes[i].name)) {
            options->cache = modes[i].cache;
            return true;
        }
    }
    return invalid(errp, "cache mode", text,
                   "none, writeback, directsync or unsafe");
}

static bool parse_aio(const char *text, SnapOptions *options, GError **errp)
{
    if (!strcmp(text, "native")) {
        options->aio = HOST_FILE_AIO_NATIVE;
    } else if (!strcmp(text, "threads")) {
        options->aio = HOST_FILE_AIO_THREADS;
    } else if (!strcmp(text, "io_uring")) {
        options->aio = HOST_FILE_AIO_IO_URING;
    } else {
        return invalid(errp, "AIO engine", text, "native, threads or io_uring");
    }
    return true;
}

static bool parse_depth(const char *text, SnapOptions *options, GError **errp)
{
    guint64 depth;

    if (!g_ascii_string_to_unsigned(text, 10, SNAP_MIN_DEPTH, SNAP_MAX_DEPTH,
                                    &depth, NULL)) {
        g_autofree char *range =
            g_strdup_printf("%d to %d", SNAP_MIN_DEPTH, SNAP_MAX_DEPTH);

        return invalid(errp, "depth", text, range);
    }
    options->depth = depth;
    return true;
}

static bool parse_repair(const char *text, SnapOptions *options, GError **errp)
{
    if (!strcmp(text, "leaks")) {
        options->repair = QCOW2_REPAIR_LEAKS;
    } else if (!strcmp(text, "all")) {
        options->repair = QCOW2_REPAIR_ALL;
    } else {
        return invalid(errp, "repair", text, "leaks or all");
    }
    return true;
}

static bool parse_format(const char *text, SnapOptions *options, GError **errp)
{
    static const char *const formats[] = {
        [SNAP_FORMAT_RAW] = "raw",
        [SNAP_FORMAT_ELF] = "elf",
        [SNAP_FORMAT_BLOCKS] = "blocks",
        [SNAP_FORMAT_BYTES] = "bytes",
    };
    unsigned i;

    for (i = SNAP_FORMAT_RAW; i < G_N_ELEMENTS(formats); i++) {
        if (!strcmp(text, formats[i])) {
            options->format = i;
            return true;
        }
    }
    return invalid(errp, "format", text, "raw, elf, blocks or bytes");
}

static bool parse_block(const char *text, SnapOptions *options, GError **errp)
{
    options->block = text;
    return true;
}

static bool parse_device(const char *text, SnapOptions *options, GError **errp)
{
    options->device = text;
    return true;
}

static bool parse_order(const char *text, SnapOptions *options, GError **errp)
{
    options->order = text;
    return true;
}

static bool parse_below_4g(const char *text, SnapOptions *options,
                           GError **errp)
{
    if (!size_parse(text, &options->below_4g) || options->below_4g == 0) {
        return invalid(errp, "size", text, "a size such as 3G");
    }
    return true;
}

static bool parse_force(const char *text, SnapOptions *options, GError **errp)
{
    options->force = true;
    return true;
}

static bool parse_ranges(const char *text, SnapOptions *options, GError **errp)
{
    options->ranges = true;
    return true;
}

static bool parse_map(const char *text, SnapOptions *options, GError **errp)
{
    options->map = true;
    return true;
}

static bool parse_color(const char *text, SnapOptions *options, GError **errp)
{
    if (!strcmp(text, "auto")) {
        options->color = SNAP_COLOR_AUTO;
    } else if (!strcmp(text, "always")) {
        options->color = SNAP_COLOR_ALWAYS;
    } else if (!strcmp(text, "never")) {
        options->color = SNAP_COLOR_NEVER;
    } else {
        return invalid(errp, "use of color", text, "auto, always or never");
    }
    return true;
}

static bool parse_force_share(const char *text, SnapOptions *options,
                              GError **errp)
{
    options->force_share = true;
    return true;
}

static bool parse_progress(const char *text, SnapOptions *options,
                           GError **errp)
{
    options->progress = true;
    return true;
}

static bool parse_quiet(const char *text, SnapOptions *options, GError **errp)
{
    options->quiet = true;
    return true;
}

/* The last one counts, as with all options. */
static bool parse_trace(const char *spec, SnapOptions *options, GError **errp)
{
    g_clear_pointer(&options->trace, trace_free);
    options->trace = trace_new(spec, errp);
    return options->trace != NULL;
}

static bool parse_output(const char *text, SnapOptions *options, GError **errp)
{
    options->json = !strcmp(text, "json");
    if (!options->json && strcmp(text, "human") != 0) {
        return invalid(errp, "output format", text, "human or json");
    }
    return true;
}

const SnapOption snap_options[] = {
    { NULL, 'n', "NAME", false,
      "save load inspect extract verify index create delete apply rename",
      "the snapshot's name (of one that exists: name or ID)", parse_name },
    { NULL, 'a', "NAME", false, "diff", "one snapshot, name or ID",
      parse_side_a },
    { NULL, 'b', "NAME", false, "diff",
      "the other one (of the second IMAGE, if there is one)", parse_side_b },
    { "name", 0, "NAME", true,
      "save load inspect diff extract verify index create delete apply rename",
      "what -n says, or NAME, is a name and not an ID", parse_by_name },
    { "id", 0, "ID", true,
      "load inspect diff extract verify index delete apply rename",
      "what -n says, or ID, is an ID and not a name", parse_by_id },
    { "to", 0, "NEW", false, "rename", "its new name", parse_new_name },
    { "replace", 0, NULL, false, "save create",
      "a snapshot that has the name goes in the same moment", parse_replace },
    { "apply", 0, NULL, false, "load",
      "the disk goes back to the snapshot as well", parse_apply },
    { "all", 0, NULL, false, "verify", "all snapshots with VM state",
      parse_all },
    { "verify", 0, NULL, false, "load",
      "compare all with its checksums before it goes out", parse_verify },
    { "with", 0, "IMAGE", false, "save load create delete apply",
      "a further disk of the machine, to which the same happens, but for VM "
      "state (load: with --apply; may be repeated)",
      parse_with },
    { "devices", 0, NULL, false, "inspect",
      "show what is in the devices of the snapshot's VM state", parse_devices },
    { "no-discard", 0, NULL, false, "save load index create delete apply gc",
      "what becomes free inside IMAGE keeps its disk space", parse_no_discard },
    { "size", 's', "SIZE", false, "save",
      "make IMAGE with this virtual size if it is missing (512, 64K, 1.5M, "
      "16G, ...)",
      parse_size },
    { "create", 0, NULL, false, "save",
      "make IMAGE with virtual size 0 if it is missing", parse_create },
    { "wait-lock", 0, "SECONDS", true, "save",
      "wait so long for a locked IMAGE (default: 5; for ever without SECONDS)",
      parse_wait_lock },
    { "spool-dir", 0, "DIR", false, "save",
      "where the stream waits for IMAGE (default: beside it)",
      parse_spool_dir },
    { "result", 0, "FILE", false, "save",
      "write what was saved, or the error, to FILE as JSON", parse_result },
    { "raw", 0, NULL, false, "save load",
      "any bytes will do, not only a complete stream", parse_raw },
    { "no-index", 0, NULL, false, "save",
      "store nothing but the stream: no index of it, no checksums",
      parse_no_index },
    { "cache", 0, "none|writeback|directsync|unsafe", false, NULL,
      "how IMAGE is read and written (default: none where the file system can "
      "do it)",
      parse_cache },
    { "aio", 0, "native|threads|io_uring", false, NULL,
      "the engine for it (default: what suits the cache mode)", parse_aio },
    { "depth", 0, "N", false, "save load inspect diff extract verify index",
      "requests in flight, 1 to 32 (default: as many as the device has use "
      "for)",
      parse_depth },
    { "repair", 'r', "leaks|all", false, "check",
      "repair leaks, or all that can be repaired", parse_repair },
    { "format", 0, "raw|elf|blocks|bytes", false, "extract",
      "what OUTPUT is: memory by physical address (raw, the default), the same "
      "as a core file (elf), a directory of RAM blocks, or a device's bytes",
      parse_format },
    { "block", 0, "BLOCK", false, "extract",
      "OUTPUT is the content of this RAM block", parse_block },
    { "device", 0, "DEVICE[:INSTANCE]", false, "inspect extract",
      "show only this device; OUTPUT is what the stream has of it",
      parse_device },
    { "below-4g", 0, "SIZE", false, "extract",
      "so much RAM is below 4 GiB (default: what the machine type does)",
      parse_below_4g },
    { "order", 0, "BLOCK,...", false, "extract",
      "the RAM blocks that are the machine's RAM, by address", parse_order },
    { "force", 0, NULL, false, "extract", "replace OUTPUT if it is a file",
      parse_force },
    { "ranges", 0, NULL, false, "diff",
      "list the pages that differ: block, first byte, bytes", parse_ranges },
    { "map", 0, NULL, false, "inspect diff",
      "draw what the snapshot holds of the RAM, or what differs, and where",
      parse_map },
    { "color", 0, "auto|always|never", false, "inspect diff",
      "draw in colors (default: on a terminal, unless NO_COLOR is set)",
      parse_color },
    { "force-share", 'U', NULL, false,
      "load list inspect diff extract verify check", "do not lock IMAGE",
      parse_force_share },
    { "progress", 'p', NULL, false, NULL,
      "show progress on standard error (SIGUSR1: once)", parse_progress },
    { "quiet", 'q', NULL, false, NULL, "no warnings", parse_quiet },
    { "trace", 'T', "[[enable=]PATTERN][,file=FILE]", false, NULL,
      "show which ways are taken, on standard error or in FILE", parse_trace },
    { "output", 0, "human|json", false, NULL,
      "the form of what is printed, errors as well (default: human)",
      parse_output },
    { "help", 'h', NULL, false, NULL,
      "show a help, behind a command of that command", NULL },
    { "version", 'V', NULL, false, NULL, "show the version", NULL },
    { NULL },
};

const SnapCommand *snap_command_find(const char *name)
{
    const SnapCommand *command;

    for (command = snap_commands; command->name; command++) {
        if (!strcmp(command->name, name)) {
            return command;
        }
    }
    return NULL;
}

char *snap_command_names(void)
{
    const SnapCommand *command;
    GString *names = g_string_new(NULL);

    for (command = snap_commands; command->name; command++) {
        const char *before = command[1].name ? ", " : " or ";

        g_string_append_printf(names, "%s%s", names->len ? before : "",
                               command->name);
    }
    return g_string_free(names, FALSE);
}

/* What getopt_long() knows long options by; behind all letters. */
#define FIRST_LONG 256

static int argument_kind(const SnapOption *option)
{
    if (!option->argument) {
        return no_argument;
    }
    return option->may_lack_argument ? optional_argument : required_argument;
}

struct option *snap_option_list(const SnapOption *table, GString *letters)
{
    GArray *list = g_array_new(TRUE, TRUE, sizeof(struct option));
    const SnapOption *option;

    g_string_append_c(letters, ':');
    for (option = table; option->help; option++) {
        struct option entry = {
            .name = option->name,
            .has_arg = argument_kind(option),
            .val = FIRST_LONG + (option - table),
        };

        if (option->name) {
            g_array_append_val(list, entry);
        }
        if (option->letter) {
            g_string_append_printf(letters, "%c%s", option->letter,
                                   option->argument ? ":" : "");
        }
    }
    return (struct option *)g_array_free(list, FALSE);
}

const SnapOption *snap_option_find(const SnapOption *table, int found)
{
    const SnapOption *option = table;

    if (found >= FIRST_LONG) {
        return &table[found - FIRST_LONG];
    }
    while (option->letter != found) {
        option++;
    }
    return option;
}

bool snap_option_is_for(const SnapOption *option, const char *command)
{
    g_auto(GStrv) commands = NULL;

    if (!option->commands) {
        return true;
    }
    commands = g_strsplit(option->commands, " ", -1);
    return g_strv_contains((const char *const *)commands, command);
}
