/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * One object of a device description: a device, a field, a structure or a
 * subsection. What is nested in it is passed over, but one can go back to it.
 */
#ifndef DESCRIBED_OBJECT_H
#define DESCRIBED_OBJECT_H

#include "device-state.h"
#include "json-walk.h"

/* Of a missing member, numbers are -1, texts empty, and places NULL. */
typedef struct DescribedObject {
    StreamName name;
    StreamName vmsd_name; /* of a structure, whoever contains it */
    StreamName type;      /* of a field */
    int64_t instance;     /* of a device */
    bool has_instance;    /* any number is possible */
    int64_t version;      /* of a structure */
    int64_t size;         /* of a field, or of each element of an array */
    int64_t array_len;    /* so many elements, described once */
    int64_t index;        /* this is an element */

    /* Where these values begin in the text. */
    const char *structure;
    const char *fields;
    const char *subsections;
} DescribedObject;

/* Take one object. False: the text is wrong. */
bool described_object_take(JsonWalk *json, DescribedObject *object);

/*
 * Take the beginning of a list. *more: there is an element. Afterwards, use
 * json_walk_more().
 */
bool described_list_begin(JsonWalk *json, bool *more);

/* What @data of @bytes means to a field of @type. */
void described_value(DeviceValue *value, const char *type, const uint8_t *data,
                     uint64_t bytes);

#endif /* DESCRIBED_OBJECT_H */
