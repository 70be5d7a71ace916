/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Sizes as people write and read them.
 */
#include <check.h>
#include <inttypes.h>
#include <glib.h>

#include "run-suite.h"
#include "size.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)
#define PIB (UINT64_C(1) << 50)
#define EIB (UINT64_C(1) << 60)

static const struct {
    const char *text;
    uint64_t bytes;
} sizes[] = {
    { "0", 0 },
    { "1", 1 },
    { "512", 512 },
    { "0512", 512 },
    { "00000000000000000000000000000001", 1 },
    { "512B", 512 },
    { "512b", 512 },
    { "64K", 64 * KIB },
    { "64k", 64 * KIB },
    { "3M", 3 * MIB },
    { "3m", 3 * MIB },
    { "16G", 16 * GIB },
    { "16g", 16 * GIB },
    { "2T", 2 * TIB },
    { "2t", 2 * TIB },
    { "5P", 5 * PIB },
    { "5p", 5 * PIB },
    { "7E", 7 * EIB },
    { "7e", 7 * EIB },
    { "0E", 0 },
    { "0.0E", 0 },
    { "1.5M", MIB + MIB / 2 },
    { "0.5K", 512 },
    { "1.0G", GIB },
    { "0.25G", GIB / 4 },
    { "1.125T", TIB + TIB / 8 },
    /* A part of a byte is dropped. */
    { "1.5", 1 },
    { "0.9", 0 },
    { "1.999B", 1 },
    { "0.001K", 1 },
    { "0.0009K", 0 },
    { "1.1K", 1126 },
    { "0.3M", 314572 },
    { "1.9999K", 2047 },
    { "1.999999999999T", 2 * TIB - 2 },
    { "0.000000000001E", 1152921 },
    /* Where the fraction times the unit has more than 64 bits. */
    { "1.25E", EIB + EIB / 4 },
    { "1.50000P", PIB + PIB / 2 },
    { "1.500000000000T", TIB + TIB / 2 },
    { "1.500000000000E", EIB + EIB / 2 },
    { "7.875E", 7 * EIB + 7 * (EIB / 8) },
    /* The most there can be. */
    { "9223372036854775807", INT64_MAX },
    { "9007199254740991K", INT64_MAX - 1023 },
    { "7.999999999999E", 9223372036853622886 },
};

START_TEST(sizes_are_read)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint64_t bytes = 42;

        ck_assert_msg(size_parse(sizes[i].text, &bytes), "%s", sizes[i].text);
        ck_assert_msg(bytes == sizes[i].bytes, "%s: %" PRIu64, sizes[i].text,
                      bytes);
    }
}
END_TEST

static const char *const no_sizes[] = {
    "",
    " ",
    "K",
    "B",
    ".",
    ".5",
    ".5K",
    "5.",
    "5.K",
    "5..5",
    "5.5.5",
    "5,5",
    "-1",
    "-0",
    "+1",
    " 1",
    "1 ",
    "1 K",
    "1\n",
    "1KB",
    "1KiB",
    "1Ki",
    "1KK",
    "1Z",
    "1Y",
    "1x",
    "0x10",
    "1e3",
    "1E3",
    "1.5e3",
    "inf",
    "nan",
    "1\xc2\xa0K",
    "\xd9\xa1", /* a digit, but not of ours */
    "1-",
    "1.-5K",
    "1. 5K",
    /* 8 EiB and more. */
    "8E",
    "8.0E",
    "10.75E",
    "9E",
    "15E",
    "16E",
    "17E",
    "8192P",
    "16384P",
    "9007199254740992K",
    "18014398509481984K",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551617K",
    "36893488147419103232",
    "99999999999999999999999999999999999999",
    /* More digits behind the point than anybody means. */
    "1.0000000000001T",
    "1.99999999999999999999999999999999999999T",
};

START_TEST(anything_else_is_refused)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(no_sizes); i++) {
        uint64_t bytes = 42;

        ck_assert_msg(!size_parse(no_sizes[i], &bytes), "'%s'", no_sizes[i]);
        ck_assert_msg(bytes == 42, "'%s' leaves %" PRIu64, no_sizes[i], bytes);
    }
}
END_TEST

static const struct {
    uint64_t bytes;
    const char *text;
} formats[] = {
    { 0, "0 B" },
    { 1, "1 B" },
    { 512, "512 B" },
    { 999, "999 B" },
    { 1000, "0.977 KiB" },
    { 1023, "0.999 KiB" },
    { KIB, "1 KiB" },
    { KIB + 1, "1 KiB" },
    { KIB + KIB / 2, "1.5 KiB" },
    { 1234567, "1.18 MiB" },
    { 10 * KIB, "10 KiB" },
    { 387 * KIB + 100, "387 KiB" },
    { 999 * KIB, "999 KiB" },
    /* Rounds up to four digits; qemu-img says the same. */
    { 999 * KIB + KIB / 2, "1e+03 KiB" },
    { 1000 * KIB, "0.977 MiB" },
    { MIB - 1, "1 MiB" },
    { MIB, "1 MiB" },
    { 64 * MIB, "64 MiB" },
    { 999 * MIB, "999 MiB" },
    { 1000 * MIB, "0.977 GiB" },
    { GIB, "1 GiB" },
    { 2 * GIB + GIB / 3, "2.33 GiB" },
    { 100 * GIB, "100 GiB" },
    { TIB, "1 TiB" },
    { PIB, "1 PiB" },
    { 1000 * PIB, "0.977 EiB" },
    { EIB, "1 EiB" },
    { INT64_MAX, "8 EiB" },
    { UINT64_MAX, "16 EiB" },
};

START_TEST(sizes_are_written)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *text = size_format(formats[i].bytes);

        ck_assert_str_eq(text, formats[i].text);
    }
}
END_TEST

static Suite *size_suite(void)
{
    Suite *suite = suite_create("size");
    TCase *tcase = tcase_create("size");

    tcase_add_test(tcase, sizes_are_read);
    tcase_add_test(tcase, anything_else_is_refused);
    tcase_add_test(tcase, sizes_are_written);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(size_suite());
}
