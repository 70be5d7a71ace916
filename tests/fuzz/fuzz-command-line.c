/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The command line. The input is its words, each with a NUL behind it. Every
 * word is also read as a size, and shown as a name from an image would be.
 */
#include <getopt.h>
#include <string.h>

#include "fuzz.h"
#include "printable.h"
#include "size.h"
#include "snap-command-line.h"
#include "../../snap-commands.h"

/* getopt_long() moves them one by one: the square of more takes seconds. */
#define MAX_WORDS 4096

/* Nothing is carried out here, so the commands are not linked. */
#define COMMAND(name)                                                      \
    bool coroutine_fn name(const SnapOptions *options, SnapResult *result, \
                           GError **errp)                                  \
    {                                                                      \
        g_assert_not_reached();                                            \
    }

COMMAND(snap_save)
COMMAND(snap_load)
COMMAND(snap_list)
COMMAND(snap_inspect)
COMMAND(snap_extract)
COMMAND(snap_verify)
COMMAND(snap_index)
COMMAND(snap_diff)
COMMAND(snap_check)
COMMAND(snap_create)
COMMAND(snap_delete)
COMMAND(snap_apply)
COMMAND(snap_rename)
COMMAND(snap_gc)
COMMAND(snap_snapshot)

const SnapOption snap_snapshot_options[] = { { NULL } };

static void read_size(const char *word)
{
    uint64_t bytes = 1;

    if (size_parse(word, &bytes)) {
        g_autofree char *text = size_format(bytes);

        fuzz_assert(bytes <= INT64_MAX, "size '%s'", word);
        fuzz_assert(g_ascii_isdigit(*word), "size '%s'", word);
        fuzz_assert(strlen(text) < 16, "size '%s' is '%s'", word, text);
    } else {
        fuzz_assert(bytes == 1, "size '%s' was refused, but set", word);
    }
}

static void show(const char *word)
{
    g_autofree char *text = printable(word);
    size_t i;

    for (i = 0; text[i]; i++) {
        fuzz_assert(!g_ascii_iscntrl(text[i]), "control character at %zu", i);
        fuzz_assert((uint8_t)text[i] != 0xc2 ||
                        ((uint8_t)text[i + 1] & 0xe0) != 0x80,
                    "control character at %zu", i);
    }
}

static void check_options(const SnapOptions *options)
{
    if (options->words) {
        fuzz_assert(!strcmp(options->command, "snapshot"), "%s",
                    options->command);
        return;
    }
    fuzz_assert(snap_command_find(options->command), "no command");
    fuzz_assert(options->image, "no image");
    fuzz_assert(options->depth <= SNAP_MAX_DEPTH, "depth %u", options->depth);
    fuzz_assert(options->size <= INT64_MAX, "size");
    fuzz_assert(options->create || options->size == 0, "size without create");
}

static void parse(int argc, char **argv)
{
    SnapOptions options = { .wait_lock = SNAP_WAIT_DEFAULT };
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    bool done;

    /* Forgets the last command line, in glibc. */
    optind = 0;
    done = snap_parse_command_line(argc, argv, &options, &text, &error);
    fuzz_assert_error(done, error);
    if (text) {
        fuzz_assert(done && *text, "a text of an error");
    } else if (done) {
        check_options(&options);
    }
    g_clear_pointer(&options.trace, trace_free);
    g_clear_pointer(&options.with, g_ptr_array_unref);
}

/* --trace would open it. */
static bool names_file(const char *word)
{
    return strstr(word, "file=") != NULL;
}

static void run(const uint8_t *data, size_t bytes)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autofree char **argv = NULL;
    size_t at = 0;

    g_ptr_array_add(words, g_strdup("qemu-snap"));
    while (at < bytes && words->len < MAX_WORDS) {
        const char *start = (const char *)data + at;
        size_t length = strnlen(start, bytes - at);
        char *word = g_strndup(start, length);

        at += length + 1;
        g_ptr_array_add(words, word);
        if (names_file(word)) {
            return;
        }
        read_size(word);
        show(word);
    }
    argv = g_new0(char *, words->len + 1);
    memcpy(argv, words->pdata, words->len * sizeof(char *));
    parse(words->len, argv);
}

static const char *const dictionary[] = {
    "save",        "load",         "list",
    "inspect",     "extract",      "verify",
    "index",       "check",        "create",
    "delete",      "apply",        "rename",
    "gc",          "snapshot",     "-n",
    "--name",      "--to",         "--replace",
    "--apply",     "--with",       "--no-discard",
    "-s",          "--size=",      "--create",
    "--wait-lock", "--wait-lock=", "--spool-dir",
    "--result",    "--raw",        "--cache",
    "--cache=",    "none",         "unsafe",
    "--aio=",      "native",       "threads",
    "--depth",     "-r",           "all",
    "leaks",       "-U",           "-p",
    "-q",          "-T",           "--trace=",
    "--output=",   "json",         "human",
    "-h",          "-V",           "--help",
    "--version",   "--",           "-",
    "16G",         "1.5M",         "-z",
    "--quiet=1",   "image.qcow2",  "enable=",
    ",",
};

/* Another word, anywhere. */
static size_t mutate(uint8_t *data, size_t bytes, size_t most, GRand *rand)
{
    const char *word =
        dictionary[g_rand_int_range(rand, 0, G_N_ELEMENTS(dictionary))];
    size_t length = strlen(word) + g_rand_int_range(rand, 0, 2);
    size_t at = g_rand_int_range(rand, 0, MIN(bytes, 65536) + 1);

    while (at < bytes && at > 0 && data[at - 1] &&
           g_rand_int_range(rand, 0, 8)) {
        at++;
    }
    if (bytes + length > most) {
        return bytes;
    }
    memmove(data + at + length, data + at, bytes - at);
    memcpy(data + at, word, length);
    return bytes + length;
}

const FuzzTarget fuzz_command_line = { "command-line", run, mutate };
