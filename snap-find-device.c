/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which device a user means by --device.
 */
#include <inttypes.h>
#include <string.h>

#include "snap-devices.h"
#include "snap-error.h"

/* What --device says: NAME or NAME:INSTANCE; names may have colons, too. */
typedef struct DeviceName {
    const char *text;
    size_t bytes; /* of the name in it */
    bool all;     /* no instance is told */
    uint64_t instance;
} DeviceName;

static bool is_named(const MigrationSection *section, const DeviceName *name)
{
    return section->device && strlen(section->name) == name->bytes &&
           !memcmp(section->name, name->text, name->bytes) &&
           (name->all || section->instance == name->instance);
}

/* How many there are; *@found is the first one. */
static guint count_devices(const MigrationInfo *info, const DeviceName *name,
                           const MigrationSection **found)
{
    guint count = 0;
    guint i;

    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        if (is_named(section, name) && count++ == 0) {
            *found = section;
        }
    }
    return count;
}

/* The part in front of the last colon, if a number is behind it. */
static bool split_name(const char *text, DeviceName *name)
{
    const char *colon = strrchr(text, ':');

    *name = (DeviceName){ .text = text };
    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 0, G_MAXUINT32,
                                              &name->instance, NULL)) {
        return false;
    }
    name->bytes = colon - text;
    return true;
}

const MigrationSection *snap_find_device(const MigrationInfo *info,
                                         const char *text, GError **errp)
{
    DeviceName name = { .text = text, .bytes = strlen(text), .all = true };
    const MigrationSection *found = NULL;
    guint count = count_devices(info, &name, &found);

    if (count == 0 && split_name(text, &name)) {
        count = count_devices(info, &name, &found);
    }
    if (count == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND,
                    "there is no device '%s'", text);
        return NULL;
    }
    if (count > 1) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_AMBIGUOUS,
                    "there are %u devices '%s': say which, the first one being "
                    "'%s:%" PRIu32 "'",
                    count, text, text, found->instance);
        return NULL;
    }
    return found;
}
