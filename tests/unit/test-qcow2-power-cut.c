/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The promise of a save, and of every other change: whenever the power goes,
 * the image is what it was or what it was to become, and sound either way.
 */
#include <check.h>

#include "power-cut.h"
#include "qcow2-check-run.h"
#include "qcow2-verbs.h"
#include "run-suite.h"

#define SUBSETS 24

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

/* Loop tests run over all shapes with all verbs. */
#define CASES ((int)(QCOW2_VERBS * G_N_ELEMENTS(shapes)))

/* A change and the states before and after it. */
typedef struct Cut {
    BlockFile *file;
    GByteArray *before;
    char *old_text;
    char *new_text;
    const MemoryFileRecord *records;
    size_t count;
} Cut;

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

/* Takes @before over, for which @verb must be possible. */
static Cut *cut_new_of(GByteArray *before, Qcow2Verb verb)
{
    Cut *cut = g_new0(Cut, 1);
    g_autoptr(GByteArray) after = NULL;
    g_autoptr(GError) error = NULL;

    cut->before = before;
    cut->file = qcow2_fixture_file(before);
    cut->old_text = describe(before);
    memory_file_shuffle(cut->file, 3);
    ck_assert_msg(qcow2_verb_run(cut->file, verb, &error), "%s",
                  error ? error->message : "failed without an error");
    after = qcow2_fixture_content(cut->file);
    cut->new_text = describe(after);
    ck_assert_str_ne(cut->old_text, cut->new_text);
    cut->records = memory_file_records(cut->file, &cut->count);
    return cut;
}

static Cut *cut_new(int number)
{
    const Qcow2FixtureOptions *shape = &shapes[number / QCOW2_VERBS];
    Qcow2Verb verb = qcow2_verb_choose(number % QCOW2_VERBS, shape);

    return cut_new_of(qcow2_verb_prepare(verb, shape, 9000), verb);
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

/* Any part of what lies between two flushes, or behind the last one. */
static void assert_intervals(const Cut *cut, unsigned subsets, GRand *rand)
{
    unsigned seen_new = 0;
    size_t start = 0;
    size_t end;
    unsigned count;
    unsigned i;

    for (end = 1; end <= cut->count; end++) {
        if (end < cut->count && cut->records[end - 1].op != MEMORY_FILE_FLUSH) {
            continue;
        }
        /* Behind the last one there is little that could be left out. */
        count = flushes_before(cut, end - 1) == 2 ? subsets / 6 : subsets;
        for (i = 0; i < count; i++) {
            g_autoptr(GByteArray) image = power_cut_at_random(
                cut->before, cut->records, start, end - 1, rand);
            bool is_new = assert_state(cut, image, end - 1);

            seen_new += is_new && flushes_before(cut, end - 1) == 1;
        }
        start = end;
    }
    /* In the second interval it is the toss of a coin. */
    ck_assert_uint_gt(seen_new, subsets / 10);
    ck_assert_uint_lt(seen_new, subsets * 9 / 10);
}

START_TEST(cut_leaves_any_part_of_an_interval)
{
    Cut *cut = cut_new(_i);
    GRand *rand = g_rand_new_with_seed(4711 + _i);

    assert_intervals(cut, power_cut_rounds(SUBSETS), rand);
    g_rand_free(rand);
    cut_free(cut);
}
END_TEST

static uint64_t refcount_table_entries(const GByteArray *image)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    return header.refcount_table_entries;
}

/* So many bytes of VM state that one more would need a larger table. */
static GByteArray *prepare_full_table(const Qcow2FixtureOptions *shape,
                                      Qcow2Verb verb)
{
    uint64_t clusters = 3930;
    GByteArray *image = qcow2_verb_prepare(verb, shape, clusters * 512);
    GByteArray *next = g_byte_array_ref(image);
    uint64_t entries = refcount_table_entries(image);

    while (refcount_table_entries(next) == entries) {
        g_byte_array_unref(image);
        image = next;
        next = qcow2_verb_prepare(verb, shape, ++clusters * 512);
    }
    g_byte_array_unref(next);
    return image;
}

/* The table of refcounts grows, which no other verb lets it do. */
START_TEST(cut_while_the_refcount_table_grows)
{
    static const Qcow2FixtureOptions shape = {
        .cluster_bits = 9,
        .refcount_bits = 64,
        .disk_size = 1000,
        .l2 = { "dd" },
    };
    static const Qcow2Verb verbs[] = { QCOW2_VERB_SAVE, QCOW2_VERB_CREATE };
    Cut *cut = cut_new_of(prepare_full_table(&shape, verbs[_i]), verbs[_i]);
    g_autoptr(GByteArray) after = qcow2_fixture_content(cut->file);
    GRand *rand = g_rand_new_with_seed(815 + _i);

    ck_assert_uint_gt(refcount_table_entries(after),
                      refcount_table_entries(cut->before));
    assert_intervals(cut, power_cut_rounds(SUBSETS), rand);
    g_rand_free(rand);
    cut_free(cut);
}
END_TEST

/* We find nothing to complain of in what is left, not even a leak, nor QEMU. */
static void assert_checked(const GByteArray *image)
{
    ck_assert_uint_eq(qcow2_check_findings(image), 0);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
}

/* qemu-img takes its time: in short, each shape has every second verb. */
START_TEST(both_checkers_accept_the_image)
{
    Cut *cut;
    GRand *rand;
    size_t step;
    size_t end;

    if (power_cut_rounds(1) == 1 && (_i + _i / QCOW2_VERBS) % 2) {
        return;
    }
    cut = cut_new(_i);
    rand = g_rand_new_with_seed(_i);
    step = MAX(cut->count / power_cut_rounds(2), 1);
    for (end = step; end <= cut->count; end += step) {
        g_autoptr(GByteArray) image = memory_file_replay(
            cut->before->data, cut->before->len, cut->records, end);

        assert_checked(image);
    }
    for (end = 0; end < power_cut_rounds(1); end++) {
        g_autoptr(GByteArray) image = power_cut_at_random(
            cut->before, cut->records, 0, first_flush(cut), rand);

        assert_checked(image);
    }
    g_rand_free(rand);
    cut_free(cut);
}
END_TEST

/* Nobody needs to know the old image to go on after a cut. */
START_TEST(the_next_change_succeeds_after_a_cut)
{
    Cut *cut = cut_new(_i);
    size_t step = MAX(cut->count / power_cut_rounds(4), 1);
    size_t end;

    for (end = 0; end <= cut->count; end += step) {
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
    tcase_add_loop_test(tcase, cut_while_the_refcount_table_grows, 0, 2);
    tcase_add_loop_test(tcase, both_checkers_accept_the_image, 0, CASES);
    tcase_add_loop_test(tcase, the_next_change_succeeds_after_a_cut, 0, CASES);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(power_cut_suite());
}
