/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The state of devices for people: a line for each field, indented as
 * structures are nested. What is long is in rows; rows that are equal to the
 * one before are shown as one line with an asterisk, as hexdump(1) has it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "checked.h"
#include "printable.h"
#include "snap-device-output.h"

#define INDENTATION 4

/* Bytes in a row. Of numbers there are 4 to 16 in one, as they are long. */
#define ROW_BYTES 32

/* Bytes that are shown behind their name. */
#define SHORT_BYTES 16

/* What is in rows. */
typedef struct Rows {
    GString *last; /* the row that was printed */
    bool starred;  /* and that it comes again was, too */
} Rows;

typedef struct DeviceText {
    unsigned depth;
    Rows rows;

    /* The row of numbers of an array that is being filled. */
    GString *row;
    uint64_t row_index; /* of its first element */
    unsigned row_values;
    bool named; /* the array's name waits for the end of its line */
} DeviceText;

static void print_indentation(const DeviceText *text)
{
    printf("%*s", (int)(text->depth * INDENTATION), "");
}

/* The name, or the index of an element, and a colon. */
static void print_label(const DeviceText *text, const DeviceLabel *label)
{
    print_indentation(text);
    if (label->name) {
        g_autofree char *name = printable(label->name);

        printf("%s:", name);
    } else {
        printf("[%" PRIu64 "]:", label->index);
    }
}

static void rows_begin(Rows *rows)
{
    g_string_truncate(rows->last, 0);
    rows->starred = false;
}

/*
 * A row behind its @label, which is freed. @last: it is shown in any case, so
 * that one sees where the rows end.
 */
static void print_row(DeviceText *text, char *label, const char *row, bool last)
{
    Rows *rows = &text->rows;

    if (last || strcmp(row, rows->last->str) != 0) {
        g_string_assign(rows->last, row);
        rows->starred = false;
        print_indentation(text);
        printf("%s%s\n", label, row);
    } else if (!rows->starred) {
        rows->starred = true;
        print_indentation(text);
        printf("*\n");
    }
    g_free(label);
}

static void print_bytes_in_rows(DeviceText *text, const uint8_t *data,
                                uint64_t bytes)
{
    g_autoptr(GString) row = g_string_new(NULL);
    uint64_t i;

    text->depth++;
    rows_begin(&text->rows);
    for (i = 0; i < bytes; i++) {
        if (i % ROW_BYTES == 0) {
            g_string_assign(row, " ");
        }
        g_string_append_printf(row, "%02x", data[i]);
        if ((i + 1) % ROW_BYTES == 0 || i + 1 == bytes) {
            print_row(
                text,
                g_strdup_printf("%04" PRIx64 ":", round_down(i, ROW_BYTES)),
                row->str, i + 1 == bytes);
        }
    }
    text->depth--;
}

/* The bytes behind the last that is not zero. */
static uint64_t count_final_zeros(const uint8_t *data, uint64_t bytes)
{
    uint64_t count = 0;

    while (count < bytes && !data[bytes - 1 - count]) {
        count++;
    }
    return count;
}

/* Do they look like text? */
static bool is_text(const uint8_t *data, uint64_t bytes)
{
    uint64_t i;

    for (i = 0; i < bytes; i++) {
        if (!g_ascii_isprint(data[i])) {
            return false;
        }
    }
    return bytes > 1;
}

/* Behind the label, on the same line or below it. */
static void print_bytes(DeviceText *text, const uint8_t *data, uint64_t bytes)
{
    uint64_t zeros = count_final_zeros(data, bytes);
    uint64_t i;

    if (zeros > 0 && is_text(data, bytes - zeros)) {
        printf(" \"%.*s\" in %" PRIu64 " bytes\n", (int)(bytes - zeros),
               (const char *)data, bytes);
    } else if (bytes <= SHORT_BYTES) {
        printf(bytes > 0 ? " " : " nothing");
        for (i = 0; i < bytes; i++) {
            printf("%02x", data[i]);
        }
        printf("\n");
    } else if (zeros == bytes) {
        printf(" %" PRIu64 " zero bytes\n", bytes);
    } else {
        printf(" %" PRIu64 " bytes\n", bytes);
        print_bytes_in_rows(text, data, bytes);
    }
}

/* The array's name is on a line of its own, if anything comes below it. */
static void end_name(DeviceText *text)
{
    if (text->named) {
        printf("\n");
        text->named = false;
    }
}

static void end_row(DeviceText *text, bool last)
{
    end_name(text);
    if (text->row_values > 0) {
        print_row(text, g_strdup_printf("[%" PRIu64 "]", text->row_index),
                  text->row->str, last);
        g_string_truncate(text->row, 0);
        text->row_values = 0;
    }
}

static void add_to_row(DeviceText *text, uint64_t index,
                       const DeviceValue *what)
{
    unsigned most = what->bytes > 1 ? ROW_BYTES / MAX(what->bytes, 4) : 16;
    g_autofree char *number = snap_device_number(what);

    if (text->row_values >= most) {
        end_row(text, false);
    }
    if (text->row_values == 0) {
        text->row_index = index;
    }
    g_string_append_printf(text->row, " %s", number);
    text->row_values++;
}

static void begin_struct(const DeviceLabel *label, void *opaque)
{
    DeviceText *text = opaque;

    end_row(text, true);
    print_label(text, label);
    printf("\n");
    text->depth++;
}

static void end_struct(void *opaque)
{
    DeviceText *text = opaque;

    text->depth--;
}

static void begin_array(const DeviceLabel *label, void *opaque)
{
    DeviceText *text = opaque;

    print_label(text, label);
    text->named = true;
    text->depth++;
    rows_begin(&text->rows);
}

static void end_array(void *opaque)
{
    DeviceText *text = opaque;

    if (text->named && text->row_values == 0) {
        printf(" nothing");
    }
    end_row(text, true);
    text->depth--;
}

static void value(const DeviceLabel *label, const DeviceValue *what,
                  void *opaque)
{
    DeviceText *text = opaque;
    g_autofree char *number = NULL;

    if (what->kind == DEVICE_VALUE_BYTES) {
        end_row(text, true);
        print_label(text, label);
        print_bytes(text, what->data, what->bytes);
        return;
    }
    if (!label->name) {
        add_to_row(text, label->index, what);
        return;
    }
    number = snap_device_number(what);
    print_label(text, label);
    printf(" %s\n", number);
}

static void *begin(const Qcow2Snapshot *snapshot)
{
    DeviceText *text = g_new0(DeviceText, 1);
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);

    text->row = g_string_new(NULL);
    text->rows.last = g_string_new(NULL);
    printf("snapshot: %s (ID %s)\n", name, id);
    return text;
}

static void begin_device(const MigrationSection *device, void *opaque)
{
    DeviceText *text = opaque;
    g_autofree char *name = printable(device->name);

    printf("%s, instance %u", name, device->instance);
    if (!snap_section_is_lost(device)) {
        printf(", version %u", device->version);
    }
    printf(":\n");
    text->depth++;
}

static void end_device(void *opaque)
{
    DeviceText *text = opaque;

    text->depth--;
}

static void undecoded(const char *why, const uint8_t *data, uint64_t bytes,
                      void *opaque)
{
    DeviceText *text = opaque;
    g_autofree char *reason = printable(why);

    print_indentation(text);
    printf("not decoded: %s\n", reason);
    if (data) {
        print_indentation(text);
        printf("data:");
        print_bytes(text, data, bytes);
    }
}

static void end(void *opaque)
{
    DeviceText *text = opaque;

    g_string_free(text->row, TRUE);
    g_string_free(text->rows.last, TRUE);
    g_free(text);
}

const SnapDeviceOutput snap_device_text = {
    .begin = begin,
    .begin_device = begin_device,
    .visitor = {
        .begin_struct = begin_struct,
        .end_struct = end_struct,
        .begin_array = begin_array,
        .end_array = end_array,
        .value = value,
    },
    .end_device = end_device,
    .undecoded = undecoded,
    .end = end,
};
