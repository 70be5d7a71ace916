/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The device description at the end of a stream, as text: what is read out of
 * it, and that no text does any harm.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../migration/stream-devices.h"
#include "run-suite.h"

static GPtrArray *parse(const char *text, uint32_t *page_size)
{
    /* A copy of just that length, so that reading beyond it is noticed. */
    size_t bytes = strlen(text);
    g_autofree char *copy = g_memdup2(text, bytes);

    return device_description_parse(copy, bytes, page_size);
}

START_TEST(devices_and_page_size)
{
    uint32_t page_size;
    g_autoptr(GPtrArray) devices =
        parse("{ \"configuration\": {\"name\": \"x\", \"fields\": []},\n"
              "\"page_size\": 8192, \"devices\": [\n"
              "{\"name\": \"timer\", \"instance_id\": 0, \"fields\": "
              "[{\"name\": \"cpu\", \"index\": 1, \"struct\": {\"a\": [1.5e3, "
              "-2, true, null, {}, []]}}]},\n"
              "{\"instance_id\": 4294967295, \"data\": \"]}\\\"{\\\\\", "
              "\"name\": \"0000:00:02.0/vga\"}], \"more\": false}",
              &page_size);

    ck_assert_ptr_nonnull(devices);
    ck_assert_uint_eq(page_size, 8192);
    ck_assert_uint_eq(devices->len, 2);
    ck_assert(stream_devices_match(devices, 0, "timer", 5, 0));
    ck_assert(
        stream_devices_match(devices, 1, "0000:00:02.0/vga", 16, UINT32_MAX));
    ck_assert(!stream_devices_match(devices, 0, "timers", 6, 0));
    ck_assert(!stream_devices_match(devices, 0, "timer", 5, 1));
    ck_assert(!stream_devices_match(devices, 2, "", 0, 0));
}
END_TEST

START_TEST(no_devices)
{
    uint32_t page_size;
    g_autoptr(GPtrArray) devices = parse("{\"devices\": []}", &page_size);

    ck_assert_ptr_nonnull(devices);
    ck_assert_uint_eq(devices->len, 0);
    ck_assert_uint_eq(page_size, 0);
}
END_TEST

/* Older sources printed instance ids with a sign. */
START_TEST(negative_instance)
{
    uint32_t page_size;
    g_autoptr(GPtrArray) devices = parse(
        "{\"devices\": [{\"name\": \"a\", \"instance_id\": -1}]}", &page_size);

    ck_assert_ptr_nonnull(devices);
    ck_assert(stream_devices_match(devices, 0, "a", 1, UINT32_MAX));
}
END_TEST

static const char *const wrong_texts[] = {
    "",
    "{",
    "{}",
    "[]",
    "{\"devices\": []} x",
    "{\"devices\": [}",
    "{\"devices\": {}}",
    "{\"devices\": [], \"devices\": []}x",
    "{\"devices\": [{}]}",
    "{\"devices\": [{\"name\": \"a\"}]}",
    "{\"devices\": [{\"instance_id\": 1}]}",
    "{\"devices\": [{\"name\": 1, \"instance_id\": 1}]}",
    "{\"devices\": [{\"name\": \"a\", \"instance_id\": \"1\"}]}",
    "{\"devices\": [{\"name\": \"a\", \"instance_id\": 1x}]}",
    "{\"devices\": [{\"name\": \"a\", \"instance_id\": 1},]}",
    "{\"devices\": [{\"name\": \"a\", \"instance_id\": 1}",
    "{\"devices\": [{\"name\": \"a",
    "{\"devices\": [{\"name\": \"a\\",
    "{\"page_size\": 1 \"devices\": []}",
    "{\"x\": [1,], \"devices\": []}",
    "{\"x\": {\"y\"}, \"devices\": []}",
    "{\"x\": {\"y\": }, \"devices\": []}",
    "{\"x\": [{]}, \"devices\": []}",
    "{\"x\": , \"devices\": []}",
    "{\"x\" \"devices\": []}",
    "{devices: []}",
};

START_TEST(wrong_text)
{
    uint32_t page_size;

    ck_assert_ptr_null(parse(wrong_texts[_i], &page_size));
}
END_TEST

/* @depth arrays inside each other, as the value of some key */
static GPtrArray *parse_nested(unsigned depth, bool closed)
{
    GString *text = g_string_new("{\"x\": ");
    GPtrArray *devices;
    uint32_t page_size;

    for (unsigned i = 0; i < depth; i++) {
        g_string_append_c(text, '[');
    }
    for (unsigned i = 0; closed && i < depth; i++) {
        g_string_append_c(text, ']');
    }
    g_string_append(text, ", \"devices\": []}");
    devices = parse(text->str, &page_size);
    g_string_free(text, TRUE);
    return devices;
}

START_TEST(nesting)
{
    g_autoptr(GPtrArray) devices = parse_nested(200, true);

    ck_assert_ptr_nonnull(devices);
    ck_assert_ptr_null(parse_nested(200, false));
    ck_assert_ptr_null(parse_nested(5000000, true));
    ck_assert_ptr_null(parse_nested(5000000, false));
}
END_TEST

START_TEST(more_devices_than_there_can_be)
{
    GString *text = g_string_new("{\"devices\": [");
    uint32_t page_size;

    for (unsigned i = 0; i < 70000; i++) {
        g_string_append_printf(text, "%s{\"name\": \"a\", \"instance_id\": %u}",
                               i > 0 ? "," : "", i);
    }
    g_string_append(text, "]}");
    ck_assert_ptr_null(parse(text->str, &page_size));
    g_string_free(text, TRUE);
}
END_TEST

START_TEST(any_bytes)
{
    static const char alphabet[] = "{}[]\",:\\ a1\0\n";
    g_autoptr(GRand) random = g_rand_new_with_seed(1);

    for (int i = 0; i < 100000; i++) {
        size_t bytes = g_rand_int_range(random, 0, 60);
        g_autofree char *text = g_malloc(bytes);
        g_autoptr(GPtrArray) devices = NULL;
        uint32_t page_size;

        for (size_t k = 0; k < bytes; k++) {
            text[k] =
                alphabet[g_rand_int_range(random, 0, sizeof(alphabet) - 1)];
        }
        devices = device_description_parse(text, bytes, &page_size);
        /* Chance does not write the word. */
        ck_assert_ptr_null(devices);
    }
}
END_TEST

START_TEST(lists_are_compared)
{
    g_autoptr(GPtrArray) all = stream_devices_new();
    g_autoptr(GPtrArray) some = stream_devices_new();

    ck_assert(stream_devices_begin_with(all, some));
    stream_devices_add(all, "cpu!", 3, 0);
    stream_devices_add(all, "cpu", 3, 1);
    ck_assert(stream_devices_begin_with(all, some));
    stream_devices_add(some, "cpu", 3, 0);
    ck_assert(stream_devices_begin_with(all, some));
    ck_assert(!stream_devices_begin_with(some, all));
    stream_devices_add(some, "cpu", 3, 2);
    ck_assert(!stream_devices_begin_with(all, some));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("migration-description");
    TCase *tcase = tcase_create("text");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, devices_and_page_size);
    tcase_add_test(tcase, no_devices);
    tcase_add_test(tcase, negative_instance);
    tcase_add_loop_test(tcase, wrong_text, 0, G_N_ELEMENTS(wrong_texts));
    tcase_add_test(tcase, nesting);
    tcase_add_test(tcase, more_devices_than_there_can_be);
    tcase_add_test(tcase, any_bytes);
    tcase_add_test(tcase, lists_are_compared);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
