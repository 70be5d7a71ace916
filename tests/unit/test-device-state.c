/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Decoding the state of devices by their description. What a visitor is told
 * is written down as one line of text.
 */
#include <check.h>
#include <string.h>

#include "device-state.h"
#include "run-suite.h"
#include "snap-error.h"

static void add_label(GString *told, const DeviceLabel *label)
{
    if (told->len > 0 && !strchr("{[", told->str[told->len - 1])) {
        g_string_append_c(told, ' ');
    }
    if (label->name != NULL) {
        g_string_append_printf(told, "%s=", label->name);
    } else {
        g_string_append_printf(told, "%" G_GUINT64_FORMAT ":", label->index);
    }
}

static void tell_struct(const DeviceLabel *label, void *opaque)
{
    add_label(opaque, label);
    g_string_append_c(opaque, '{');
}

static void tell_end_struct(void *opaque)
{
    g_string_append_c(opaque, '}');
}

static void tell_array(const DeviceLabel *label, void *opaque)
{
    add_label(opaque, label);
    g_string_append_c(opaque, '[');
}

static void tell_end_array(void *opaque)
{
    g_string_append_c(opaque, ']');
}

static void tell_value(const DeviceLabel *label, const DeviceValue *value,
                       void *opaque)
{
    add_label(opaque, label);
    switch (value->kind) {
    case DEVICE_VALUE_UNSIGNED:
        g_string_append_printf(opaque, "0x%" G_GINT64_MODIFIER "x",
                               value->as_unsigned);
        break;
    case DEVICE_VALUE_SIGNED:
        g_string_append_printf(opaque, "%" G_GINT64_FORMAT, value->as_signed);
        break;
    case DEVICE_VALUE_BOOL:
        g_string_append(opaque, value->as_unsigned ? "true" : "false");
        break;
    case DEVICE_VALUE_FLOAT:
        g_string_append_printf(opaque, "%g", value->as_float);
        break;
    case DEVICE_VALUE_NULL:
        g_string_append(opaque, "null");
        break;
    case DEVICE_VALUE_BYTES:
        g_string_append_printf(opaque, "<%" G_GUINT64_FORMAT " %s>",
                               value->bytes, value->type);
        for (uint64_t i = 0; i < value->bytes; i++) {
            g_string_append_printf(opaque, "%02x", value->data[i]);
        }
        break;
    }
}

static const DeviceVisitor teller = {
    .begin_struct = tell_struct,
    .end_struct = tell_end_struct,
    .begin_array = tell_array,
    .end_array = tell_end_array,
    .value = tell_value,
};

/* A description of one device with these members besides its name. */
static char *describe(const char *members)
{
    return g_strdup_printf("{\"page_size\": 4096, \"devices\": [{\"name\": "
                           "\"timer\", \"instance_id\": 0}, {\"name\": \"dev\","
                           " \"instance_id\": 1, %s}]}",
                           members);
}

/* What is told of @payload; NULL and *error. */
static char *decode(const char *text, const char *payload, size_t bytes,
                    GError **error)
{
    g_autoptr(DeviceDescriptions)
        descriptions = device_descriptions_new(text, strlen(text), error);
    /* Of its own, so that a sanitizer sees what is read behind it. */
    g_autofree uint8_t *copy = g_memdup2(payload, bytes);
    GString *told;

    if (descriptions == NULL) {
        return NULL;
    }
    told = g_string_new("");
    if (!device_state_decode(descriptions, "dev", 1, copy, bytes, &teller, told,
                             error)) {
        ck_assert_str_eq(told->str, "");
        g_string_free(told, TRUE);
        return NULL;
    }
    return g_string_free(told, FALSE);
}

typedef struct DecodeCase {
    const char *members;
    const char *payload;
    size_t bytes;
    const char *told; /* or part of the error */
} DecodeCase;

/* Literals with their lengths, without the zero at the end. */
#define PAYLOAD(text) (text), sizeof(text) - 1

#define FIELD(name, type, size) \
    "{\"name\": \"" name "\", \"type\": \"" type "\", \"size\": " size "}"

static const DecodeCase sound[] = {
    { "\"fields\": []", PAYLOAD(""), "" },
    { "\"version\": 3, \"vmsd_name\": \"dev\"", PAYLOAD(""), "" },
    /* Numbers, as long as they are described. */
    { "\"fields\": [" FIELD("a", "uint8", "1") "," FIELD(
          "b", "uint16", "2") "," FIELD("c", "uint32",
                                        "4") "," FIELD("d", "uint64", "8") "]",
      PAYLOAD("\x80\x80\x01\x80\x00\x00\x02\xff\x00\x00\x00\x00\x00\x00\x03"),
      "a=0x80 b=0x8001 c=0x80000002 d=0xff00000000000003" },
    { "\"fields\": [" FIELD("a", "int8", "1") "," FIELD(
          "b", "int16", "2") "," FIELD("c", "int32",
                                       "4") "," FIELD("d", "int64", "8") "]",
      PAYLOAD("\x80\x80\x01\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
      "a=-128 b=-32767 c=2147483647 d=-2" },
    { "\"fields\": [" FIELD("a", "int32 le", "4") "," FIELD(
          "b", "uint8 equal", "1") "," FIELD("c", "timer", "8") "]",
      PAYLOAD("\xff\xff\xff\xff\x07\xff\xff\xff\xff\xff\xff\xff\xff"),
      "a=-1 b=0x7 c=-1" },
    { "\"fields\": [" FIELD("a", "bool", "1") "," FIELD(
          "b", "bool", "1") "," FIELD("c", "float64",
                                      "8") "," FIELD("d", "CPU_Double_U",
                                                     "8") "]",
      PAYLOAD("\x01\x00\x3f\xf8\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0"),
      "a=true b=false c=1.5 d=-2" },
    { "\"fields\": [" FIELD("a", "uint64", "1") "," FIELD(
          "b", "nullptr", "1") "," FIELD("c", "uint64", "1") "]",
      PAYLOAD("00\x31"), "a=null b=null c=0x31" },
    /* All others are bytes, and so is what is called a number but is none. */
    { "\"fields\": [" FIELD("a", "buffer", "3") "," FIELD(
          "b", "unused_buffer",
          "0") "," FIELD("c", "pci config",
                         "2") "," FIELD("d", "uint32",
                                        "3") "," FIELD("e", "interrupts",
                                                       "4") "]",
      PAYLOAD("abcdefghijkl"),
      "a=<3 buffer>616263 b=<0 unused_buffer> c=<2 pci config>6465 "
      "d=<3 uint32>666768 e=<4 interrupts>696a6b6c" },
    /* Arrays, described once, one by one, and in runs. */
    { "\"fields\": [{\"name\": \"a\", \"array_len\": 3, \"type\": \"uint8\", "
      "\"size\": 1}, " FIELD("b", "uint8", "1") "]",
      PAYLOAD("\x01\x02\x03\x04"), "a=[0:0x1 1:0x2 2:0x3] b=0x4" },
    { "\"fields\": [{\"name\": \"a\", \"index\": 0, \"type\": \"uint8\", "
      "\"size\": 1}, {\"name\": \"a\", \"index\": 1, \"type\": \"uint16\", "
      "\"size\": 2}, {\"name\": \"b\", \"index\": 0, \"type\": \"uint8\", "
      "\"size\": 1}]",
      PAYLOAD("\x01\x02\x03\x04"), "a=[0:0x1 1:0x203] b=[0:0x4]" },
    { "\"fields\": [{\"name\": \"a\", \"array_len\": 2, \"type\": \"nullptr\", "
      "\"size\": 1}, {\"name\": \"a\", \"array_len\": 1, \"type\": \"struct\", "
      "\"struct\": {\"fields\": [" FIELD(
          "x", "uint8",
          "1") "]}, \"size\": 1}, "
               "{\"name\": \"a\", \"index\": 7, \"type\": \"nullptr\", \"size\": 1}]",
      PAYLOAD("00\x05"
              "0"),
      "a=[0:null 1:null 2:{x=0x5} 7:null]" },
    { "\"fields\": [{\"name\": \"a\", \"array_len\": 0, \"type\": \"uint8\", "
      "\"size\": 1}, {\"name\": \"b\", \"array_len\": 4000000000, \"type\": "
      "\"buffer\", \"size\": 0}]",
      PAYLOAD(""), "a=[] b=[]" },
    /* Structures: members before or behind, versioned, made for the stream. */
    { "\"fields\": [{\"name\": \"s\", \"type\": \"struct\", \"struct\": "
      "{\"vmsd_name\": \"n\", \"version\": 1, \"fields\": [" FIELD(
          "x", "uint8",
          "1") ", {\"size\": 1, \"struct\": {\"fields\": [" FIELD("z", "uint8",
                                                                  "1") "]}, \"type\": \"struct\", \"name\": \"y\"}]}, "
                                                                       "\"size\": 2}, " FIELD(
                                                                           "t",
                                                                           "uint8",
                                                                           "1") "]",
      PAYLOAD("\x01\x02\x03"), "s={x=0x1 y={z=0x2}} t=0x3" },
    { "\"fields\": [{\"name\": \"s\", \"array_len\": 2, \"type\": \"tmp\", "
      "\"vmsd_name\": \"t\", \"version\": 0, \"fields\": [" FIELD(
          "x", "uint8", "1") "], \"size\": 1}, {\"name\": \"v\", \"type\": "
                             "\"vstruct\", \"fields\": [" FIELD(
                                 "x", "uint8", "1") "], \"size\": 1}]",
      PAYLOAD("\x01\x02\x03"), "s=[0:{x=0x1} 1:{x=0x2}] v={x=0x3}" },
    /* Lists have marks between their elements, which only QEMU knows. */
    { "\"fields\": [{\"name\": \"q\", \"type\": \"qtailq\", \"fields\": [" FIELD(
          "x", "uint8", "1") "], \"size\": 3}]",
      PAYLOAD("\x01\x02\x00"), "q=<3 qtailq>010200" },
    /* Subsections, and those of a structure within its size. */
    { "\"fields\": [" FIELD(
          "a", "uint8",
          "1") "], \"subsections\": ["
               "{\"vmsd_name\": \"d/s\", \"version\": 2, \"fields\": [" FIELD(
                   "b", "uint8",
                   "1") "]}, {\"vmsd_name\": \"d/t\", \"version\": 1, "
                        "\"fields\": []}]",
      PAYLOAD("\x09\x05\x03"
              "d/s\0\0\0\x02\x08\x05\x03"
              "d/t\0\0\0\x01"),
      "a=0x9 d/s={b=0x8} d/t={}" },
    { "\"fields\": [{\"name\": \"s\", \"type\": \"struct\", \"struct\": "
      "{\"subsections\": [{\"vmsd_name\": \"u\", \"version\": 1, \"fields\": [" FIELD(
          "b", "uint8",
          "1") "]}], \"fields\": [" FIELD("x", "uint8",
                                          "1") "]}, \"size\": 9}, " FIELD("y",
                                                                          "uint8",
                                                                          "1") "]",
      PAYLOAD("\x01\x05\x01u\0\0\0\x01\x02\x03"), "s={x=0x1 u={b=0x2}} y=0x3" },
};

START_TEST(sound_description)
{
    const DecodeCase *one = &sound[_i];
    g_autofree char *text = describe(one->members);
    g_autoptr(GError) error = NULL;
    g_autofree char *told = decode(text, one->payload, one->bytes, &error);

    ck_assert_msg(told != NULL, "%s", error ? error->message : "");
    ck_assert_str_eq(told, one->told);
}
END_TEST

static const DecodeCase wrong[] = {
    { "\"fields\": [" FIELD("a", "uint32", "4") "]", PAYLOAD("abc"),
      "field 'a' does not fit (byte 0 of 3)" },
    { "\"fields\": [" FIELD("a", "uint32", "4") "]", PAYLOAD("abcde"),
      "ends before the payload (byte 4 of 5)" },
    { "\"fields\": []", PAYLOAD("a"), "ends before the payload" },
    { "\"fields\": [{\"name\": \"\x01\", \"type\": \"uint8\"}]", PAYLOAD("a"),
      "field '\\x01' does not fit" },
    { "\"fields\": [" FIELD("a", "uint32", "-4") "]", PAYLOAD("abcd"),
      "field 'a' does not fit" },
    { "\"fields\": [{\"name\": \"a\", \"array_len\": 4611686018427387904, "
      "\"type\": \"uint32\", \"size\": 4}]",
      PAYLOAD("abcd"), "field 'a' does not fit" },
    { "\"fields\": [{\"name\": \"s\", \"type\": \"struct\", \"struct\": "
      "{\"fields\": [" FIELD("x", "uint8", "1") "]}, \"size\": 2}]",
      PAYLOAD("ab"), "a structure of 2 bytes has another length" },
    { "\"fields\": [{\"name\": \"s\", \"type\": \"struct\", \"struct\": "
      "{\"fields\": [" FIELD("x", "uint16", "2") "]}, \"size\": 1}]",
      PAYLOAD("ab"), "a structure of 1 bytes has another length" },
    { "\"subsections\": [{\"vmsd_name\": \"s\", \"version\": 1}]",
      PAYLOAD("\x05\x01t\0\0\0\x01"), "subsection 's' is not there" },
    { "\"subsections\": [{\"vmsd_name\": \"s\", \"version\": 1}]",
      PAYLOAD("\x05\x01s\0\0\0\x02"), "subsection 's' is not there" },
    { "\"subsections\": [{\"vmsd_name\": \"s\", \"version\": 1}]",
      PAYLOAD("\x04\x01s\0\0\0\x01"), "subsection 's' is not there" },
    { "\"subsections\": [{\"vmsd_name\": \"s\", \"version\": 1}]",
      PAYLOAD("\x05\x01s\0\0\0"), "subsection 's' is not there" },
    { "\"fields\": {}", PAYLOAD(""), "is not understood" },
    { "\"fields\": [1]", PAYLOAD(""), "is not understood" },
    { "\"fields\": [{\"name\": 1}]", PAYLOAD(""), "is not understood" },
    { "\"fields\": [{\"size\": \"a\"}]", PAYLOAD(""), "is not understood" },
    { "\"subsections\": 7", PAYLOAD(""), "is not understood" },
    { "\"fields\": [{\"struct\": 7, \"size\": 0}]", PAYLOAD(""),
      "is not understood" },
};

START_TEST(wrong_description)
{
    const DecodeCase *one = &wrong[_i];
    g_autofree char *text = describe(one->members);
    g_autoptr(GError) error = NULL;

    ck_assert_ptr_null(decode(text, one->payload, one->bytes, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_STREAM));
    ck_assert_msg(strstr(error->message, one->told) != NULL, "%s",
                  error->message);
}
END_TEST

static const char *const no_descriptions[] = {
    "",
    "{}",
    "[]",
    "{\"devices\"",
    "{\"devices\": {}}",
    "{\"page_size\": 1}",
    "{\"page_size\" 1, \"devices\": []}",
    "{\"devices\": [{\"name\": \"dev\"}]}",
    "{\"devices\": [{\"name\": \"dev\", \"instance_id\": 1}",
    "{\"devices\": [{\"name\": \"dev\", \"instance_id\": 1} {}]",
};

START_TEST(no_description)
{
    g_autoptr(GError) error = NULL;

    ck_assert_ptr_null(decode(no_descriptions[_i], "", 0, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_STREAM));
}
END_TEST

START_TEST(device_that_is_not_described)
{
    g_autoptr(GError) error = NULL;

    ck_assert_ptr_null(decode("{\"devices\": [{\"name\": \"dev\", "
                              "\"instance_id\": 0}]}",
                              "", 0, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND));
}
END_TEST

/* Structures in structures, @depth of them, around one byte. */
static char *nested(unsigned depth)
{
    GString *text = g_string_new("\"fields\": [");

    for (unsigned i = 0; i < depth; i++) {
        g_string_append(text, "{\"name\": \"s\", \"type\": \"struct\", "
                              "\"size\": 1, \"struct\": {\"fields\": [");
    }
    g_string_append(text, FIELD("x", "uint8", "1"));
    for (unsigned i = 0; i < depth; i++) {
        g_string_append(text, "]}}");
    }
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

START_TEST(nesting)
{
    g_autofree char *deep = nested(63);
    g_autofree char *too_deep = nested(64);
    g_autofree char *deep_text = describe(deep);
    g_autofree char *too_deep_text = describe(too_deep);
    g_autoptr(GError) error = NULL;
    g_autofree char *told = decode(deep_text, "\x07", 1, NULL);

    ck_assert_ptr_nonnull(told);
    ck_assert_ptr_nonnull(strstr(told, "{x=0x7}"));
    ck_assert_ptr_null(decode(too_deep_text, "\x07", 1, &error));
    ck_assert_ptr_nonnull(strstr(error->message, "too deeply"));
}
END_TEST

/* Each byte of the payload would have all of the text walked over again. */
START_TEST(too_much_work)
{
    GString *members = g_string_new("\"fields\": [{\"name\": \"s\", "
                                    "\"type\": \"struct\", \"array_len\": "
                                    "10000, \"size\": 1, \"struct\": {"
                                    "\"fields\": [");
    g_autofree uint8_t *payload = g_malloc0(10000);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    for (int i = 0; i < 1000; i++) {
        g_string_append(members, FIELD("e", "buffer", "0") ", ");
    }
    g_string_append(members, FIELD("x", "uint8", "1") "]}}]");
    text = describe(members->str);
    g_string_free(members, TRUE);
    ck_assert_ptr_null(decode(text, (char *)payload, 10000, &error));
    ck_assert_ptr_nonnull(strstr(error->message, "too much work"));
}
END_TEST

/* Whatever is cut off or changed, nothing is read that is not there. */
START_TEST(any_text)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(_i);
    const DecodeCase *one = &sound[_i];
    g_autofree char *text = describe(one->members);
    size_t bytes = strlen(text);

    /* But for the last brace, which closes what is around the list. */
    for (size_t cut = 0; cut < bytes - 1; cut++) {
        g_autofree char *part = g_strndup(text, cut);

        ck_assert_ptr_null(decode(part, one->payload, one->bytes, NULL));
    }
    for (int i = 0; i < 1000; i++) {
        g_autofree char *changed = g_strdup(text);

        for (int changes = g_rand_int_range(random, 1, 4); changes > 0;
             changes--) {
            changed[g_rand_int_range(random, 0, bytes)] =
                g_rand_boolean(random)
                    ? g_rand_int_range(random, 1, 127)
                    : text[g_rand_int_range(random, 0, bytes)];
        }
        g_free(decode(changed, one->payload, one->bytes, NULL));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device-state");
    TCase *tcase = tcase_create("decode");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, sound_description, 0, G_N_ELEMENTS(sound));
    tcase_add_loop_test(tcase, wrong_description, 0, G_N_ELEMENTS(wrong));
    tcase_add_loop_test(tcase, no_description, 0,
                        G_N_ELEMENTS(no_descriptions));
    tcase_add_test(tcase, device_that_is_not_described);
    tcase_add_test(tcase, nesting);
    tcase_add_test(tcase, too_much_work);
    tcase_add_loop_test(tcase, any_text, 0, G_N_ELEMENTS(sound));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
