/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What all results in JSON have in common: one object on standard output, four
 * blanks to a level, text that any terminal and any parser can take.
 */
#ifndef SNAP_JSON_H
#define SNAP_JSON_H

#include <json-glib/json-glib.h>

#include "snap-internal.h"

/* An object has begun. */
JsonBuilder *snap_json_begin(void);

/* It is complete: what it looks like, without a line end. The caller frees. */
char *snap_json_end(JsonBuilder *json);

/* The same, printed. */
void snap_json_print(JsonBuilder *json);

/* Members of the object that is open. @text need not be UTF-8. */
void snap_json_string(JsonBuilder *json, const char *member, const char *text);
void snap_json_number(JsonBuilder *json, const char *member, int64_t number);
void snap_json_boolean(JsonBuilder *json, const char *member, bool value);

/* An object of its own, as `qemu-img snapshot' and QEMU's monitor have it. */
void snap_json_snapshot(JsonBuilder *json, const Qcow2Snapshot *snapshot);

#endif /* SNAP_JSON_H */
