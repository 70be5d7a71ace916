/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * VM state in images with extended L2 entries: each cluster may be data in
 * part, zeros in part, and have holes, which no VM state has.
 */
#include <check.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define SEED       3
#define CLUSTER    16384
#define SUBCLUSTER (CLUSTER / 32)
#define VM_BYTES   (3 * CLUSTER + 700)

static GByteArray *build(uint64_t vm_bytes)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 14,
        .extended_l2 = true,
        .disk_size = (16 << 20) + 512,
        .l2 = { "pd", "q" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = vm_bytes };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

/* Say of cluster @index of the VM state what its subclusters are. */
static void set_subclusters(GByteArray *image, uint64_t index, uint32_t zeros,
                            uint32_t data)
{
    uint64_t at = qcow2_fixture_vmstate_entry_at(image, 0, index * CLUSTER);

    qcow2_fixture_poke(image, at + 8, 4, zeros);
    qcow2_fixture_poke(image, at + 12, 4, data);
}

static void assert_loads(const GByteArray *image, const uint8_t *expected,
                         uint64_t position, size_t bytes)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autofree uint8_t *buffer = g_malloc(bytes + 1);
    g_autoptr(GError) error = NULL;

    memset(buffer, 0x77, bytes + 1);
    ck_assert_msg(
        qcow2_fixture_load(file, "s", position, buffer, bytes, &error), "%s",
        error ? error->message : "");
    ck_assert_mem_eq(buffer, expected + position, bytes);
    ck_assert_int_eq(buffer[bytes], 0x77);
}

static void assert_damaged(const GByteArray *image, const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    uint8_t buffer[VM_BYTES];
    GError *error = NULL;

    ck_assert(!qcow2_fixture_load(file, "s", 0, buffer, VM_BYTES, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, text);
}

/* Tables and windows of them: one of these maps 16 MiB, one of those 64. */
START_TEST(more_than_a_window)
{
    uint64_t vm_bytes = (65 << 20) + 12345;
    g_autoptr(GByteArray) image = build(vm_bytes);
    g_autofree uint8_t *expected = g_malloc(vm_bytes);

    qcow2_fixture_assert_sound(image);
    qcow2_fixture_fill(SEED, 0, expected, vm_bytes);
    assert_loads(image, expected, 0, vm_bytes);
    assert_loads(image, expected, (48 << 20) - 3, 7);
    assert_loads(image, expected, (64 << 20) - 3, 7);
}
END_TEST

/* Every subcluster at random, and reads that begin and end anywhere. */
START_TEST(zeros_in_part)
{
    g_autoptr(GByteArray) image = build(VM_BYTES);
    GRand *rand = g_rand_new_with_seed(_i);
    uint8_t expected[4 * CLUSTER];
    unsigned i;
    unsigned j;

    qcow2_fixture_fill(SEED, 0, expected, sizeof(expected));
    for (i = 0; i < 4; i++) {
        uint32_t zeros = g_rand_int(rand) & g_rand_int(rand);

        set_subclusters(image, i, zeros, ~zeros);
        for (j = 0; j < 32; j++) {
            if (zeros >> j & 1) {
                memset(expected + i * CLUSTER + j * SUBCLUSTER, 0, SUBCLUSTER);
            }
        }
    }
    for (i = 0; i < 200; i++) {
        uint64_t position = g_rand_int_range(rand, 0, VM_BYTES);

        assert_loads(image, expected, position,
                     g_rand_int_range(rand, 0, VM_BYTES - position + 1));
    }
    g_rand_free(rand);
}
END_TEST

/* No data to be read, with a cluster and without. */
START_TEST(zeros_throughout)
{
    g_autoptr(GByteArray) image = build(VM_BYTES);
    uint8_t expected[VM_BYTES] = { 0 };
    unsigned i;

    for (i = 0; i < 4; i++) {
        set_subclusters(image, i, UINT32_MAX, 0);
    }
    assert_loads(image, expected, 0, VM_BYTES);
    for (i = 0; i < 4; i++) {
        qcow2_fixture_poke(
            image, qcow2_fixture_vmstate_entry_at(image, 0, i * CLUSTER), 8, 0);
    }
    assert_loads(image, expected, 0, VM_BYTES);
}
END_TEST

START_TEST(holes)
{
    g_autoptr(GByteArray) image = build(VM_BYTES);
    g_autofree char *place = g_strdup_printf(
        "hole at position %d of %d", CLUSTER + 31 * SUBCLUSTER, VM_BYTES);

    set_subclusters(image, 1, 0x7f, 0x7fffff80);
    assert_damaged(image, place);
    set_subclusters(image, 1, 0, 0);
    g_free(place);
    place = g_strdup_printf("hole at position %d of %d", CLUSTER, VM_BYTES);
    assert_damaged(image, place);
}
END_TEST

/* QEMU allocates no more than it has written. */
START_TEST(hole_behind_the_end)
{
    g_autoptr(GByteArray) image = build(VM_BYTES);
    uint8_t expected[VM_BYTES];

    qcow2_fixture_fill(SEED, 0, expected, VM_BYTES);
    set_subclusters(image, 3, 0, 3);
    assert_loads(image, expected, 0, VM_BYTES);
    set_subclusters(image, 3, 0, 1);
    assert_damaged(image, "hole at position 49664");
}
END_TEST

START_TEST(impossible)
{
    static const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
    } cases[] = {
        { 8, 8, 0x00000001ffffffff }, /* zeros and data */
        { 0, 8, 0 },                  /* data without a place */
        { 7, 1, 1 },                  /* the zero flag */
        { 0, 1, 0x40 },               /* compressed, with subclusters */
    };
    g_autoptr(GByteArray) image = build(VM_BYTES);

    qcow2_fixture_poke(
        image, qcow2_fixture_vmstate_entry_at(image, 0, CLUSTER) + cases[_i].at,
        cases[_i].bytes, cases[_i].value);
    assert_damaged(image, "VM state position 16384: impossible L2 entry");
}
END_TEST

static Suite *subclusters_suite(void)
{
    Suite *suite = suite_create("qcow2-subclusters");
    TCase *tcase = tcase_create("qcow2-subclusters");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, more_than_a_window);
    tcase_add_loop_test(tcase, zeros_in_part, 0, 4);
    tcase_add_test(tcase, zeros_throughout);
    tcase_add_test(tcase, holes);
    tcase_add_test(tcase, hole_behind_the_end);
    tcase_add_loop_test(tcase, impossible, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(subclusters_suite());
}
