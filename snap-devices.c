/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The sections of a stream: who they are, and how much of it is theirs.
 */
#include <inttypes.h>
#include <stdio.h>

#include "printable.h"
#include "snap-devices.h"

bool snap_section_is_lost(const MigrationSection *section)
{
    return section->bytes == 0;
}

void snap_print_sections(const MigrationInfo *info)
{
    guint i;

    printf("%-32s %10s %10s %12s\n", "Sections:", "instance", "version",
           "bytes");
    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];
        g_autofree char *name = printable(section->name);

        g_autofree char *bytes = g_strdup_printf(
            "%s%" PRIu64, section->delimited ? "" : "~", section->bytes);

        printf("    %-28s %10u", name, section->instance);
        if (snap_section_is_lost(section)) {
            printf(" %10s %12s\n", "?", "?");
        } else {
            printf(" %10u %12s\n", section->version, bytes);
        }
    }
}

void snap_json_sections(JsonBuilder *json, const MigrationInfo *info)
{
    guint i;

    json_builder_set_member_name(json, "sections");
    json_builder_begin_array(json);
    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        json_builder_begin_object(json);
        snap_json_string(json, "name", section->name);
        snap_json_number(json, "instance", section->instance);
        snap_json_boolean(json, "device", section->device);
        snap_json_boolean(json, "delimited", section->delimited);
        if (!snap_section_is_lost(section)) {
            snap_json_number(json, "version", section->version);
            snap_json_number(json, "bytes", section->bytes);
        }
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
    snap_json_number(json, "undelimited-bytes", info->undelimited_bytes);
    snap_json_number(json, "framing-bytes", info->framing_bytes);
    snap_json_number(json, "description-bytes", info->description_bytes);
}
