/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See size.h.
 */
#include <glib.h>

#include "checked.h"
#include "size.h"

/* More digits behind the point than anybody means. */
#define MAX_FRACTION_DIGITS 12

static bool parse_digits(const char **text, uint64_t *value)
{
    const char *at = *text;

    *value = 0;
    for (; g_ascii_isdigit(*at); at++) {
        if (!checked_mul(*value, 10, value) ||
            !checked_add(*value, *at - '0', value)) {
            return false;
        }
    }
    if (at == *text) {
        return false;
    }
    *text = at;
    return true;
}

/* @scale is the power of ten that the digits after the point stand for. */
static bool parse_fraction(const char **text, uint64_t *numerator,
                           uint64_t *scale)
{
    const char *start = *text + 1;

    *numerator = 0;
    *scale = 1;
    if (**text != '.') {
        return true;
    }
    *text = start;
    if (!parse_digits(text, numerator) || *text - start > MAX_FRACTION_DIGITS) {
        return false;
    }
    for (; start < *text; start++) {
        *scale *= 10;
    }
    return true;
}

static bool parse_unit(const char *text, uint64_t *unit)
{
    static const char letters[] = "BKMGTPE";
    const char *letter;

    *unit = 1;
    if (!*text) {
        return true;
    }
    letter = strchr(letters, g_ascii_toupper(*text));
    if (!letter || text[1]) {
        return false;
    }
    *unit = 1ULL << (10 * (letter - letters));
    return true;
}

/*
 * @numerator / @scale < 1 of @unit, a power of two; a part of a byte is
 * dropped. Bit by bit, because the product need not fit into 64 bits.
 */
static uint64_t fraction_of(uint64_t numerator, uint64_t scale, uint64_t unit)
{
    uint64_t part = 0;

    for (; unit > 1; unit /= 2) {
        numerator *= 2;
        part = 2 * part + numerator / scale;
        numerator %= scale;
    }
    return part;
}

bool size_parse(const char *text, uint64_t *bytes)
{
    uint64_t whole, numerator, scale, unit;

    if (!parse_digits(&text, &whole) ||
        !parse_fraction(&text, &numerator, &scale) ||
        !parse_unit(text, &unit) || !checked_mul(whole, unit, &whole) ||
        !checked_add(whole, fraction_of(numerator, scale, unit), &whole) ||
        whole > INT64_MAX) {
        return false;
    }
    *bytes = whole;
    return true;
}

char *size_format(uint64_t bytes)
{
    static const char *const units[] = {
        "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"
    };
    unsigned unit = 0;
    double value = bytes;

    /* One unit earlier than 1024, so that no fourth digit is needed. */
    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%0.3g %sB", value, units[unit]);
}
