/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the bits of L1 and L2 entries mean, at every cluster size, and which
 * combinations cannot be.
 */
#include <check.h>
#include <endian.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/internal.h"

#define COPIED     (1ULL << 63)
#define COMPRESSED (1ULL << 62)

/* As much of an image as decoding looks at. */
static Qcow2Image image_of(unsigned version, unsigned cluster_bits,
                           uint64_t file_size)
{
    return (Qcow2Image){
        .header = { .version = version, .cluster_bits = cluster_bits },
        .file_size = file_size,
    };
}

static void must_decode(const Qcow2Image *image, uint64_t entry,
                        uint64_t subclusters, Qcow2Cluster *cluster)
{
    Qcow2L2Entry decoded = { entry, subclusters };
    GError *error = NULL;

    ck_assert_msg(qcow2_l2_entry_decode(image, decoded, 5, cluster, &error),
                  "%s", error ? error->message : "");
}

/* Without extended L2 the subclusters follow from the type. */
static void assert_cluster(const Qcow2Image *image, uint64_t entry,
                           Qcow2ClusterType type, uint64_t offset,
                           uint64_t bytes)
{
    bool zeros = type == QCOW2_CLUSTER_ZERO_PLAIN ||
                 type == QCOW2_CLUSTER_ZERO_ALLOCATED;
    Qcow2Cluster cluster = { 0 };

    must_decode(image, entry, 0, &cluster);
    ck_assert_int_eq(cluster.type, type);
    ck_assert_uint_eq(cluster.offset, offset);
    ck_assert_uint_eq(cluster.bytes, bytes);
    ck_assert_uint_eq(cluster.data,
                      type == QCOW2_CLUSTER_NORMAL ? 0xffffffff : 0);
    ck_assert_uint_eq(cluster.zeros, zeros ? 0xffffffff : 0);
}

static void assert_impossible(const Qcow2Image *image, uint64_t entry)
{
    Qcow2L2Entry decoded = { .entry = entry };
    Qcow2Cluster cluster;
    GError *error = NULL;
    g_autofree char *place =
        g_strdup_printf("0x%016" PRIx64 " for guest offset 0x%" PRIx64, entry,
                        5 * qcow2_cluster_size(&image->header));

    ck_assert_msg(!qcow2_l2_entry_decode(image, decoded, 5, &cluster, &error),
                  "0x%016" PRIx64, entry);
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, place);
}

START_TEST(standard_entries)
{
    uint64_t size = 1ULL << _i;
    Qcow2Image image = image_of(3, _i, 100 * size);
    uint64_t last = 99 * size;

    assert_cluster(&image, 0, QCOW2_CLUSTER_UNALLOCATED, 0, 0);
    assert_cluster(&image, COPIED, QCOW2_CLUSTER_UNALLOCATED, 0, 0);
    assert_cluster(&image, 1, QCOW2_CLUSTER_ZERO_PLAIN, 0, 0);
    assert_cluster(&image, size, QCOW2_CLUSTER_NORMAL, size, 0);
    assert_cluster(&image, last | COPIED, QCOW2_CLUSTER_NORMAL, last, 0);
    assert_cluster(&image, last | 1, QCOW2_CLUSTER_ZERO_ALLOCATED, last, 0);
    assert_cluster(&image, size | COPIED | 1, QCOW2_CLUSTER_ZERO_ALLOCATED,
                   size, 0);
    assert_impossible(&image, last + size);
    assert_impossible(&image, (last + size) | 1);
    assert_impossible(&image, 1ULL << 55);
    if (_i > 9) {
        assert_impossible(&image, size + size / 2);
        assert_impossible(&image, size / 2 + 1);
    }
    /* The last cluster of a file may be partly missing. */
    image.file_size++;
    assert_cluster(&image, last + size, QCOW2_CLUSTER_NORMAL, last + size, 0);
}
END_TEST

static void assert_subclusters(const Qcow2Image *image, uint64_t entry,
                               uint64_t subclusters, Qcow2ClusterType type)
{
    Qcow2Cluster cluster = { 0 };

    must_decode(image, entry, subclusters, &cluster);
    ck_assert_int_eq(cluster.type, type);
    ck_assert_uint_eq(cluster.offset, entry & ~COPIED);
    ck_assert_uint_eq(cluster.data, subclusters & 0xffffffff);
    ck_assert_uint_eq(cluster.zeros, subclusters >> 32);
}

static void assert_impossible_subclusters(const Qcow2Image *image,
                                          uint64_t entry, uint64_t subclusters)
{
    Qcow2L2Entry decoded = { entry, subclusters };
    Qcow2Cluster cluster;
    GError *error = NULL;
    g_autofree char *place = g_strdup_printf(
        "0x%016" PRIx64 " with subclusters 0x%016" PRIx64, entry, subclusters);

    ck_assert_msg(!qcow2_l2_entry_decode(image, decoded, 5, &cluster, &error),
                  "%s", place);
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, place);
}

static Qcow2Image extended_image_of(unsigned cluster_bits, uint64_t file_size)
{
    Qcow2Image image = image_of(3, cluster_bits, file_size);

    image.header.incompatible_features = QCOW2_INCOMPATIBLE_EXTENDED_L2;
    return image;
}

START_TEST(extended_entries)
{
    uint64_t size = 1ULL << _i;
    Qcow2Image image = extended_image_of(_i, 100 * size);
    uint64_t all_zeros = 0xffffffff00000000;
    unsigned i;

    assert_subclusters(&image, 0, 0, QCOW2_CLUSTER_UNALLOCATED);
    assert_subclusters(&image, 0, 1ULL << 32, QCOW2_CLUSTER_UNALLOCATED);
    assert_subclusters(&image, 0, all_zeros, QCOW2_CLUSTER_ZERO_PLAIN);
    assert_subclusters(&image, size, 0, QCOW2_CLUSTER_NORMAL);
    assert_subclusters(&image, size | COPIED, 0xffffffff, QCOW2_CLUSTER_NORMAL);
    assert_subclusters(&image, size, 0x1000000006, QCOW2_CLUSTER_NORMAL);
    assert_subclusters(&image, size, ~0xffff0000ULL << 32 | 0xffff0000,
                       QCOW2_CLUSTER_NORMAL);
    assert_subclusters(&image, size, all_zeros, QCOW2_CLUSTER_ZERO_ALLOCATED);
    for (i = 0; i < 32; i++) {
        assert_impossible_subclusters(&image, 0, 1ULL << i);
        assert_impossible_subclusters(&image, size, 0x100000001ULL << i);
        assert_impossible_subclusters(&image, size | 1, 1ULL << i);
    }
    assert_impossible_subclusters(&image, 1, all_zeros);
    assert_impossible_subclusters(&image, 100 * size, 0xffffffff);
    assert_impossible_subclusters(&image, COMPRESSED | size, 1);
    assert_impossible_subclusters(&image, COMPRESSED | size, 1ULL << 63);
}
END_TEST

START_TEST(reserved_bits)
{
    Qcow2Image image = image_of(3, 9, 1ULL << 56);
    unsigned bit;

    for (bit = 1; bit < 62; bit++) {
        uint64_t entry = 512ULL << 10 | 1ULL << bit;

        if (bit < 9 || bit > 55) {
            assert_impossible(&image, entry);
        } else {
            assert_cluster(&image, entry, QCOW2_CLUSTER_NORMAL, entry, 0);
        }
    }
}
END_TEST

START_TEST(zero_flag_in_version_2)
{
    Qcow2Image image = image_of(2, 9, 1ULL << 20);

    assert_cluster(&image, 512 | COPIED, QCOW2_CLUSTER_NORMAL, 512, 0);
    assert_impossible(&image, 1);
    assert_impossible(&image, 513);
}
END_TEST

/*
 * The larger the cluster, the more bits the number of sectors takes. What must
 * be read goes from the offset to the end of the last sector.
 */
START_TEST(compressed_entries)
{
    uint64_t size = 1ULL << _i;
    unsigned split = 62 - (_i - 8);
    uint64_t most = (1ULL << (_i - 8)) - 1;
    Qcow2Image image = image_of(2 + _i % 2, _i, 1ULL << 40);

    assert_cluster(&image, COMPRESSED | size, QCOW2_CLUSTER_COMPRESSED, size,
                   512);
    assert_cluster(&image, COMPRESSED | (size + 511), QCOW2_CLUSTER_COMPRESSED,
                   size + 511, 1);
    assert_cluster(&image, COMPRESSED | most << split | (size + 512 + 100),
                   QCOW2_CLUSTER_COMPRESSED, size + 612,
                   most * 512 + 512 - 100);
    assert_cluster(&image, COMPRESSED | ((1ULL << 40) - 1),
                   QCOW2_CLUSTER_COMPRESSED, (1ULL << 40) - 1, 1);
    assert_impossible(&image, COMPRESSED | 1ULL << 40);
    assert_impossible(&image, COMPRESSED | (size - 1));
    assert_impossible(&image, COMPRESSED);
    assert_impossible(&image, COMPRESSED | COPIED | size);
}
END_TEST

/* Offsets from 2^56 on cannot be, whatever the file is like. */
START_TEST(compressed_offset_limit)
{
    Qcow2Image image = image_of(3, 9, 1ULL << 60);

    assert_cluster(&image, COMPRESSED | ((1ULL << 56) - 1),
                   QCOW2_CLUSTER_COMPRESSED, (1ULL << 56) - 1, 1);
    assert_impossible(&image, COMPRESSED | 1ULL << 56);
}
END_TEST

static void check_l1_entry(const Qcow2Image *image, uint64_t entry,
                           uint64_t expected, bool valid)
{
    uint64_t offset = 77;
    GError *error = NULL;

    ck_assert_int_eq(qcow2_l1_entry_decode(image, entry, 123, &offset, &error),
                     valid);
    if (valid) {
        ck_assert_uint_eq(offset, expected);
    } else {
        ck_assert_uint_eq(offset, 77);
        qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED,
                                   "impossible L1 entry 123");
    }
}

START_TEST(l1_entries)
{
    uint64_t size = 1ULL << _i;
    Qcow2Image image = image_of(3, _i, 100 * size);
    unsigned bit;

    check_l1_entry(&image, 0, 0, true);
    check_l1_entry(&image, COPIED, 0, true);
    check_l1_entry(&image, size, size, true);
    check_l1_entry(&image, COPIED | (99 * size), 99 * size, true);
    check_l1_entry(&image, 100 * size, 0, false);
    check_l1_entry(&image, 1ULL << 55, 0, false);
    for (bit = 0; bit < 63; bit++) {
        if (bit < (unsigned)_i || bit > 55) {
            check_l1_entry(&image, size | 1ULL << bit, 0, false);
        }
    }
}
END_TEST

/*
 * A table is cut into runs the way a reader would who knows each entry: those
 * before a run's end continue it, the one behind does not.
 */
static void assert_runs(const Qcow2Image *image, const uint64_t *entries,
                        const unsigned *lengths)
{
    uint64_t count = qcow2_l2_entries(&image->header);
    g_autofree uint64_t *table = g_new0(uint64_t, count);
    Qcow2L2Run run;
    GError *error = NULL;
    uint64_t i;

    for (i = 0; i < count; i++) {
        table[i] = htobe64(entries[i]);
    }
    for (i = 0; i < count; i += run.entries) {
        Qcow2Cluster first;

        ck_assert(qcow2_l2_run_decode(image, table, i, 3, &run, &error));
        must_decode(image, entries[i], 0, &first);
        ck_assert_uint_eq(run.entries, *lengths++);
        ck_assert_int_eq(run.cluster.type, first.type);
        ck_assert_uint_eq(run.cluster.offset, first.offset);
        ck_assert_int_eq(run.copied, entries[i] >> 63);
    }
    ck_assert_uint_eq(*lengths, 0);
}

START_TEST(l2_runs)
{
    Qcow2Image image = image_of(3, 9, 100 * 512);
    /* Neighbours, a gap, without the flag, zeros, compressed, held zeros. */
    uint64_t entries[64] = {
        512 | COPIED,
        1024 | COPIED,
        1536 | COPIED,
        2560 | COPIED,
        3072,
        3584,
        0,
        0,
        1,
        1,
        COMPRESSED | 4096,
        COMPRESSED | 4096,
        5120 | 1,
        5632 | 1,
        6144,
        98 * 512,
        99 * 512,
    };
    const unsigned lengths[] = { 3, 1, 2, 2, 2, 1, 1, 2, 1, 2, 47, 0 };

    assert_runs(&image, entries, lengths);
}
END_TEST

/* What has a cluster and what has none, whatever their subclusters are. */
START_TEST(extended_runs)
{
    Qcow2Image image = extended_image_of(14, 100 << 14);
    const uint64_t entries[][2] = {
        { 1 << 14, 0xffffffff }, { 2 << 14, 3 },          { 3 << 14, 0 },
        { 5 << 14, 1 },          { 0, 1ULL << 32 },       { 0, 0 },
        { 7 << 14, 1ULL << 40 }, { 8 << 14, 1ULL << 40 }, { 9 << 14, 1 },
    };
    const unsigned lengths[] = { 3, 1, 2, 3, 1024 - 9 };
    g_autofree uint64_t *table = g_new0(uint64_t, 2048);
    Qcow2L2Run run;
    GError *error = NULL;
    unsigned index = 0;
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(entries); i++) {
        table[2 * i] = htobe64(entries[i][0]);
        table[2 * i + 1] = htobe64(entries[i][1]);
    }
    for (i = 0; i < G_N_ELEMENTS(lengths); i++, index += run.entries) {
        ck_assert(qcow2_l2_run_decode(&image, table, index, 3, &run, &error));
        ck_assert_uint_eq(run.entries, lengths[i]);
        ck_assert_uint_eq(run.cluster.offset, i == 4 ? 0 : entries[index][0]);
    }
    ck_assert_uint_eq(index, 1024);
    /* In the middle of a run: it ends there, and the next one is refused. */
    table[3] = htobe64(0x100000001);
    ck_assert(qcow2_l2_run_decode(&image, table, 0, 3, &run, &error));
    ck_assert_uint_eq(run.entries, 1);
    ck_assert(!qcow2_l2_run_decode(&image, table, 1, 3, &run, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED,
                               "0x0000000100000001 for guest offset 0x3004000");
}
END_TEST

/* The first entry that is impossible is the one that is named. */
START_TEST(l2_run_ends_with_the_file)
{
    Qcow2Image image = image_of(3, 9, 50 * 512);
    uint64_t table[64];
    Qcow2L2Run run;
    GError *error = NULL;
    unsigned i;

    for (i = 0; i < 64; i++) {
        table[i] = htobe64((i + 1) * 512);
    }
    ck_assert(qcow2_l2_run_decode(&image, table, 0, 0, &run, &error));
    ck_assert_uint_eq(run.entries, 49);
    ck_assert(!qcow2_l2_run_decode(&image, table, 49, 2, &run, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED,
                               "0x0000000000006400 for guest offset 0x16200");
    /* No offset has bits above 55, however long the file is. */
    image.file_size = UINT64_MAX / 2;
    table[62] = htobe64((1ULL << 56) - 512);
    table[63] = htobe64(1ULL << 56);
    ck_assert(qcow2_l2_run_decode(&image, table, 62, 0, &run, &error));
    ck_assert_uint_eq(run.entries, 1);
    ck_assert(!qcow2_l2_run_decode(&image, table, 63, 0, &run, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, "impossible");
}
END_TEST

static Suite *entries_suite(void)
{
    Suite *suite = suite_create("qcow2-entries");
    TCase *tcase = tcase_create("qcow2-entries");

    tcase_add_loop_test(tcase, standard_entries, 9, 22);
    tcase_add_loop_test(tcase, extended_entries, 14, 22);
    tcase_add_test(tcase, reserved_bits);
    tcase_add_test(tcase, zero_flag_in_version_2);
    tcase_add_loop_test(tcase, compressed_entries, 9, 22);
    tcase_add_test(tcase, compressed_offset_limit);
    tcase_add_loop_test(tcase, l1_entries, 9, 22);
    tcase_add_test(tcase, l2_runs);
    tcase_add_test(tcase, extended_runs);
    tcase_add_test(tcase, l2_run_ends_with_the_file);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(entries_suite());
}
