/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * VM state that goes on behind its recorded size and has holes, as that of a
 * QEMU with mapped RAM: where it ends, and that holes are zeros for those who
 * expect them and damage for all others.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define SEED     5
#define CLUSTER  512
#define CLUSTERS 600
#define BYTES    (CLUSTER * CLUSTERS)
#define RECORDED 1000

/* VM state of which a small size is recorded. */
static GByteArray *build(uint64_t bytes)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 70000,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = bytes };
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    GByteArray *saved;

    qcow2_fixture_must_save(file, &save);
    saved = qcow2_fixture_content(file);
    qcow2_fixture_entry(saved, 0, &entry);
    qcow2_fixture_poke(saved, entry.at + 32, 4, RECORDED);
    qcow2_fixture_poke(saved, entry.at + 40, 8, RECORDED);
    return saved;
}

static void make_hole(GByteArray *image, uint64_t cluster)
{
    qcow2_fixture_poke(
        image, qcow2_fixture_vmstate_entry_at(image, 0, cluster * CLUSTER), 8,
        0);
}

typedef struct Run {
    BlockFile *file;
    const uint8_t *expected; /* NULL: nothing is read */
    uint64_t bytes;
    bool extended;
    GError *error;
} Run;

static void coroutine_fn compare(const Run *run, Qcow2VmstateReader *reader)
{
    g_autofree uint8_t *data = g_malloc(run->bytes);

    memset(data, 0xee, run->bytes);
    ck_assert(qcow2_vmstate_pread_sparse(reader, 0, data, run->bytes, NULL));
    ck_assert_mem_eq(data, run->expected, run->bytes);
    for (uint64_t at = 0; at < run->bytes; at += CLUSTER) {
        static const uint8_t zeros[CLUSTER];
        bool hole = !memcmp(run->expected + at, zeros, CLUSTER);
        g_autoptr(GError) error = NULL;

        memset(data, 0xee, CLUSTER);
        ck_assert_int_ne(
            hole, qcow2_vmstate_pread(reader, at, data, CLUSTER, &error));
        if (hole) {
            qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, "a hole");
        } else {
            ck_assert_mem_eq(data, run->expected + at, CLUSTER);
        }
    }
}

static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, NULL);
    Qcow2VmstateReader *reader;

    ck_assert_ptr_nonnull(image);
    reader =
        qcow2_vmstate_reader_open(image, qcow2_find_snapshot(image, "s"), NULL);
    ck_assert_ptr_nonnull(reader);
    ck_assert_uint_eq(qcow2_vmstate_bytes(reader), RECORDED);
    memory_file_reset_records(run->file);
    run->extended = qcow2_vmstate_reader_extend(reader, &run->error);
    run->bytes = qcow2_vmstate_bytes(reader);
    if (run->extended && run->expected) {
        compare(run, reader);
    }
    qcow2_vmstate_reader_close(reader);
}

static uint64_t must_extend(const GByteArray *image, const uint8_t *expected)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Run run = { .file = file, .expected = expected };

    event_loop_run(run_entry, &run);
    ck_assert_msg(run.extended, "%s", run.error ? run.error->message : "");
    return run.bytes;
}

START_TEST(holes_are_zeros)
{
    g_autoptr(GByteArray) image = build(BYTES);
    g_autoptr(GRand) rand = g_rand_new_with_seed(_i);
    g_autofree uint8_t *expected = g_malloc(BYTES);
    unsigned last = 0;

    qcow2_fixture_fill(SEED, 0, expected, BYTES);
    for (unsigned i = 0; i < CLUSTERS; i++) {
        /* Also whole tables, at the end as well. */
        if (i >= 2 && (g_rand_int_range(rand, 0, 3) == 0 || i / 64 % 3 == 1 ||
                       i > 500 + 20 * (unsigned)_i)) {
            make_hole(image, i);
            memset(expected + i * CLUSTER, 0, CLUSTER);
        } else {
            last = i;
        }
    }
    ck_assert_uint_eq(must_extend(image, expected), (last + 1) * CLUSTER);
}
END_TEST

/* Also with one that has not even a table, and without any. */
START_TEST(no_tables)
{
    g_autoptr(GByteArray) image = build(BYTES);
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    unsigned i;

    qcow2_fixture_entry(image, 0, &entry);
    ck_assert_uint_eq(must_extend(image, NULL), BYTES);
    for (i = entry.vm_index + 3; i < entry.l1_size; i++) {
        qcow2_fixture_poke(image, entry.l1_offset + i * 8, 8, 0);
    }
    ck_assert_uint_eq(must_extend(image, NULL), 3 * 64 * CLUSTER);
    for (i = entry.vm_index; i < entry.l1_size; i++) {
        qcow2_fixture_poke(image, entry.l1_offset + i * 8, 8, 0);
    }
    ck_assert_uint_eq(must_extend(image, NULL), RECORDED);
}
END_TEST

/* Tables with nothing in them do not make it slow, nor do they hide anything. */
START_TEST(many_empty_tables)
{
    const unsigned tables = 300;
    g_autoptr(GByteArray) image = build(tables * 64 * CLUSTER);
    g_autoptr(BlockFile) file = NULL;
    Run run = { 0 };

    for (unsigned i = 2 * 64; i < tables * 64; i++) {
        make_hole(image, i);
    }
    file = qcow2_fixture_file(image);
    run.file = file;
    event_loop_run(run_entry, &run);
    ck_assert(run.extended);
    ck_assert_uint_ge(run.bytes, 2 * 64 * CLUSTER);
    ck_assert_uint_le(memory_file_count(file, MEMORY_FILE_READ), 70);
}
END_TEST

START_TEST(damaged_tables)
{
    g_autoptr(GByteArray) image = build(BYTES);
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    g_autoptr(BlockFile) file = NULL;
    Run run = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.l1_offset + (entry.vm_index + 5) * 8, 8,
                       image->len + 4096);
    file = qcow2_fixture_file(image);
    run.file = file;
    event_loop_run(run_entry, &run);
    ck_assert(!run.extended);
    ck_assert_uint_eq(run.bytes, RECORDED);
    qcow2_fixture_assert_error(&run.error, SNAP_ERROR_DAMAGED, "L1 entry");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-vmstate-holes");
    TCase *tests = tcase_create("qcow2-vmstate-holes");

    tcase_add_loop_test(tests, holes_are_zeros, 0, 5);
    tcase_add_test(tests, no_tables);
    tcase_add_test(tests, many_empty_tables);
    tcase_add_test(tests, damaged_tables);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
