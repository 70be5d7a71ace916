/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Goes through the description of a device and its payload side by side.
 *
 * The description is walked over as text, once without telling anybody, to see
 * that it fits, and once more to tell. Whatever is nested is on a stack of our
 * own. A structure in an array is walked over once for each element; that each
 * takes at least a byte of the payload is not enough of a bound, so the text
 * that is walked over is counted.
 */
#include <string.h>

#include "described-object.h"
#include "reader-internal.h"

/* Structures within each other. QEMU's devices have up to 13. */
#define STATE_MAX_DEPTH 64

/*
 * Characters of text that may be walked over: those of a sound description are
 * up to 16 times, as structures are nested and stand in arrays.
 */
#define STATE_MIN_WORK      (UINT64_C(8) << 20)
#define STATE_WORK_PER_BYTE 24

struct DeviceDescriptions {
    JsonWalk text;
    GHashTable *devices; /* name and instance -> place in the text */
    uint64_t work_left;
};

/* A structure that is open. */
typedef struct StateFrame {
    const char *subsections; /* NULL: there are none, or they have begun */
    JsonWalk list;           /* its fields, or its subsections */
    bool in_subsections;
    bool more;      /* in the list */
    uint64_t begin; /* of its payload */
    int64_t size;   /* -1: nothing says how long it is */

    /* The array that is open in it. */
    bool array;
    StreamName array_name;
    uint64_t index; /* of the next element */

    /* The field that it is at, if that is a structure. */
    DescribedObject field;
    uint64_t left; /* elements that are still to come */
} StateFrame;

typedef struct StateWalk {
    DeviceDescriptions *descriptions;
    const uint8_t *payload;
    uint64_t bytes;
    uint64_t pos;

    const DeviceVisitor *visitor; /* NULL: only look whether it fits */
    void *opaque;

    StateFrame frames[STATE_MAX_DEPTH];
    unsigned depth;
    GError *error;
} StateWalk;

static bool G_GNUC_PRINTF(2, 3)
    state_failed(StateWalk *walk, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(&walk->error, SNAP_ERROR, SNAP_ERROR_STREAM,
                "%s (byte %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT ")",
                text, walk->pos, walk->bytes);
    return false;
}

static bool state_failed_text(StateWalk *walk)
{
    return state_failed(walk, "the description is not understood");
}

static bool state_failed_work(StateWalk *walk)
{
    return state_failed(walk, "the descriptions are too much work");
}

static StateFrame *state_top(StateWalk *walk)
{
    return &walk->frames[walk->depth - 1];
}

/* Take the next object of the list that @json is in. */
static bool state_take(StateWalk *walk, JsonWalk *json, DescribedObject *object)
{
    DeviceDescriptions *descriptions = walk->descriptions;
    const char *start = json->pos;
    uint64_t work;

    if (!described_object_take(json, object)) {
        return state_failed_text(walk);
    }
    work = json->pos - start;
    if (work > descriptions->work_left) {
        return state_failed_work(walk);
    }
    descriptions->work_left -= work;
    return true;
}

static bool state_at(StateWalk *walk, const char *place, JsonWalk *json,
                     bool *more)
{
    *json = walk->descriptions->text;
    json->pos = place;
    return described_list_begin(json, more) || state_failed_text(walk);
}

/* Open the structure whose members @object has. */
static bool state_push(StateWalk *walk, const DescribedObject *object,
                       int64_t size)
{
    StateFrame *frame;

    if (walk->depth == STATE_MAX_DEPTH) {
        return state_failed(walk, "structures are nested too deeply");
    }
    frame = &walk->frames[walk->depth++];
    *frame = (StateFrame){
        .subsections = object->subsections,
        .begin = walk->pos,
        .size = size,
    };
    return object->fields == NULL ||
           state_at(walk, object->fields, &frame->list, &frame->more);
}

static void tell_begin(const StateWalk *walk, StreamName name, bool element,
                       uint64_t index)
{
    g_autofree char *text = NULL;
    DeviceLabel label = { .index = index };

    if (walk->visitor != NULL) {
        if (!element) {
            label.name = text = g_strndup(name.text, name.bytes);
        }
        walk->visitor->begin_struct(&label, walk->opaque);
    }
}

static void tell_values(const StateWalk *walk, const DescribedObject *field,
                        bool element, uint64_t index, uint64_t count)
{
    g_autofree char *name = NULL;
    g_autofree char *type = NULL;
    uint64_t bytes = field->size;

    if (walk->visitor == NULL) {
        return;
    }
    name = g_strndup(field->name.text, field->name.bytes);
    type = g_strndup(field->type.text, field->type.bytes);
    for (uint64_t i = 0; i < count; i++) {
        DeviceLabel label = { .name = element ? NULL : name,
                              .index = index + i };
        DeviceValue value;

        described_value(&value, type, walk->payload + walk->pos + i * bytes,
                        bytes);
        walk->visitor->value(&label, &value, walk->opaque);
    }
}

static void array_end(const StateWalk *walk, StateFrame *frame)
{
    if (frame->array && walk->visitor != NULL) {
        walk->visitor->end_array(walk->opaque);
    }
    frame->array = false;
}

/*
 * Is @field an element of an array, or several? Those of one array follow one
 * another under one name.
 */
static bool array_enter(const StateWalk *walk, StateFrame *frame,
                        const DescribedObject *field)
{
    bool element = field->array_len >= 0 || field->index >= 0;

    if (frame->array &&
        (!element || frame->array_name.bytes != field->name.bytes ||
         memcmp(frame->array_name.text, field->name.text, field->name.bytes) !=
             0)) {
        array_end(walk, frame);
    }
    if (element && !frame->array) {
        g_autofree char *name = g_strndup(field->name.text, field->name.bytes);
        DeviceLabel label = { .name = name };

        frame->array = true;
        frame->array_name = field->name;
        frame->index = 0;
        if (walk->visitor != NULL) {
            walk->visitor->begin_array(&label, walk->opaque);
        }
    }
    if (field->index >= 0) {
        frame->index = field->index;
    }
    return element;
}

/* Versioned structures, and those made for the stream, have members at once. */
static bool is_structure(const DescribedObject *field)
{
    return field->structure != NULL ||
           (field->fields != NULL && (stream_name_is(field->type, "tmp") ||
                                      stream_name_is(field->type, "vstruct")));
}

static bool state_field(StateWalk *walk, StateFrame *frame)
{
    DescribedObject *field = &frame->field;
    uint64_t count, bytes;
    bool element;

    if (!state_take(walk, &frame->list, field) ||
        !json_walk_more(&frame->list, ']', &frame->more)) {
        return walk->error != NULL ? false : state_failed_text(walk);
    }
    count = field->array_len >= 0 ? field->array_len : 1;
    if (field->size < 0 || !checked_mul(field->size, count, &bytes) ||
        !range_within(walk->pos, bytes, walk->bytes)) {
        g_autofree char *name =
            stream_escape(field->name.text, field->name.bytes);

        return state_failed(walk, "field '%s' does not fit", name);
    }
    element = array_enter(walk, frame, field);
    /* Elements without content would be as many as somebody likes. */
    if (field->array_len >= 0 && field->size == 0) {
        return true;
    }
    if (is_structure(field)) {
        frame->left = count;
        return true;
    }
    tell_values(walk, field, element, frame->index, count);
    frame->index += count;
    walk->pos += bytes;
    return true;
}

/* The next element of the field that @frame is at, a structure */
static bool state_element(StateWalk *walk, StateFrame *frame)
{
    const DescribedObject *field = &frame->field;
    DescribedObject members = *field;
    JsonWalk json = walk->descriptions->text;

    if (field->structure != NULL) {
        json.pos = field->structure;
        if (!state_take(walk, &json, &members)) {
            return false;
        }
    }
    frame->left--;
    tell_begin(walk, field->name, frame->array, frame->index++);
    return state_push(walk, &members, field->size);
}

/* Does the header of @subsection come next? It is taken. */
static bool subsection_header(StateWalk *walk,
                              const DescribedObject *subsection)
{
    StreamCursor cursor = { .data = walk->payload + walk->pos,
                            .bytes = walk->bytes - walk->pos };
    StreamName name, wanted = subsection->vmsd_name;
    uint32_t version;
    uint8_t type;

    if (!stream_cursor_u8(&cursor, &type) || type != STREAM_SUBSECTION ||
        !stream_cursor_name(&cursor, &name) ||
        !stream_cursor_be32(&cursor, &version) || name.bytes != wanted.bytes ||
        memcmp(name.text, wanted.text, name.bytes) != 0 ||
        (subsection->version >= 0 && version != subsection->version)) {
        g_autofree char *escaped = stream_escape(wanted.text, wanted.bytes);

        return state_failed(walk, "subsection '%s' is not there", escaped);
    }
    walk->pos += cursor.pos;
    return true;
}

static bool state_subsection(StateWalk *walk, StateFrame *frame)
{
    DescribedObject subsection;

    if (!state_take(walk, &frame->list, &subsection) ||
        !json_walk_more(&frame->list, ']', &frame->more)) {
        return walk->error != NULL ? false : state_failed_text(walk);
    }
    if (!subsection_header(walk, &subsection)) {
        return false;
    }
    tell_begin(walk, subsection.vmsd_name, false, 0);
    return state_push(walk, &subsection, -1);
}

static bool state_pop(StateWalk *walk, const StateFrame *frame)
{
    if (frame->size >= 0 && walk->pos - frame->begin != (uint64_t)frame->size) {
        return state_failed(walk,
                            "a structure of %" G_GINT64_FORMAT
                            " bytes has another length",
                            frame->size);
    }
    walk->depth--;
    if (walk->depth > 0 && walk->visitor != NULL) {
        walk->visitor->end_struct(walk->opaque);
    }
    return true;
}

/* One step of the walk, which goes on while there are frames. */
static bool state_step(StateWalk *walk)
{
    StateFrame *frame = state_top(walk);

    if (frame->left > 0) {
        return state_element(walk, frame);
    }
    if (frame->more) {
        return frame->in_subsections ? state_subsection(walk, frame)
                                     : state_field(walk, frame);
    }
    array_end(walk, frame);
    if (frame->subsections != NULL) {
        const char *place = g_steal_pointer(&frame->subsections);

        frame->in_subsections = true;
        return state_at(walk, place, &frame->list, &frame->more);
    }
    return state_pop(walk, frame);
}

/* From the description at @place on, once. */
static bool state_walk(StateWalk *walk, const char *place)
{
    JsonWalk json = walk->descriptions->text;
    DescribedObject device;

    json.pos = place;
    walk->pos = 0;
    if (!state_take(walk, &json, &device) || !state_push(walk, &device, -1)) {
        return false;
    }
    while (walk->depth > 0) {
        if (!state_step(walk)) {
            return false;
        }
    }
    return walk->pos == walk->bytes ||
           state_failed(walk, "the description ends before the payload");
}

/* The key of a device in the table. To free. */
static char *device_key(const char *name, size_t bytes, uint32_t instance)
{
    return g_strdup_printf("%u %.*s", instance, (int)bytes, name);
}

bool device_state_decode(DeviceDescriptions *descriptions, const char *name,
                         uint32_t instance, const uint8_t *payload,
                         size_t bytes, const DeviceVisitor *visitor,
                         void *opaque, GError **errp)
{
    g_autofree char *key = device_key(name, strlen(name), instance);
    const char *place = g_hash_table_lookup(descriptions->devices, key);
    g_autofree StateWalk *walk = NULL;
    uint64_t work = descriptions->work_left;

    if (place == NULL) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND,
                    "the stream does not describe it");
        return false;
    }
    walk = g_new0(StateWalk, 1);
    walk->descriptions = descriptions;
    /* No payload may be no memory: nothing is added to a null pointer. */
    walk->payload = bytes > 0 ? payload : (const uint8_t *)"";
    walk->bytes = bytes;
    walk->opaque = opaque;
    if (state_walk(walk, place)) {
        work -= descriptions->work_left;
        if (work > descriptions->work_left) {
            state_failed_work(walk);
        } else {
            /* It takes the same work again, and cannot fail. */
            walk->visitor = visitor;
            state_walk(walk, place);
        }
    }
    if (walk->error != NULL) {
        g_propagate_error(errp, walk->error);
        return false;
    }
    return true;
}

static bool list_devices(DeviceDescriptions *descriptions)
{
    JsonWalk json = descriptions->text;
    DescribedObject device;
    StreamName key;
    bool more;

    /* Of the members of the outermost object, only one is of interest. */
    for (more = json_walk_take(&json, '{'); more;) {
        if (!json_walk_key(&json, &key)) {
            return false;
        }
        if (stream_name_is(key, "devices")) {
            break;
        }
        if (!json_walk_skip(&json) || !json_walk_more(&json, '}', &more)) {
            return false;
        }
    }
    if (!more || !described_list_begin(&json, &more)) {
        return false;
    }
    while (more) {
        const char *place;

        json_walk_peek(&json);
        place = json.pos;
        if (!described_object_take(&json, &device) || !device.has_instance ||
            device.name.bytes > UINT8_MAX ||
            !json_walk_more(&json, ']', &more)) {
            return false;
        }
        g_hash_table_insert(
            descriptions->devices,
            device_key(device.name.text, device.name.bytes, device.instance),
            (gpointer)place);
    }
    return true;
}

DeviceDescriptions *device_descriptions_new(const char *text, size_t bytes,
                                            GError **errp)
{
    g_autoptr(DeviceDescriptions) descriptions = g_new0(DeviceDescriptions, 1);

    descriptions->text = (JsonWalk){ .pos = text, .end = text + bytes };
    descriptions->devices =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    descriptions->work_left = STATE_MIN_WORK +
                              (uint64_t)bytes * STATE_WORK_PER_BYTE;
    if (!list_devices(descriptions)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_STREAM,
                    "the description of the devices is not understood");
        return NULL;
    }
    return g_steal_pointer(&descriptions);
}

void device_descriptions_free(DeviceDescriptions *descriptions)
{
    if (descriptions != NULL) {
        g_hash_table_unref(descriptions->devices);
        g_free(descriptions);
    }
}
