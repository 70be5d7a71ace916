/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See printable.h.
 */
#include <stdbool.h>
#include <glib.h>

#include "printable.h"

static bool is_second_set(const unsigned char *text)
{
    return text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f;
}

char *printable(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    g_autoptr(GString) safe = g_string_new(NULL);

    for (; *at; at++) {
        if (g_ascii_iscntrl(*at)) {
            g_string_append_printf(safe, "\\x%02x", *at);
        } else if (is_second_set(at)) {
            g_string_append_printf(safe, "\\x%02x\\x%02x", at[0], at[1]);
            at++;
        } else {
            g_string_append_c(safe, *at);
        }
    }
    return g_string_free(g_steal_pointer(&safe), FALSE);
}

char *printable_json(const char *json)
{
    const unsigned char *at = (const unsigned char *)json;
    g_autoptr(GString) safe = g_string_new(NULL);

    for (; *at; at++) {
        if (*at == 0x7f) {
            g_string_append(safe, "\\u007f");
        } else if (is_second_set(at)) {
            g_string_append_printf(safe, "\\u%04x", *++at);
        } else {
            g_string_append_c(safe, *at);
        }
    }
    return g_string_free(g_steal_pointer(&safe), FALSE);
}
