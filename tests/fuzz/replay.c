/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Run a fuzz target on files, without a fuzzer:
 *
 *     replay TARGET [FILE | DIRECTORY]...
 *
 * All files of a directory; without any, standard input.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static const FuzzTarget *const targets[] = {
    &fuzz_header,  &fuzz_snapshot_table, &fuzz_image,
    &fuzz_check,   &fuzz_compressed,     &fuzz_stream,
    &fuzz_trailer, &fuzz_devices,        &fuzz_command_line,
};

static const FuzzTarget *find_target(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        if (!strcmp(targets[i]->name, name)) {
            return targets[i];
        }
    }
    fprintf(stderr, "replay: there is no target '%s'\n", name);
    exit(EXIT_FAILURE);
}

static void run_file(const FuzzTarget *target, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *data = NULL;
    gsize bytes;

    if (!g_file_get_contents(name, &data, &bytes, &error)) {
        fprintf(stderr, "replay: %s\n", error->message);
        exit(EXIT_FAILURE);
    }
    /* Named before it is run, for whoever finds a core or a report. */
    fuzz_say("%s: %s", target->name, name);
    target->run((const uint8_t *)data, bytes);
}

static void run_name(const FuzzTarget *target, const char *name)
{
    g_autoptr(GDir) dir = g_dir_open(name, 0, NULL);
    const char *entry;

    if (!dir) {
        run_file(target, name);
        return;
    }
    while ((entry = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(name, entry, NULL);

        run_file(target, path);
    }
}

int main(int argc, char **argv)
{
    const FuzzTarget *target;

    if (argc < 2) {
        fprintf(stderr, "usage: replay TARGET [FILE | DIRECTORY]...\n");
        return EXIT_FAILURE;
    }
    target = find_target(argv[1]);
    if (argc == 2) {
        run_file(target, "/dev/stdin");
    }
    for (int i = 2; i < argc; i++) {
        run_name(target, argv[i]);
    }
    return EXIT_SUCCESS;
}
