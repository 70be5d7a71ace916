/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Scratch directories. Failures end the test: there is nothing to test then.
 */
#include <check.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "scratch.h"

struct Scratch {
    char *directory;
    GStringChunk *paths;
};

Scratch *scratch_new(void)
{
    Scratch *scratch = g_new0(Scratch, 1);
    const char *parent = g_getenv("TMPDIR");

    scratch->directory =
        g_build_filename(parent ? parent : ".", "unit-test-XXXXXX", NULL);
    scratch->paths = g_string_chunk_new(256);
    ck_assert_ptr_nonnull(g_mkdtemp(scratch->directory));
    return scratch;
}

void scratch_free(Scratch *scratch)
{
    GDir *entries = g_dir_open(scratch->directory, 0, NULL);
    const char *name;

    ck_assert_ptr_nonnull(entries);
    while ((name = g_dir_read_name(entries))) {
        g_remove(scratch_path(scratch, name));
    }
    g_dir_close(entries);
    ck_assert_int_eq(g_rmdir(scratch->directory), 0);
    g_string_chunk_free(scratch->paths);
    g_free(scratch->directory);
    g_free(scratch);
}

const char *scratch_path(Scratch *scratch, const char *name)
{
    g_autofree char *path = g_build_filename(scratch->directory, name, NULL);

    return g_string_chunk_insert(scratch->paths, path);
}

const char *scratch_write(Scratch *scratch, const char *name,
                          const void *content, size_t bytes)
{
    const char *path = scratch_path(scratch, name);

    ck_assert(g_file_set_contents(path, content, bytes, NULL));
    return path;
}
