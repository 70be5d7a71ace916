/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The promise of a save, and of every other change: whenever the power goes,
 * the image is what it was or what it was to become, and sound either way.
 */
#include <check.h>

#include "power-cut.h"
#include "qcow2-fixture.h"
#include "run-suite.h"

#define SUBSETS 60

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 10,
      .disk_size = 200000,
      .l2 = { "d.c", "dd" } },
    { .cluster_bits = 12,
      .disk_size = 100000,
      .refcount_bits = 64,
      .l2 = { "dcZ" } },
    { .cluster_bits = 12 },
    /* Free runs before the end of the image, some of them long enough. */
    { .cluster_bits = 9,
      .disk_size = 3 * 32768,
      .free_clusters = 140,
      .l2 = { "dcZ", "d", "dd" } },
    { .cluster_bits = 16,
      .disk_size = 1 << 20,
      .free_clusters = 20,
      .l2 = { "dZ" } },
    /* VM state that QEMU left in the active L1. */
    { .cluster_bits = 9,
      .disk_size = 32768,
      .spare_l1_entries = 2,
      .l2 = { "dd", "dddc", "d" } },
    { .cluster_bits = 14,
      .extended_l2 = true,
      .disk_size = 1 << 20,
      .spare_l1_entries = 1,
      .l2 = { "pqd.Zzcp", "dp" } },
};

typedef enum Verb {
    SAVE,
    CREATE,
    DELETE_FIRST,
    DELETE_LAST,
    APPLY,
    REPLACE,
    SAVE_REPLACE,
    RENAME,
    FREE_STALE,
    VERBS, /* how many there are */
} Verb;

/* Loop tests run over all shapes with all verbs. */
#define CASES ((int)(VERBS * G_N_ELEMENTS(shapes)))

/* A change and the states before and after it. */
typedef struct Cut {
    BlockFile *file;
    GByteArray *before;
    char *old_text;
    char *new_text;
    const MemoryFileRecord *records;
    size_t count;
} Cut;

static void change(BlockFile *file, Verb verb, const char *new_name)
{
    Qcow2FixtureSave save = {
        .name = new_name,
        .seed = 2,
        .bytes = 20001,
        .piece = 2048,
        .writers = 3,
    };

    switch (verb) {
    case SAVE:
        qcow2_fixture_must_save(file, &save);
        break;
    case CREATE:
        qcow2_fixture_must_create(file, new_name, 2);
        break;
    case DELETE_FIRST:
        qcow2_fixture_must_delete(file, "1");
        break;
    case DELETE_LAST:
        qcow2_fixture_must_delete(file, "2");
        break;
    case APPLY:
        qcow2_fixture_must_change(file, QCOW2_FIXTURE_APPLY, "old", NULL);
        break;
    case REPLACE:
        qcow2_fixture_must_change(file, QCOW2_FIXTURE_REPLACE, "old", NULL);
        break;
    case SAVE_REPLACE:
        save.name = "old";
        save.replace = true;
        qcow2_fixture_must_save(file, &save);
        break;
    case RENAME:
        qcow2_fixture_must_change(file, QCOW2_FIXTURE_RENAME, "old", new_name);
        break;
    case FREE_STALE:
        qcow2_fixture_must_change(file, QCOW2_FIXTURE_FREE_STALE, NULL, NULL);
        break;
    case VERBS:
        g_assert_not_reached();
    }
}

/* Not everything can happen to every shape: then there is a new name. */
static Verb choose_verb(int number)
{
    const Qcow2FixtureOptions *shape = &shapes[number / VERBS];
    Verb verb = number % VERBS;

    if ((verb == APPLY && !shape->l2[0]) ||
        (verb == FREE_STALE && !shape->spare_l1_entries)) {
        return RENAME;
    }
    return verb;
}

/* With the VM state in the active L1, which users see by what it takes. */
static char *describe(const GByteArray *image)
{
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2StaleVmstate stale;

    qcow2_fixture_look_at_stale(file, &stale);
    return g_strdup_printf("%sstale: %d, %" PRIu64 " bytes\n", text,
                           stale.present, stale.freeable);
}

static Cut *cut_new(int number)
{
    Verb verb = choose_verb(number);
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[number / VERBS]);
    g_autoptr(GByteArray) after = NULL;
    Cut *cut = g_new0(Cut, 1);
    Qcow2FixtureSave earlier = { .name = "old", .seed = 1, .bytes = 9000 };

    cut->file = qcow2_fixture_file(image);
    qcow2_fixture_must_save(cut->file, &earlier);
    if (verb == DELETE_FIRST || verb == DELETE_LAST) {
        qcow2_fixture_must_create(cut->file, "later", 4);
    }
    if (verb == APPLY) {
        qcow2_fixture_guest_discards(&cut->file, 0);
    }
    cut->before = qcow2_fixture_content(cut->file);
    cut->old_text = describe(cut->before);
    memory_file_reset_records(cut->file);
    memory_file_shuffle(cut->file, 3);
    change(cut->file, verb, "new");
    after = qcow2_fixture_content(cut->file);
    cut->new_text = describe(after);
    ck_assert_str_ne(cut->old_text, cut->new_text);
    cut->records = memory_file_records(cut->file, &cut->count);
    return cut;
}

static void cut_free(Cut *cut)
{
    block_file_close(cut->file);
    g_byte_array_unref(cut->before);
    g_free(cut->old_text);
    g_free(cut->new_text);
    g_free(cut);
}

static size_t flushes_before(const Cut *cut, size_t end)
{
    size_t flushes = 0;
    size_t i;

    for (i = 0; i < end; i++) {
        flushes += cut->records[i].op == MEMORY_FILE_FLUSH;
    }
    return flushes;
}

static size_t first_flush(const Cut *cut)
{
    size_t i = 0;

    while (cut->records[i].op != MEMORY_FILE_FLUSH) {
        i++;
    }
    return i;
}

/* Returns whether the image is in the new state. */
static bool assert_old_or_new(const Cut *cut, const GByteArray *image)
{
    g_autofree char *text = describe(image);
    bool is_new = !strcmp(text, cut->new_text);

    qcow2_fixture_assert_sound(image);
    if (!is_new) {
        ck_assert_str_eq(text, cut->old_text);
    }
    return is_new;
}

/*
 * The old state up to the first flush and the new one from the second on;
 * between them the header sector decides. Returns whether it is the new one.
 */
static bool assert_state(const Cut *cut, const GByteArray *image, size_t end)
{
    size_t flushes = flushes_before(cut, end);
    bool is_new = assert_old_or_new(cut, image);

    ck_assert_uint_le(flushes, 2);
    if (flushes != 1) {
        ck_assert_int_eq(is_new, flushes == 2);
    }
    return is_new;
}

START_TEST(cut_after_every_operation)
{
    Cut *cut = cut_new(_i);
    size_t changes = 0;
    size_t end;
    bool was_new = false;

    for (end = 0; end <= cut->count; end++) {
        g_autoptr(GByteArray) image = NULL;
        bool is_new;

        if (end > 0 && cut->records[end - 1].op == MEMORY_FILE_READ) {
            continue;
        }
        image = memory_file_replay(cut->before->data, cut->before->len,
                                   cut->records, end);
        is_new = assert_state(cut, image, end);
        changes += is_new != was_new;
        was_new = is_new;
    }
    ck_assert(was_new);
    ck_assert_uint_eq(changes, 1);
    cut_free(cut);
}
END_TEST

START_TEST(cut_leaves_any_part_of_an_interval)
{
    Cut *cut = cut_new(_i);
    GRand *rand = g_rand_new_with_seed(4711 + _i);
    unsigned seen_new = 0;
    size_t start = 0;
    size_t end;
    unsigned i;

    for (end = 1; end <= cut->count; end++) {
        if (cut->records[end - 1].op != MEMORY_FILE_FLUSH) {
            continue;
        }
        for (i = 0; i < SUBSETS; i++) {
            g_autoptr(GByteArray) image = power_cut_at_random(
                cut->before, cut->records, start, end - 1, rand);

            seen_new += assert_state(cut, image, end - 1);
        }
        start = end;
    }
    /* In the second interval it is the toss of a coin. */
    ck_assert_uint_gt(seen_new, SUBSETS / 4);
    ck_assert_uint_lt(seen_new, SUBSETS * 3 / 4);
    g_rand_free(rand);
    cut_free(cut);
}
END_TEST

/* QEMU finds nothing to complain of in what is left, not even a leak. */
START_TEST(qemu_accepts_the_image)
{
    Cut *cut = cut_new(_i);
    GRand *rand = g_rand_new_with_seed(_i);
    size_t step = cut->count / 4;
    size_t end;

    for (end = step; end <= cut->count; end += step) {
        g_autoptr(GByteArray) image = memory_file_replay(
            cut->before->data, cut->before->len, cut->records, end);

        ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
    }
    for (end = 0; end < 2; end++) {
        g_autoptr(GByteArray) image = power_cut_at_random(
            cut->before, cut->records, 0, first_flush(cut), rand);

        ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
    }
    g_rand_free(rand);
    cut_free(cut);
}
END_TEST

/* Nobody needs to know the old image to go on after a cut. */
START_TEST(the_next_change_succeeds_after_a_cut)
{
    Cut *cut = cut_new(_i);
    size_t end;

    for (end = 0; end <= cut->count; end += 3) {
        g_autoptr(GByteArray) image = memory_file_replay(
            cut->before->data, cut->before->len, cut->records, end);
        g_autoptr(BlockFile) file = qcow2_fixture_file(image);
        g_autoptr(GByteArray) content = NULL;
        Qcow2FixtureSave save = { .name = "next", .seed = 5, .bytes = 3000 };

        qcow2_fixture_must_save(file, &save);
        qcow2_fixture_must_delete(file, "next");
        content = qcow2_fixture_content(file);
        qcow2_fixture_assert_sound(content);
    }
    cut_free(cut);
}
END_TEST

static Suite *power_cut_suite(void)
{
    Suite *suite = suite_create("qcow2-power-cut");
    TCase *tcase = tcase_create("qcow2-power-cut");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, cut_after_every_operation, 0, CASES);
    tcase_add_loop_test(tcase, cut_leaves_any_part_of_an_interval, 0, CASES);
    tcase_add_loop_test(tcase, qemu_accepts_the_image, 0, CASES);
    tcase_add_loop_test(tcase, the_next_change_succeeds_after_a_cut, 0, CASES);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(power_cut_suite());
}
