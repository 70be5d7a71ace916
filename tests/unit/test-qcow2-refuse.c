/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Images into which nothing is saved. Each refusal comes from the beginning of
 * a save, before any byte of VM state, and leaves the file as it was.
 */
#include <check.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define COPIED (1ULL << 63)

/* Saving into @image must fail at the beginning. */
static void assert_refused(const GByteArray *image, const char *name, int code,
                           const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = name, .seed = 9, .bytes = 10000 };
    g_autoptr(GByteArray) after = NULL;
    GError *error = NULL;

    ck_assert(!qcow2_fixture_save(file, &save, &error));
    qcow2_fixture_assert_error(&error, code, text);
    ck_assert_uint_eq(save.records_begun, 0);
    after = qcow2_fixture_content(file);
    ck_assert_uint_eq(after->len, image->len);
    ck_assert_mem_eq(after->data, image->data, image->len);
}

static const Qcow2FixtureOptions plain = {
    .cluster_bits = 9,
    .disk_size = 3 * 32768,
    .l2 = { "ddc", "dZ.", "d" },
};

static GByteArray *build_saved(void)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&plain);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "taken", .seed = 1, .bytes = 5000 };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

START_TEST(features)
{
    const struct {
        unsigned at;
        unsigned bytes;
        uint64_t value;
        int code;
        const char *text;
    } cases[] = {
        { 72, 8, 1, SNAP_ERROR_DAMAGED, "not closed properly" },
        { 72, 8, 2, SNAP_ERROR_DAMAGED, "marked corrupt" },
        { 72, 8, 3, SNAP_ERROR_DAMAGED, "marked corrupt" },
        { 72, 8, 4, SNAP_ERROR_UNSUPPORTED, "external data file" },
        { 32, 4, 1, SNAP_ERROR_UNSUPPORTED, "AES" },
        { 32, 4, 2, SNAP_ERROR_UNSUPPORTED, "LUKS" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&plain);

    qcow2_fixture_poke(image, cases[_i].at, cases[_i].bytes, cases[_i].value);
    assert_refused(image, "new", cases[_i].code, cases[_i].text);
}
END_TEST

START_TEST(one_bit_refcounts)
{
    Qcow2FixtureOptions options = plain;
    g_autoptr(GByteArray) image = NULL;

    options.refcount_bits = 1;
    options.l2[0] = "dd";
    image = qcow2_fixture_build(&options);
    assert_refused(image, "new", SNAP_ERROR_UNSUPPORTED, "1-bit refcounts");
}
END_TEST

START_TEST(names)
{
    g_autoptr(GByteArray) image = build_saved();
    g_autofree char *long_name = g_strnfill(256, 'x');

    assert_refused(image, "taken", SNAP_ERROR_EXISTS, "already exists");
    assert_refused(image, "1", SNAP_ERROR_INVALID, "is a number");
    assert_refused(image, "", SNAP_ERROR_INVALID, "is empty");
    assert_refused(image, long_name, SNAP_ERROR_INVALID, "255 bytes");
    assert_refused(image, "a\nb", SNAP_ERROR_INVALID, "control characters");
}
END_TEST

/* Loading takes one reference more: at 2 bits the second is the last. */
START_TEST(two_bit_refcounts_and_two_snapshots)
{
    Qcow2FixtureOptions options = plain;
    g_autoptr(GByteArray) image = NULL;
    g_autoptr(GByteArray) saved = NULL;
    g_autoptr(BlockFile) file = NULL;
    Qcow2FixtureSave save = { .name = "one", .seed = 1, .bytes = 5000 };

    options.refcount_bits = 2;
    options.l2[0] = "dd";
    image = qcow2_fixture_build(&options);
    file = qcow2_fixture_file(image);
    qcow2_fixture_must_save(file, &save);
    saved = qcow2_fixture_content(file);
    assert_refused(saved, "two", SNAP_ERROR_UNSUPPORTED,
                   "refcounts of 2 bits are too narrow");
}
END_TEST

/*
 * A cluster that holds several compressed ones gets as many references more
 * when the snapshot is loaded. QEMU has the last word on what can be loaded.
 */
START_TEST(refcounts_and_compressed_clusters)
{
    g_autofree char *kinds = g_strnfill(_i, 'c');
    Qcow2FixtureOptions options = {
        .cluster_bits = 12,
        .refcount_bits = 4,
        .disk_size = 1 << 20,
        .l2 = { kinds },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = 1, .bytes = 5000 };
    g_autoptr(GError) error = NULL;

    if (qcow2_fixture_save(file, &save, &error)) {
        g_autoptr(GByteArray) saved = qcow2_fixture_content(file);

        qcow2_fixture_assert_sound(saved);
        ck_assert_int_eq(qcow2_fixture_qemu_img_apply(saved, "s"), 0);
        ck_assert_int_le(_i, 7);
    } else {
        assert_refused(image, "s", SNAP_ERROR_UNSUPPORTED, "too narrow");
        ck_assert_int_ge(_i, 5);
    }
}
END_TEST

/* The file offset of what an L2 entry of the active disk points at. */
static uint64_t data_of(const GByteArray *image, uint64_t guest_cluster)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    return qcow2_fixture_peek(image,
                              qcow2_fixture_l2_entry_at(image, header.l1_offset,
                                                        guest_cluster),
                              8) &
           ~COPIED & ~511ULL;
}

/* Something in use whose refcount says that it is free. */
START_TEST(used_but_free)
{
    g_autoptr(GByteArray) image = build_saved();
    Qcow2FixtureHeader header;
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_header(image, &header);
    qcow2_fixture_entry(image, 0, &snapshot);
    const uint64_t offsets[] = {
        0,
        header.l1_offset,
        header.refcount_table_offset,
        qcow2_fixture_peek(image, header.refcount_table_offset, 8),
        header.snapshots_offset,
        snapshot.l1_offset,
        qcow2_fixture_peek(image, header.l1_offset, 8) & ~COPIED,
        qcow2_fixture_peek(image, header.l1_offset + 16, 8) & ~COPIED,
        data_of(image, 0),
        data_of(image, 65),  /* zero, but a cluster is held */
        data_of(image, 128), /* behind another L2 table */
    };

    ck_assert_int_lt(_i, G_N_ELEMENTS(offsets));
    qcow2_fixture_set_refcount(image, offsets[_i] / 512, 0);
    assert_refused(image, "new", SNAP_ERROR_DAMAGED, "refcount is 0");
}
END_TEST

/*
 * The same with clusters so large that a single one is a free run: whatever is
 * written before the whole disk has been looked at may hit it.
 */
START_TEST(used_but_free_in_large_clusters)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 16,
        .disk_size = 4ULL << 29,
        .l2 = { "d", "d", "d", "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Qcow2FixtureHeader header;
    uint64_t table;

    qcow2_fixture_header(image, &header);
    table = qcow2_fixture_peek(image, header.l1_offset + _i / 2 * 8, 8) &
            ~COPIED;
    if (_i % 2) {
        table = qcow2_fixture_peek(image, table, 8) & ~COPIED;
    }
    qcow2_fixture_set_refcount(image, table >> 16, 0);
    assert_refused(image, "new", SNAP_ERROR_DAMAGED, "refcount is 0");
}
END_TEST

START_TEST(impossible_l1_and_l2_entries)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&plain);
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    const uint64_t l1 = header.l1_offset + 8;
    const uint64_t l2 = qcow2_fixture_l2_entry_at(image, header.l1_offset, 64);
    const struct {
        uint64_t at;
        uint64_t value;
        const char *text;
    } cases[] = {
        { l1, 1, "impossible L1 entry 1" },
        { l1, 1ULL << 62, "impossible L1 entry 1" },
        { l1, 512 * 3 + 256, "impossible L1 entry 1" },
        { l1, 1ULL << 40, "impossible L1 entry 1" },
        { l1, (image->len + 511) & ~511ULL, "impossible L1 entry 1" },
        { l2, 2, "guest offset 0x8000" },
        { l2, 1ULL << 56 | 512 * 3, "guest offset 0x8000" },
        { l2, 1ULL << 40, "guest offset 0x8000" },
        { l2, 1ULL << 40 | 1, "guest offset 0x8000" },
        { l2, 3ULL << 62 | 512 * 3, "guest offset 0x8000" },
        { l2, 1ULL << 62 | 1ULL << 57, "guest offset 0x8000" },
        { l2, 1ULL << 62 | 1ULL << 40, "guest offset 0x8000" },
        { l2, 1ULL << 62 | 100, "guest offset 0x8000" },
    };

    ck_assert_int_lt(_i, G_N_ELEMENTS(cases));
    qcow2_fixture_poke(image, cases[_i].at, 8, cases[_i].value);
    assert_refused(image, "new", SNAP_ERROR_DAMAGED, cases[_i].text);
}
END_TEST

/* Version 2 has no zero flag. */
START_TEST(zero_flag_in_version_2)
{
    static const Qcow2FixtureOptions options = {
        .version = 2,
        .cluster_bits = 9,
        .disk_size = 32768,
        .l2 = { "d.z" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);

    assert_refused(image, "new", SNAP_ERROR_DAMAGED, "impossible L2 entry");
}
END_TEST

/* An L1 table of another snapshot that cannot be. */
START_TEST(impossible_snapshot_l1)
{
    static const struct {
        unsigned field; /* of the entry */
        unsigned bytes;
        uint64_t value;
    } cases[] = {
        { 0, 8, 1ULL << 50 },
        { 0, 8, 0 }, /* in the header, which a change writes */
        { 0, 8, 513 },
        { 8, 4, UINT32_MAX },
    };
    g_autoptr(GByteArray) image = build_saved();
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    qcow2_fixture_poke(image, snapshot.at + cases[_i].field, cases[_i].bytes,
                       cases[_i].value);
    assert_refused(image, "new", SNAP_ERROR_DAMAGED, "'taken'");
}
END_TEST

/* Without entries a table is nowhere, whatever its offset says. */
START_TEST(empty_tables_may_be_anywhere)
{
    g_autoptr(GByteArray) image = build_saved();
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };
    Qcow2FixtureSave save = { .name = "new", .seed = 1, .bytes = 5000 };

    if (_i == 0) {
        qcow2_fixture_entry(image, 0, &snapshot);
        qcow2_fixture_poke(image, snapshot.at, 8, 1ULL << 40);
        qcow2_fixture_poke(image, snapshot.at + 8, 4, 0);
    } else {
        qcow2_fixture_poke(image, 60, 4, 0);
        qcow2_fixture_poke(image, 64, 8, 1ULL << 40);
    }
    file = qcow2_fixture_file(image);
    qcow2_fixture_must_save(file, &save);
}
END_TEST

static Suite *refuse_suite(void)
{
    Suite *suite = suite_create("qcow2-refuse");
    TCase *tcase = tcase_create("qcow2-refuse");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, features, 0, 6);
    tcase_add_test(tcase, one_bit_refcounts);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, two_bit_refcounts_and_two_snapshots);
    tcase_add_loop_test(tcase, refcounts_and_compressed_clusters, 1, 9);
    tcase_add_loop_test(tcase, used_but_free, 0, 11);
    tcase_add_loop_test(tcase, used_but_free_in_large_clusters, 0, 8);
    tcase_add_loop_test(tcase, impossible_l1_and_l2_entries, 0, 13);
    tcase_add_test(tcase, zero_flag_in_version_2);
    tcase_add_loop_test(tcase, impossible_snapshot_l1, 0, 4);
    tcase_add_loop_test(tcase, empty_tables_may_be_anywhere, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(refuse_suite());
}
