/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Packed pages, right and wrong. Buffers are as long as what is in them, for
 * the sanitizers to see every step beyond.
 */
#include <check.h>
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <zlib.h>

#include "packed-page.h"
#include "run-suite.h"

#define PAGE 4096

typedef struct Change {
    const char *packed; /* hexadecimal digits */
    const char *page;   /* of 8 bytes, all 00 before; NULL: refused */
} Change;

static const Change changes[] = {
    { "", "0000000000000000" },
    { "0001aa", "aa00000000000000" },
    { "0701aa", "00000000000000aa" },
    { "0102aabb0201cc", "00aabb0000cc0000" },
    { "00080102030405060708", "0102030405060708" },
    { "00010101011100", NULL }, /* nothing changes */
    { "01", NULL },
    { "0102aa", NULL },
    { "0100", NULL },
    { "0702aabb", NULL },
    { "0801aa", NULL },
    { "0801aa01", NULL },
    { "8000", NULL },
    { "80", NULL },
    { "808001aa", NULL },
    { "800001aa", "aa00000000000000" },
    { "ffff7f01aa", NULL },
    { "ff7f01aa", NULL },
};

static GByteArray *parse_hex(const char *text)
{
    GByteArray *bytes = g_byte_array_new();

    for (; *text; text += 2) {
        uint8_t byte = g_ascii_xdigit_value(text[0]) << 4 |
                       g_ascii_xdigit_value(text[1]);

        g_byte_array_append(bytes, &byte, 1);
    }
    return bytes;
}

START_TEST(differences)
{
    const Change *change = &changes[_i];
    g_autoptr(GByteArray) packed = parse_hex(change->packed);
    g_autofree uint8_t *exact = g_memdup2(packed->data, packed->len);
    g_autofree uint8_t *page = g_malloc0(8);
    int ret = packed_page_change(exact, packed->len, page, 8);

    ck_assert_int_eq(ret, change->page ? 0 : -EINVAL);
    if (change->page) {
        g_autoptr(GByteArray) expected = parse_hex(change->page);

        ck_assert_mem_eq(page, expected->data, 8);
    }
}
END_TEST

/* What was packed need not be a page: one byte less or more is none. */
START_TEST(deflated)
{
    static const int more[] = { 0, -1, 1, -PAGE };
    uLongf bytes = compressBound(PAGE + 1);
    g_autofree uint8_t *packed = g_malloc(bytes);
    g_autofree uint8_t *plain = g_malloc(PAGE + 1);
    g_autofree uint8_t *page = g_malloc(PAGE);
    g_autofree uint8_t *exact = NULL;

    for (unsigned i = 0; i <= PAGE; i++) {
        plain[i] = i * i / 7;
    }
    ck_assert_int_eq(compress2(packed, &bytes, plain, PAGE + more[_i], 1),
                     Z_OK);
    exact = g_memdup2(packed, bytes);
    ck_assert_int_eq(packed_page_inflate(exact, bytes, page, PAGE),
                     more[_i] ? -EINVAL : 0);
    if (more[_i] == 0) {
        ck_assert_mem_eq(page, plain, PAGE);
        ck_assert_int_eq(packed_page_inflate(exact, bytes - 1, page, PAGE),
                         -EINVAL);
        exact[0] ^= 0xff;
        ck_assert_int_eq(packed_page_inflate(exact, bytes, page, PAGE),
                         -EINVAL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("packed-page");
    TCase *tests = tcase_create("packed-page");

    tcase_add_loop_test(tests, differences, 0, G_N_ELEMENTS(changes));
    tcase_add_loop_test(tests, deflated, 0, 4);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
