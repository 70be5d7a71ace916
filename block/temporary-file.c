/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Temporary files by O_TMPFILE, or else by an ordinary file with a name that
 * nobody looks for. That one is not unlinked at once: an unlinked file cannot
 * get a name again, and what it is for may be all there is of something.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap-error.h"
#include "temporary-file.h"

/* For us alone: it may hold the memory of a machine. */
#define TEMPORARY_FILE_MODE 0600

/* So many files of one name are somebody else's problem. */
#define MOST_NAMES 1000

struct TemporaryFile {
    char *directory;
    int fd;
    char *path;
    bool named; /* @path is its name, to be removed */
};

/* Errors that say: not here, or not with this kernel. */
static bool is_unsupported(int error)
{
    return error == EOPNOTSUPP || error == EISDIR || error == EINVAL ||
           error == ENOSYS;
}

static bool create_nameless(TemporaryFile *file)
{
    file->fd = TEMP_FAILURE_RETRY(open(
        file->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, TEMPORARY_FILE_MODE));
    if (file->fd < 0) {
        return false;
    }
    file->path = g_strdup_printf("/proc/self/fd/%d", file->fd);
    if (access(file->path, R_OK | W_OK) < 0) {
        /* Without /proc it could never be opened or named. */
        g_clear_pointer(&file->path, g_free);
        close(file->fd);
        file->fd = -1;
        errno = EOPNOTSUPP;
        return false;
    }
    return true;
}

static bool create_named(TemporaryFile *file)
{
    /* What one attempt leaves of the pattern is not one for the next. */
    do {
        g_free(file->path);
        file->path =
            g_build_filename(file->directory, ".qemu-snap-XXXXXX", NULL);
        file->fd = mkostemp(file->path, O_CLOEXEC);
    } while (file->fd < 0 && errno == EINTR);
    file->named = file->fd >= 0;
    return file->named;
}

TemporaryFile *temporary_file_new(const char *directory, GError **errp)
{
    g_autoptr(TemporaryFile) file = g_new0(TemporaryFile, 1);

    file->directory = g_strdup(directory);
    file->fd = -1;
    if (!create_nameless(file) &&
        !(is_unsupported(errno) && create_named(file))) {
        snap_error_set_errno(errp, -errno,
                             "cannot make a temporary file in '%s'", directory);
        return NULL;
    }
    return g_steal_pointer(&file);
}

const char *temporary_file_path(const TemporaryFile *file)
{
    return file->path;
}

/*
 * Give the file the name @path, which must be free. Returns 0 or an errno. A
 * signal is no reason to lose it; at worst it has two names then.
 */
static int take_name(TemporaryFile *file, const char *path)
{
    int fd;

    if (!file->named) {
        return TEMP_FAILURE_RETRY(linkat(AT_FDCWD, file->path, AT_FDCWD, path,
                                         AT_SYMLINK_FOLLOW)) < 0
                   ? errno
                   : 0;
    }
    /* Not every file system that gets here has links, or can do this. */
    if (TEMP_FAILURE_RETRY(renameat2(AT_FDCWD, file->path, AT_FDCWD, path,
                                     RENAME_NOREPLACE)) == 0) {
        file->named = false;
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    fd = TEMP_FAILURE_RETRY(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
                                 TEMPORARY_FILE_MODE));
    if (fd < 0) {
        return errno;
    }
    close(fd);
    if (TEMP_FAILURE_RETRY(rename(file->path, path)) < 0) {
        int error = errno;

        unlink(path);
        return error;
    }
    file->named = false;
    return 0;
}

/*
 * Names are made stable with the directory that they are in, if it may be
 * opened and its file system can do that. Returns 0 or an errno.
 */
static int sync_directory(const char *directory)
{
    int fd =
        TEMP_FAILURE_RETRY(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int error = 0;

    if (fd >= 0) {
        if (TEMP_FAILURE_RETRY(fsync(fd)) < 0 && errno != EINVAL) {
            error = errno;
        }
        close(fd);
    }
    return error;
}

char *temporary_file_keep(TemporaryFile *file, const char *name, GError **errp)
{
    g_autofree char *path = g_build_filename(file->directory, name, NULL);
    int error = take_name(file, path);

    for (unsigned i = 2; error == EEXIST && i <= MOST_NAMES; i++) {
        g_free(path);
        path = g_strdup_printf("%s/%s-%u", file->directory, name, i);
        error = take_name(file, path);
    }
    if (error) {
        snap_error_set_errno(errp, -error, "cannot make '%s'", path);
        return NULL;
    }
    /* Where that fails the name is there nevertheless. */
    (void)sync_directory(file->directory);
    return g_steal_pointer(&path);
}

/* There is no other way to ask for the umask than to set it. */
static mode_t get_umask(void)
{
    mode_t mask = umask(077);

    umask(mask);
    return mask;
}

/* Let @file be @path, in place of what is called so. Returns 0 or an errno. */
static int replace_name(TemporaryFile *file, const char *path)
{
    int error = EEXIST;

    /* What has no name cannot be moved: it gets one that nobody looks for. */
    for (unsigned i = 0; !file->named && error == EEXIST && i < MOST_NAMES;
         i++) {
        g_autofree char *hidden = g_strdup_printf(
            "%s/.qemu-snap-%08x", file->directory, g_random_int());

        error = take_name(file, hidden);
        if (!error) {
            g_free(file->path);
            file->path = g_steal_pointer(&hidden);
            file->named = true;
        }
    }
    if (!file->named) {
        return error;
    }
    if (TEMP_FAILURE_RETRY(rename(file->path, path)) < 0) {
        return errno;
    }
    file->named = false;
    return 0;
}

static bool name_file(TemporaryFile *file, const char *name, unsigned mode,
                      int (*give_name)(TemporaryFile *file, const char *path),
                      GError **errp)
{
    g_autofree char *path = g_build_filename(file->directory, name, NULL);
    int error = fchmod(file->fd, mode & ~get_umask()) < 0
                    ? errno
                    : give_name(file, path);

    if (error) {
        snap_error_set_errno(errp, -error, "cannot make '%s'", path);
        return false;
    }
    error = sync_directory(file->directory);
    if (error) {
        snap_error_set_errno(errp, -error, "cannot make the name '%s' stable",
                             path);
        if (give_name == take_name) {
            unlink(path);
        }
        return false;
    }
    return true;
}

bool temporary_file_publish(TemporaryFile *file, const char *name,
                            unsigned mode, GError **errp)
{
    return name_file(file, name, mode, take_name, errp);
}

bool temporary_file_replace(TemporaryFile *file, const char *name,
                            unsigned mode, GError **errp)
{
    return name_file(file, name, mode, replace_name, errp);
}

void temporary_file_free(TemporaryFile *file)
{
    if (!file) {
        return;
    }
    if (file->named) {
        unlink(file->path);
    }
    if (file->fd >= 0) {
        close(file->fd);
    }
    g_free(file->path);
    g_free(file->directory);
    g_free(file);
}
