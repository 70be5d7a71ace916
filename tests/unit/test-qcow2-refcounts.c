/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Refcounts: how they are stored at every width, and which changes are allowed.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/refcounts.h"

#define BLOCK_BYTES 512

static uint64_t maximum(unsigned order)
{
    return order == 6 ? UINT64_MAX : (1ULL << (1u << order)) - 1;
}

/* Bit @bit of a refcount, by the words of the format description. */
static bool stored_bit(const uint8_t *block, unsigned order, unsigned index,
                       unsigned bit)
{
    unsigned bits = 1u << order;

    if (bits < 8) {
        unsigned at = index * bits + bit;

        return block[at / 8] >> at % 8 & 1;
    }
    return block[index * bits / 8 + (bits - 1 - bit) / 8] >> bit % 8 & 1;
}

/* Random values in random places against an array of numbers. */
START_TEST(widths)
{
    unsigned order = _i;
    unsigned count = BLOCK_BYTES * 8 >> order;
    g_autofree uint64_t *model = g_new0(uint64_t, count);
    uint8_t block[BLOCK_BYTES + 8] = { 0 };
    GRand *rand = g_rand_new_with_seed(order);
    unsigned step;
    unsigned i;
    unsigned bit;

    memset(block + BLOCK_BYTES, 0xa5, 8);
    for (step = 0; step < 4 * count; step++) {
        uint64_t value = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);

        i = g_rand_int_range(rand, 0, count);
        model[i] = step % 5 ? value & maximum(order) : maximum(order);
        qcow2_refcount_store(block, order, i, model[i]);
    }
    for (i = 0; i < count; i++) {
        ck_assert_uint_eq(qcow2_refcount_load(block, order, i), model[i]);
        for (bit = 0; bit < 1u << order; bit++) {
            ck_assert_int_eq(stored_bit(block, order, i, bit),
                             model[i] >> bit & 1);
        }
    }
    for (i = 0; i < 8; i++) {
        ck_assert_uint_eq(block[BLOCK_BYTES + i], 0xa5);
    }
    g_rand_free(rand);
}
END_TEST

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

typedef struct Change {
    Qcow2Refcounts *refcounts;
    uint64_t cluster;
    uint64_t count;
    Qcow2RefcountChange change;
    bool done;
    GError *error;
} Change;

static void coroutine_fn change_entry(void *opaque)
{
    Change *change = opaque;

    change->done = qcow2_refcounts_change(change->refcounts, change->cluster,
                                          change->count, change->change,
                                          &change->error);
}

static Change run_change(Fixture *fixture, uint64_t cluster, uint64_t count,
                         Qcow2RefcountChange kind)
{
    Change change = { fixture->refcounts, cluster, count, kind };

    event_loop_run(change_entry, &change);
    ck_assert_int_eq(change.done, !change.error);
    return change;
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

/*
 * What each change makes of a refcount, or which error it is. Sharing stops
 * below the maximum, because loading a snapshot takes one more; what shares a
 * cluster with other compressed data stops at half of it, because loading
 * repeats them all.
 */
static void check_changes(uint64_t value, uint64_t top)
{
    const struct {
        Qcow2RefcountChange change;
        bool allowed;
        int after;
        int code; /* when it is not */
        const char *text;
    } rules[] = {
        { QCOW2_REFCOUNT_TAKE, value == 0, 1, SNAP_ERROR_DAMAGED, "is free" },
        { QCOW2_REFCOUNT_SHARE, value && value < top - 1, 1,
          value ? SNAP_ERROR_UNSUPPORTED : SNAP_ERROR_DAMAGED,
          value ? "too narrow" : "is in use but its refcount is 0" },
        { QCOW2_REFCOUNT_SHARE_COMPRESSED, value && value <= top / 2, 1,
          value ? SNAP_ERROR_UNSUPPORTED : SNAP_ERROR_DAMAGED,
          value ? "too narrow" : "is in use but its refcount is 0" },
        { QCOW2_REFCOUNT_DROP, value != 0, -1, SNAP_ERROR_DAMAGED,
          "is in use but its refcount is 0" },
    };
    unsigned bits = top == UINT64_MAX ? 64 : __builtin_ctzll(top + 1);
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(rules); i++) {
        g_autoptr(GByteArray) image = build(bits);
        Fixture fixture;
        Change change;
        Qcow2RefcountBlock *block;

        qcow2_fixture_set_refcount(image, 3, value);
        fixture_open(&fixture, image);
        change = run_change(&fixture, 3, 1, rules[i].change);
        ck_assert_msg(change.done == rules[i].allowed,
                      "change %u of refcount %" PRIu64 " of %u bits", i, value,
                      bits);
        if (!change.done) {
            qcow2_fixture_assert_error(&change.error, rules[i].code,
                                       rules[i].text);
        } else {
            block = g_ptr_array_index(fixture.refcounts->changed, 0);
            ck_assert_uint_eq(
                qcow2_refcount_load(block->bytes, __builtin_ctz(bits), 3),
                value + rules[i].after);
        }
        fixture_close(&fixture);
    }
}

START_TEST(changes)
{
    uint64_t top = maximum(_i);

    check_changes(0, top);
    check_changes(1, top);
    check_changes(top / 2, top);
    check_changes(top / 2 + 1, top);
    check_changes(top - 2, top);
    check_changes(top - 1, top);
    check_changes(top, top);
}
END_TEST

/* 64 refcounts of 64 bits in a block; blocks are read when asked for. */
START_TEST(changes_span_blocks)
{
    g_autoptr(GByteArray) image = build(64);
    Fixture fixture;
    Change change;

    fixture_open(&fixture, image);
    memory_file_reset_records(fixture.file);
    ck_assert_uint_eq(qcow2_refcounts_per_block(fixture.refcounts), 64);
    /* Behind all that there is, also behind the end of the table. */
    change = run_change(&fixture, 60, 64 * 70, QCOW2_REFCOUNT_TAKE);
    ck_assert(change.done);
    ck_assert_uint_eq(fixture.refcounts->changed->len, 71);
    ck_assert_uint_eq(memory_file_count(fixture.file, MEMORY_FILE_READ), 1);
    /* Changed twice, listed once. */
    change = run_change(&fixture, 60, 64 * 70, QCOW2_REFCOUNT_DROP);
    ck_assert(change.done);
    ck_assert_uint_eq(fixture.refcounts->changed->len, 71);
    change = run_change(&fixture, 60, 1, QCOW2_REFCOUNT_DROP);
    qcow2_fixture_assert_error(&change.error, SNAP_ERROR_DAMAGED, "0x7800");
    fixture_close(&fixture);
}
END_TEST

typedef struct LookUp {
    Qcow2Refcounts *refcounts;
    const uint64_t *model;
    unsigned clusters;
} LookUp;

/* Walk over all clusters, by what is the same at a glance. */
static void coroutine_fn look_up_entry(void *opaque)
{
    const LookUp *look = opaque;
    uint64_t value;
    uint64_t same;
    unsigned first;
    unsigned i;

    for (first = 0; first < look->clusters; first++) {
        unsigned most = look->clusters - first;

        assert_often(qcow2_refcounts_look_up(look->refcounts, first, most,
                                             &value, &same, NULL));
        assert_often(same >= 1 && same <= most);
        for (i = first; i < first + same; i++) {
            assert_often(look->model[i] == value);
        }
        /* Not less than there are, but for the end of a block. */
        if (same < most &&
            (first + same) % qcow2_refcounts_per_block(look->refcounts)) {
            assert_often(look->model[first + same] != value);
        }
    }
}

/* Long runs of one refcount and short ones, changed in ranges of any length. */
START_TEST(runs)
{
    unsigned bits = 1u << _i;
    g_autoptr(GByteArray) image = build(bits);
    const unsigned clusters = 64;
    GRand *rand = g_rand_new_with_seed(_i);
    unsigned step;

    for (step = 0; step < 200; step++) {
        uint64_t model[64];
        unsigned first = g_rand_int_range(rand, 0, clusters);
        unsigned count = g_rand_int_range(rand, 1, clusters - first + 1);
        Fixture fixture;
        LookUp look = { .model = model, .clusters = clusters };
        Change change;
        unsigned i;

        for (i = 0; i < clusters; i++) {
            bool other = i == 0 || g_rand_int_range(rand, 0, 20) == 0;

            model[i] = other ? (unsigned)g_rand_int_range(rand, 1, 4)
                             : model[i - 1];
            qcow2_fixture_set_refcount(image, i, model[i]);
        }
        fixture_open(&fixture, image);
        change = run_change(&fixture, first, count, QCOW2_REFCOUNT_DROP);
        ck_assert(change.done);
        for (i = first; i < first + count; i++) {
            model[i]--;
        }
        look.refcounts = fixture.refcounts;
        event_loop_run(look_up_entry, &look);
        fixture_close(&fixture);
    }
    g_rand_free(rand);
}
END_TEST

START_TEST(unreadable_block)
{
    g_autoptr(GByteArray) image = build(16);
    Fixture fixture;
    Change change;

    fixture_open(&fixture, image);
    memory_file_fail(fixture.file, MEMORY_FILE_READ, 1, -EIO);
    change = run_change(&fixture, 0, 1, QCOW2_REFCOUNT_SHARE);
    qcow2_fixture_assert_error(&change.error, SNAP_ERROR_IO,
                               "cannot read the refcount block at 0x");
    fixture_close(&fixture);
}
END_TEST

static Suite *refcounts_suite(void)
{
    Suite *suite = suite_create("qcow2-refcounts");
    TCase *tcase = tcase_create("qcow2-refcounts");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, widths, 0, 7);
    tcase_add_loop_test(tcase, changes, 1, 7);
    tcase_add_test(tcase, changes_span_blocks);
    tcase_add_loop_test(tcase, runs, 1, 7);
    tcase_add_test(tcase, unreadable_block);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(refcounts_suite());
}
