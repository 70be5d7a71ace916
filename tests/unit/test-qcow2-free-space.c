/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Finding out from the refcounts what is free, in tables that may say
 * anything.
 */
#include <check.h>

#include "event-loop.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/free-space.h"

/* An image opened for a test, and its refcounts. */
typedef struct Fixture {
    BlockFile *file;
    Qcow2Image *image;
    Qcow2Refcounts *refcounts;
    GError *error; /* why there is none */
} Fixture;

static void coroutine_fn open_entry(void *opaque)
{
    Fixture *fixture = opaque;

    fixture->image = qcow2_open(fixture->file, &fixture->error);
    if (fixture->image) {
        fixture->refcounts =
            qcow2_refcounts_load(fixture->image, &fixture->error);
    }
}

static void fixture_open(Fixture *fixture, const GByteArray *image)
{
    *fixture = (Fixture){ .file = qcow2_fixture_file(image) };
    event_loop_run(open_entry, fixture);
}

static void fixture_close(Fixture *fixture)
{
    qcow2_refcounts_free(fixture->refcounts);
    qcow2_close(fixture->image);
    block_file_close(fixture->file);
}

static GByteArray *build(unsigned refcount_bits)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .refcount_bits = refcount_bits,
        .disk_size = 32768,
        .l2 = { "d" },
    };

    return qcow2_fixture_build(&options);
}

START_TEST(impossible_table_entries)
{
    g_autoptr(GByteArray) image = build(16);
    const uint64_t entries[] = {
        512 + 1,    /* reserved bit */
        768,        /* not a cluster */
        1ULL << 30, /* behind the end of the file */
        image->len, /* just behind it */
        UINT64_MAX - 511,
    };
    Qcow2FixtureHeader header;
    unsigned i;

    qcow2_fixture_header(image, &header);
    for (i = 0; i < G_N_ELEMENTS(entries); i++) {
        g_autoptr(GByteArray) damaged = qcow2_fixture_copy(image);
        Fixture fixture;

        qcow2_fixture_poke(damaged, header.refcount_table_offset + 8 * 5, 8,
                           entries[i]);
        fixture_open(&fixture, damaged);
        ck_assert_ptr_null(fixture.refcounts);
        qcow2_fixture_assert_error(&fixture.error, SNAP_ERROR_DAMAGED,
                                   "impossible refcount table entry 5");
        fixture_close(&fixture);
    }
}
END_TEST

typedef struct FindFree {
    Qcow2Refcounts *refcounts;
    GArray *runs;
    uint64_t end;
    bool found;
    GError *error;
} FindFree;

static void coroutine_fn find_free_entry(void *opaque)
{
    FindFree *find = opaque;

    find->found = qcow2_refcounts_find_free(find->refcounts, &find->runs,
                                            &find->end, &find->error);
}

static FindFree run_find_free(Fixture *fixture)
{
    FindFree find = { fixture->refcounts };

    event_loop_run(find_free_entry, &find);
    return find;
}

/* Every run that is found is free, and every long one that is free is found. */
static void assert_free_runs(const GByteArray *image, const FindFree *find)
{
    uint64_t end = qcow2_fixture_first_fresh(image);
    uint64_t length = 0;
    guint next = 0;
    uint64_t i;

    ck_assert(find->found);
    ck_assert_uint_eq(find->end, end);
    for (i = 0; i < end; i++) {
        if (qcow2_fixture_refcount(image, i) == 0) {
            length++;
            continue;
        }
        if (length >= 128) {
            Qcow2ClusterRun run =
                g_array_index(find->runs, Qcow2ClusterRun, next++);

            ck_assert_uint_eq(run.first, i - length);
            ck_assert_uint_eq(run.count, length);
        }
        length = 0;
    }
    ck_assert_uint_eq(find->runs->len, next);
}

/* Runs of 64 KiB and more, within refcount blocks and across them. */
START_TEST(free_runs_are_found)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .refcount_bits = 8 << _i,
        .disk_size = 65536,
        .free_clusters = 1000,
        .l2 = { "d", "dd" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    uint64_t end = qcow2_fixture_first_fresh(image);
    GRand *rand = g_rand_new_with_seed(_i);
    unsigned step;

    for (step = 0; step < 20; step++) {
        Fixture fixture;
        FindFree find;

        fixture_open(&fixture, image);
        find = run_find_free(&fixture);
        assert_free_runs(image, &find);
        g_array_unref(find.runs);
        fixture_close(&fixture);
        qcow2_fixture_set_refcount(image, g_rand_int_range(rand, 0, end), 1);
    }
    g_rand_free(rand);
}
END_TEST

START_TEST(shortest_run_that_is_taken)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 32768,
        .free_clusters = 127 + _i,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Fixture fixture;
    FindFree find;

    fixture_open(&fixture, image);
    find = run_find_free(&fixture);
    ck_assert_uint_eq(find.runs->len, _i);
    g_array_unref(find.runs);
    fixture_close(&fixture);
}
END_TEST

/* What a change leaves: the new end, and what has become free before it. */
typedef struct AfterDrop {
    Qcow2Refcounts *refcounts;
    uint64_t limit;
    uint64_t end;
    GArray *freed;
} AfterDrop;

static void coroutine_fn drop_entry(void *opaque)
{
    AfterDrop *after = opaque;
    const Qcow2ClusterRun drops[] = { { 300, 700 },
                                      { 1200, 100 },
                                      { 1950, 40 } };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(drops); i++) {
        ck_assert(qcow2_refcounts_change(after->refcounts, drops[i].first,
                                         drops[i].count, QCOW2_REFCOUNT_DROP,
                                         NULL));
    }
    ck_assert(qcow2_refcounts_find_end(after->refcounts, after->limit,
                                       &after->end, NULL));
    after->freed =
        qcow2_refcounts_find_freed(after->refcounts, after->end, NULL);
}

START_TEST(freed_by_a_change)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .refcount_bits = 8 << _i,
        .disk_size = 32768,
        .free_clusters = 1990,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Fixture fixture;
    AfterDrop after = { 0 };
    Qcow2ClusterRun run;
    unsigned i;

    for (i = 0; i < image->len / 512; i++) {
        bool free_before = i >= 1500 && i < 1700;

        qcow2_fixture_set_refcount(image, i, i < 1990 && !free_before);
    }
    fixture_open(&fixture, image);
    after.refcounts = fixture.refcounts;
    after.limit = image->len / 512;
    event_loop_run(drop_entry, &after);
    ck_assert_uint_eq(after.end, 1950);
    /* The long run; not the short one, nor what was free before. */
    run = g_array_index(after.freed, Qcow2ClusterRun, 0);
    ck_assert_uint_eq(run.first, 300);
    ck_assert_uint_eq(run.count, 700);
    ck_assert_uint_eq(after.freed->len, 1);
    g_array_unref(after.freed);
    fixture_close(&fixture);
}
END_TEST

START_TEST(no_refcount_at_all)
{
    g_autoptr(GByteArray) image = build(16);
    Fixture fixture;
    FindFree find;
    unsigned i;

    for (i = 0; i < 256; i++) {
        qcow2_fixture_set_refcount(image, i, 0);
    }
    fixture_open(&fixture, image);
    find = run_find_free(&fixture);
    ck_assert(find.found);
    ck_assert_uint_eq(find.runs->len, 0);
    ck_assert_uint_eq(find.end, 0);
    g_array_unref(find.runs);
    fixture_close(&fixture);
}
END_TEST

/*
 * Blocks that were looked at stay in memory, so that a change does not read
 * them again, but not more of them than are allowed to.
 */
START_TEST(scanned_blocks_are_kept_within_a_limit)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 65536,
        .refcount_bits = 64,
        .free_clusters = 1000,
        .l2 = { "d", "dd" },
    };
    const unsigned limits[] = { 0, 1, 5, 1000 };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Fixture fixture;
    FindFree find;
    unsigned stored = (qcow2_fixture_first_fresh(image) + 63) / 64;
    unsigned kept;

    fixture_open(&fixture, image);
    fixture.refcounts->keep_bytes = limits[_i] * 512;
    find = run_find_free(&fixture);
    ck_assert(find.found);
    kept = g_hash_table_size(fixture.refcounts->blocks);
    ck_assert_uint_gt(stored, limits[2]);
    ck_assert_uint_eq(kept, MIN(limits[_i], stored));
    g_array_unref(find.runs);
    fixture_close(&fixture);
}
END_TEST

/*
 * A small file can name one block a million times, which would be terabytes to
 * look through.
 */
START_TEST(block_that_is_named_twice)
{
    g_autoptr(GByteArray) image = build(16);
    Qcow2FixtureHeader header;
    Fixture fixture;

    qcow2_fixture_header(image, &header);
    qcow2_fixture_poke(
        image, header.refcount_table_offset + 8 * 63, 8,
        qcow2_fixture_peek(image, header.refcount_table_offset, 8));
    fixture_open(&fixture, image);
    ck_assert_ptr_null(fixture.refcounts);
    qcow2_fixture_assert_error(&fixture.error, SNAP_ERROR_DAMAGED,
                               "refcount table entry 63");
    fixture_close(&fixture);
}
END_TEST

static Suite *free_space_suite(void)
{
    Suite *suite = suite_create("qcow2-free-space");
    TCase *tcase = tcase_create("qcow2-free-space");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, impossible_table_entries);
    tcase_add_test(tcase, block_that_is_named_twice);
    tcase_add_loop_test(tcase, free_runs_are_found, 0, 4);
    tcase_add_loop_test(tcase, shortest_run_that_is_taken, 0, 2);
    tcase_add_loop_test(tcase, freed_by_a_change, 0, 4);
    tcase_add_test(tcase, no_refcount_at_all);
    tcase_add_loop_test(tcase, scanned_blocks_are_kept_within_a_limit, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(free_space_suite());
}
