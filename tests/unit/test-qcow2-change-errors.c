/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Every change of an image, and its check and repair, whose n-th operation
 * fails, for every n. The error says what it is about; the image is what it was
 * or, where the text says that it may be, what it was to become; a repair
 * leaves no more findings than there were.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "memory-file.h"
#include "qcow2-check-run.h"
#include "qcow2-verbs.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 10,
      .disk_size = 200000,
      .l2 = { "d.c", "dd" } },
    /* VM state that QEMU left in the active L1, and free runs. */
    { .cluster_bits = 9,
      .disk_size = 32768,
      .refcount_bits = 64,
      .free_clusters = 150,
      .spare_l1_entries = 2,
      .l2 = { "dd", "dddc", "d" } },
};

#define CASES ((int)(QCOW2_VERBS * G_N_ELEMENTS(shapes)))

static const MemoryFileOp ops[] = {
    MEMORY_FILE_READ,     MEMORY_FILE_WRITE,    MEMORY_FILE_FLUSH,
    MEMORY_FILE_TRUNCATE, MEMORY_FILE_ALLOCATE, MEMORY_FILE_DISCARD,
};

/*
 * Of so many operations that follow each other one fails, a different one in
 * each test; with ROUNDS in the environment all of them, one by one.
 */
#define STRIDE 5

static size_t stride(void)
{
    return g_getenv("ROUNDS") ? 1 : STRIDE;
}

static const int errors[] = { -EIO, -ENOSPC, -EINTR, -EAGAIN };

typedef struct Victim {
    Qcow2Verb verb;
    GByteArray *before;
    char *old_text;
    char *new_text;
    size_t counts[MEMORY_FILE_OPS]; /* operations when all goes well */
} Victim;

static BlockFile *open_file(const GByteArray *image)
{
    BlockFile *file = qcow2_fixture_file(image);

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    return file;
}

/* What a user sees, and whether there is VM state in the active L1. */
static char *describe(const GByteArray *image)
{
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2StaleVmstate stale;

    qcow2_fixture_look_at_stale(file, &stale);
    return g_strdup_printf("%sstale: %d\n", text, stale.present);
}

static void victim_init(Victim *victim, int number)
{
    const Qcow2FixtureOptions *shape = &shapes[number / QCOW2_VERBS];
    g_autoptr(BlockFile) file = NULL;
    g_autoptr(GByteArray) after = NULL;
    unsigned op;

    victim->verb = qcow2_verb_choose(number % QCOW2_VERBS, shape);
    victim->before = qcow2_verb_prepare(victim->verb, shape, 9000);
    victim->old_text = describe(victim->before);
    file = open_file(victim->before);
    ck_assert(qcow2_verb_run(file, victim->verb, NULL));
    after = qcow2_fixture_content(file);
    victim->new_text = describe(after);
    for (op = 0; op < MEMORY_FILE_OPS; op++) {
        victim->counts[op] = memory_file_count(file, op);
    }
}

static void victim_clear(Victim *victim)
{
    g_byte_array_unref(victim->before);
    g_free(victim->old_text);
    g_free(victim->new_text);
}

static void assert_message(const GError *reason, int error)
{
    ck_assert_ptr_nonnull(reason);
    ck_assert_msg(
        g_error_matches(reason, SNAP_ERROR,
                        error == -ENOSPC ? SNAP_ERROR_NO_SPACE : SNAP_ERROR_IO),
        "%s", reason->message);
    ck_assert_msg(strstr(reason->message, g_strerror(-error)), "%s",
                  reason->message);
}

/* What a read or write was about has a place. */
static void assert_place(const GError *reason)
{
    ck_assert_msg(strstr(reason->message, "0x") ||
                      strstr(reason->message, "offset "),
                  "no place: %s", reason->message);
}

/* Returns whether the change happened all the same. */
static bool change_with_failure(const Victim *victim, MemoryFileOp op, int nth,
                                int error)
{
    g_autoptr(BlockFile) file = open_file(victim->before);
    g_autoptr(GError) reason = NULL;
    g_autoptr(GByteArray) after = NULL;
    g_autofree char *text = NULL;
    bool changed;

    memory_file_shuffle(file, 2);
    memory_file_fail(file, op, nth, error);
    changed = qcow2_verb_run(file, victim->verb, &reason);
    after = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(after);
    text = describe(after);
    if (changed) {
        ck_assert_ptr_null(reason);
        ck_assert_str_eq(text, victim->new_text);
        return true;
    }
    assert_message(reason, error);
    if (op == MEMORY_FILE_READ || op == MEMORY_FILE_WRITE) {
        assert_place(reason);
    }
    if (strstr(reason->message, "decides whether")) {
        ck_assert(!strcmp(text, victim->old_text) ||
                  !strcmp(text, victim->new_text));
    } else {
        ck_assert_str_eq(text, victim->old_text);
        /* What was taken is given back, unless that is what failed. */
        ck_assert(after->len == victim->before->len ||
                  op == MEMORY_FILE_TRUNCATE);
    }
    return false;
}

/*
 * How many failures may go unnoticed: those of what only gives space back, or
 * asks for it early, and of reading what there is to be given back.
 */
static size_t count_optional(const Victim *victim, MemoryFileOp op)
{
    switch (op) {
    case MEMORY_FILE_TRUNCATE:
    case MEMORY_FILE_ALLOCATE:
    case MEMORY_FILE_DISCARD:
        return victim->counts[op];
    case MEMORY_FILE_READ:
        return 4;
    default:
        return 0;
    }
}

START_TEST(change_fails)
{
    Victim victim;
    unsigned i;
    size_t nth;

    victim_init(&victim, _i);
    for (i = 0; i < G_N_ELEMENTS(ops); i++) {
        size_t count = victim.counts[ops[i]];
        size_t unnoticed = 0;

        for (nth = 1 + _i % stride(); nth <= count; nth += stride()) {
            unnoticed += change_with_failure(
                &victim, ops[i], nth, errors[(i + nth) % G_N_ELEMENTS(errors)]);
        }
        ck_assert_uint_le(unnoticed, count_optional(&victim, ops[i]));
    }
    ck_assert(change_with_failure(&victim, MEMORY_FILE_DISCARD, -1, -EIO));
    ck_assert(change_with_failure(&victim, MEMORY_FILE_ALLOCATE, -1, -ENOTSUP));
    victim_clear(&victim);
}
END_TEST

typedef struct Repair {
    GByteArray *damaged;
    uint64_t findings;
    char *text; /* before it was damaged */
} Repair;

static void repair_init(Repair *repair, Qcow2Damage damage)
{
    repair->damaged = qcow2_verb_prepare(QCOW2_VERB_RENAME, &shapes[0], 9000);
    repair->text = qcow2_fixture_describe(repair->damaged);
    qcow2_damage(repair->damaged, damage);
    repair->findings = qcow2_check_findings(repair->damaged);
}

static void repair_clear(Repair *repair)
{
    g_byte_array_unref(repair->damaged);
    g_free(repair->text);
}

/* The next attempt brings it to its end. */
static void assert_repairable(const Repair *repair, const GByteArray *image)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };
    g_autoptr(GByteArray) repaired = NULL;
    g_autofree char *text = NULL;

    ck_assert_uint_le(qcow2_check_findings(image), repair->findings);
    qcow2_check_run(file, QCOW2_REPAIR_ALL, &run);
    ck_assert(run.done);
    repaired = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(repaired);
    text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(text, repair->text);
}

static void check_with_failure(const Repair *repair, Qcow2Repair what,
                               MemoryFileOp op, int nth, int error)
{
    g_autoptr(BlockFile) file = open_file(repair->damaged);
    g_auto(Qcow2CheckRun) run = { 0 };
    g_autoptr(GByteArray) after = NULL;

    memory_file_fail(file, op, nth, error);
    qcow2_check_run(file, what, &run);
    after = qcow2_fixture_content(file);
    if (what == QCOW2_REPAIR_NOTHING) {
        ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    } else {
        assert_repairable(repair, after);
    }
    if (!run.done &&
        !g_error_matches(run.error, SNAP_ERROR, SNAP_ERROR_DAMAGED)) {
        assert_message(run.error, error);
    }
}

/* How many operations there are when none fails. */
static size_t count_operations(const Repair *repair, Qcow2Repair what,
                               MemoryFileOp op)
{
    g_autoptr(BlockFile) file = open_file(repair->damaged);
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_check_run(file, what, &run);
    return memory_file_count(file, op);
}

#define REPAIRS 3

START_TEST(check_fails)
{
    static const MemoryFileOp check_ops[] = {
        MEMORY_FILE_READ,
        MEMORY_FILE_WRITE,
        MEMORY_FILE_FLUSH,
    };
    Qcow2Repair what = _i % REPAIRS;
    Repair repair;
    unsigned i;

    repair_init(&repair, _i / REPAIRS);
    for (i = 0; i < G_N_ELEMENTS(check_ops); i++) {
        size_t count = count_operations(&repair, what, check_ops[i]);
        size_t nth;

        for (nth = 1 + _i % stride(); nth <= count; nth += stride()) {
            check_with_failure(&repair, what, check_ops[i], nth,
                               errors[nth % G_N_ELEMENTS(errors)]);
        }
    }
    repair_clear(&repair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-change-errors");
    TCase *tests = tcase_create("change-errors");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, change_fails, 0, CASES);
    tcase_add_loop_test(tests, check_fails, 0, REPAIRS * QCOW2_DAMAGES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
