/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The promise of a repair: whenever the power goes, no more is wrong with the
 * image than before, and its content is what it was. Between two flushes a disk
 * may do any of the writes and leave out any other.
 */
#include <check.h>

#include "memory-file.h"
#include "power-cut.h"
#include "qcow2-check-run.h"
#include "run-suite.h"

#define SUBSETS 10

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 4,
      .l2 = { "dZ" } },
};

#define CASES ((int)(G_N_ELEMENTS(shapes) * QCOW2_DAMAGES))

typedef struct Repair {
    GByteArray *before;
    uint64_t findings;
    char *text; /* what a user sees in the image before it was damaged */
    const MemoryFileRecord *records;
    size_t count;
} Repair;

static void assert_no_worse(const Repair *repair,
                            const MemoryFileRecord *records, size_t count)
{
    g_autoptr(GByteArray) image = memory_file_replay(
        repair->before->data, repair->before->len, records, count);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };
    g_autoptr(GByteArray) repaired = NULL;
    g_autofree char *text = NULL;

    ck_assert_uint_le(qcow2_check_findings(image), repair->findings);
    /* The next repair brings it to its end. */
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    repaired = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(repaired);
    text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(text, repair->text);
}

/* All up to the last flush before @end, and some of what came after it. */
static void assert_subset(const Repair *repair, size_t flush, size_t end,
                          GRand *random)
{
    g_autoptr(GArray)
        chosen = g_array_new(FALSE, FALSE, sizeof(MemoryFileRecord));
    size_t i;

    for (i = 0; i < end; i++) {
        if (i <= flush || g_rand_boolean(random)) {
            g_array_append_val(chosen, repair->records[i]);
        }
    }
    assert_no_worse(repair, (const MemoryFileRecord *)(void *)chosen->data,
                    chosen->len);
}

static void assert_cuts(const Repair *repair)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    size_t flush = 0;
    size_t i;
    unsigned j;

    for (i = 0; i <= repair->count; i++) {
        assert_no_worse(repair, repair->records, i);
        if (i == repair->count || repair->records[i].op == MEMORY_FILE_FLUSH) {
            for (j = 0; j < power_cut_rounds(SUBSETS); j++) {
                assert_subset(repair, flush, i, random);
            }
            flush = i;
        }
    }
}

START_TEST(repair_never_makes_it_worse)
{
    Qcow2FixtureSave save = { .name = "old", .seed = 1, .bytes = 9000 };
    g_autoptr(GByteArray)
        image = qcow2_fixture_build(&shapes[_i / QCOW2_DAMAGES]);
    g_autoptr(GByteArray) sound = NULL;
    g_autoptr(BlockFile) saved = qcow2_fixture_file(image);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2CheckRun) run = { 0 };
    g_autofree char *text = NULL;
    Repair repair;

    qcow2_fixture_must_save(saved, &save);
    sound = qcow2_fixture_content(saved);
    text = qcow2_fixture_describe(sound);
    qcow2_damage(sound, _i % QCOW2_DAMAGES);
    file = qcow2_fixture_file(sound);
    memory_file_shuffle(file, 3);
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    repair = (Repair){
        .before = sound,
        .findings = qcow2_check_findings(sound),
        .text = text,
    };
    repair.records = memory_file_records(file, &repair.count);
    ck_assert_uint_gt(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    assert_cuts(&repair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-check-power-cut");
    TCase *tests = tcase_create("check-power-cut");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, repair_never_makes_it_worse, 0, CASES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
