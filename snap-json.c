/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-json.h.
 */
#include <stdio.h>

#include "printable.h"
#include "snap-json.h"

/* JSON is UTF-8; names in images need not be. */
void snap_json_string(JsonBuilder *json, const char *member, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    json_builder_set_member_name(json, member);
    json_builder_add_string_value(json, valid);
}

void snap_json_number(JsonBuilder *json, const char *member, int64_t number)
{
    json_builder_set_member_name(json, member);
    json_builder_add_int_value(json, number);
}

void snap_json_boolean(JsonBuilder *json, const char *member, bool value)
{
    json_builder_set_member_name(json, member);
    json_builder_add_boolean_value(json, value);
}

void snap_json_snapshot(JsonBuilder *json, const Qcow2Snapshot *snapshot)
{
    json_builder_begin_object(json);
    snap_json_string(json, "id", snapshot->id);
    snap_json_string(json, "name", snapshot->name);
    snap_json_number(json, "vm-state-size", snapshot->vm_state_size);
    snap_json_number(json, "date-sec", snapshot->date_sec);
    snap_json_number(json, "date-nsec", snapshot->date_nsec);
    snap_json_number(json, "vm-clock-sec",
                     snapshot->vm_clock_nsec / 1000000000);
    snap_json_number(json, "vm-clock-nsec",
                     snapshot->vm_clock_nsec % 1000000000);
    if (snapshot->icount != QCOW2_NO_ICOUNT) {
        snap_json_number(json, "icount", snapshot->icount);
    }
    json_builder_end_object(json);
}

JsonBuilder *snap_json_begin(void)
{
    JsonBuilder *json = json_builder_new();

    json_builder_begin_object(json);
    return json;
}

char *snap_json_end(JsonBuilder *json)
{
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;

    json_builder_end_object(json);
    root = json_builder_get_root(json);
    json_generator_set_root(generator, root);
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_indent(generator, 4);
    text = json_generator_to_data(generator, NULL);
    return printable_json(text);
}

void snap_json_print(JsonBuilder *json)
{
    g_autofree char *text = snap_json_end(json);

    puts(text);
}
