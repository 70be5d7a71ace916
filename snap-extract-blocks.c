/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * extract --format=blocks: a directory with a file per RAM block. It is filled
 * under a name that nobody looks for, and renamed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap-error.h"
#include "snap-extract.h"
#include "snap-json.h"

#define INDEX_NAME "index.json"

/* Longer names are not those of any machine, and not of every file system. */
#define NAME_MAX_BYTES 200

typedef struct BlockFiles {
    SnapExtract *extract;
    char *directory;
    GPtrArray *made; /* of char *: names of files in it */
} BlockFiles;

/*
 * A file name for what may be anything: of letters, digits and -._~, all others
 * being %XX. With a % that no two digits follow, it cannot be that of another
 * block.
 */
static char *file_name(const MigrationBlock *block)
{
    g_autofree char *name = g_uri_escape_string(block->name, NULL, FALSE);

    if (strlen(name) > NAME_MAX_BYTES || name[0] == '.' || name[0] == '\0' ||
        !strcmp(name, INDEX_NAME)) {
        return g_strdup_printf("%%block-%u", block->number);
    }
    return g_steal_pointer(&name);
}

static SnapLayout *block_layout(const SnapExtract *extract,
                                const MigrationBlock *block)
{
    SnapLayout *layout = snap_layout_new(extract->pages, &extract->source);

    snap_layout_add_block(layout, 0, block, 0, block->bytes);
    return layout;
}

static bool coroutine_fn write_file(BlockFiles *files, const SnapLayout *layout,
                                    const char *name, GError **errp)
{
    g_autoptr(TemporaryFile) temporary = snap_write_file(
        &files->extract->writing, layout, files->directory, errp);

    if (!temporary ||
        !temporary_file_publish(temporary, name, SNAP_EXTRACT_MODE, errp)) {
        return false;
    }
    g_ptr_array_add(files->made, g_strdup(name));
    return true;
}

static bool coroutine_fn write_block(BlockFiles *files,
                                     const MigrationBlock *block, GError **errp)
{
    g_autoptr(SnapLayout) layout = block_layout(files->extract, block);
    g_autofree char *name = file_name(block);

    return write_file(files, layout, name, errp);
}

static char *index_text(const BlockFiles *files)
{
    const MigrationInfo *info = stream_index_info(files->extract->state.index);
    g_autoptr(JsonBuilder) json = snap_json_begin();
    guint i;

    json_builder_set_member_name(json, "snapshot");
    snap_json_snapshot(json, files->extract->state.snapshot);
    if (info->machine) {
        snap_json_string(json, "machine", info->machine);
    }
    if (info->page_size) {
        snap_json_number(json, "page-size", info->page_size);
    }
    json_builder_set_member_name(json, "ram-blocks");
    json_builder_begin_array(json);
    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        g_autofree char *name = file_name(block);

        json_builder_begin_object(json);
        snap_json_string(json, "name", block->name);
        snap_json_string(json, "file", name);
        snap_json_number(json, "size", block->bytes);
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
    return snap_json_end(json);
}

static bool coroutine_fn write_index(BlockFiles *files, GError **errp)
{
    SnapExtract *extract = files->extract;
    g_autoptr(SnapLayout)
        layout = snap_layout_new(extract->pages, &extract->source);
    g_autofree char *text = index_text(files);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    GByteArray *bytes = g_byte_array_new();

    g_byte_array_append(bytes, (const uint8_t *)line, strlen(line));
    snap_layout_add_bytes(layout, 0, bytes);
    return write_file(files, layout, INDEX_NAME, errp);
}

/* Let the directory appear where nothing is. */
static bool rename_directory(const BlockFiles *files, GError **errp)
{
    const char *path = files->extract->options->output;
    int ret = TEMP_FAILURE_RETRY(renameat2(AT_FDCWD, files->directory, AT_FDCWD,
                                           path, RENAME_NOREPLACE));

    if (ret < 0 && (errno == EINVAL || errno == ENOSYS)) {
        /* Here an empty directory may be replaced; nothing is lost by that. */
        ret = TEMP_FAILURE_RETRY(rename(files->directory, path));
    }
    if (ret < 0) {
        snap_error_set_errno(errp, -errno, "cannot make '%s'", path);
    }
    return ret == 0;
}

static void remove_directory(const BlockFiles *files)
{
    guint i;

    for (i = 0; i < files->made->len; i++) {
        g_autofree char *path =
            g_build_filename(files->directory, files->made->pdata[i], NULL);

        unlink(path);
    }
    rmdir(files->directory);
}

static bool coroutine_fn write_blocks(BlockFiles *files, GError **errp)
{
    const GPtrArray *blocks =
        stream_index_info(files->extract->state.index)->blocks;
    guint i;

    for (i = 0; i < blocks->len; i++) {
        if (!write_block(files, blocks->pdata[i], errp)) {
            return false;
        }
    }
    return write_index(files, errp);
}

bool coroutine_fn snap_extract_directory(SnapExtract *extract, uint64_t *bytes,
                                         GError **errp)
{
    const GPtrArray *blocks = stream_index_info(extract->state.index)->blocks;
    g_autofree char *parent = g_path_get_dirname(extract->options->output);
    g_autofree char *directory =
        g_build_filename(parent, ".qemu-snap-XXXXXX", NULL);
    g_autoptr(GPtrArray) made = g_ptr_array_new_with_free_func(g_free);
    BlockFiles files = {
        .extract = extract,
        .directory = directory,
        .made = made,
    };
    uint64_t data_bytes = 0;
    bool done;
    guint i;

    *bytes = 0;
    for (i = 0; i < blocks->len; i++) {
        g_autoptr(SnapLayout) layout = block_layout(extract, blocks->pdata[i]);

        *bytes += snap_layout_bytes(layout);
        data_bytes += snap_writing_data_bytes(layout);
    }
    if (!mkdtemp(directory)) {
        snap_error_set_errno(errp, -errno, "cannot make a directory in '%s'",
                             parent);
        return false;
    }
    extract->writing.progress =
        progress_new(extract->options->progress, data_bytes);
    done = write_blocks(&files, errp) && rename_directory(&files, errp);
    g_clear_pointer(&extract->writing.progress, progress_free);
    if (!done) {
        remove_directory(&files);
    }
    return done;
}
