/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A file that goes away with the process, however that ends, unless it is
 * given a name.
 */
#ifndef TEMPORARY_FILE_H
#define TEMPORARY_FILE_H

#include <stdbool.h>
#include <glib.h>

typedef struct TemporaryFile TemporaryFile;

/*
 * Make an empty file in @directory that only its owner may read. It has no
 * name, so nothing is left of it after a SIGKILL; where the file system has no
 * such files, it has a hidden one. Does not yield. Returns NULL and fills @errp
 * (IO, NOT_FOUND, NO_SPACE).
 */
TemporaryFile *temporary_file_new(const char *directory, GError **errp);

/* What to open it by while it is there; owned by @file. */
const char *temporary_file_path(const TemporaryFile *file);

/*
 * Let it stay, as @name in its directory, or, if that is taken, with a number
 * behind. To make the content stable before is the caller's business. Does not
 * yield. Returns the path, to be freed with g_free(), or NULL and fills @errp
 * (IO, NO_SPACE).
 */
char *temporary_file_keep(TemporaryFile *file, const char *name, GError **errp);

/*
 * Let it stay as @name in its directory, where nothing may have that name, with
 * the permissions @mode as far as the umask allows. Until then nobody else can
 * have it open; from then on nobody sees less than what is in it now. Does not
 * yield. Returns false and fills @errp (EXISTS, IO, NO_SPACE); then nothing has
 * the name, also when it could not be made stable.
 */
bool temporary_file_publish(TemporaryFile *file, const char *name,
                            unsigned mode, GError **errp);

/*
 * The same, but a file that has the name goes in that moment; what is no file,
 * such as a directory, is IO.
 */
bool temporary_file_replace(TemporaryFile *file, const char *name,
                            unsigned mode, GError **errp);

/* NULL is allowed. */
void temporary_file_free(TemporaryFile *file);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TemporaryFile, temporary_file_free)

#endif /* TEMPORARY_FILE_H */
