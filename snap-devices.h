/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What `inspect' shows of the sections of a stream.
 */
#ifndef SNAP_DEVICES_H
#define SNAP_DEVICES_H

#include "snap-json.h"
#include "snap-state.h"

/* Is nothing known of @section but that it is there, and whose it is? */
bool snap_section_is_lost(const MigrationSection *section);

/* The table of sections, and the same as a member of the object that is open. */
void snap_print_sections(const MigrationInfo *info);
void snap_json_sections(JsonBuilder *json, const MigrationInfo *info);

/*
 * The device that @text means, NAME or NAME:INSTANCE. NULL and @errp (NOT_FOUND,
 * AMBIGUOUS: several have the name).
 */
const MigrationSection *snap_find_device(const MigrationInfo *info,
                                         const char *text, GError **errp);

/*
 * Print what is in the devices of @state, or in the one that the options name:
 * all of it. Yields. Returns false and
 * fills @errp when the image cannot be read; then a part has been printed.
 */
bool coroutine_fn snap_show_devices(const SnapOptions *options,
                                    const SnapState *state, GError **errp);

#endif /* SNAP_DEVICES_H */
