/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Saves and loads whose n-th operation fails, for every n. The error must say
 * what it is about, and the image must be what it was, or, when only the last
 * flush failed, what it was to become.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .cluster_bits = 9,
      .disk_size = 65536,
      .refcount_bits = 64,
      .free_clusters = 150,
      .l2 = { "ddd", "dcZ" } },
    { .version = 2, .cluster_bits = 12, .disk_size = 1 << 20 },
};

/* An image with a snapshot, and the states of a save into it. */
typedef struct Victim {
    GByteArray *before;
    char *old_text;
    char *new_text;
    size_t counts[MEMORY_FILE_OPS]; /* operations of a save that succeeds */
} Victim;

static Qcow2FixtureSave new_save(void)
{
    return (Qcow2FixtureSave){
        .name = "new",
        .seed = 2,
        .bytes = 20001,
        .piece = 4096,
        .writers = 2,
    };
}

static void victim_init(Victim *victim, const Qcow2FixtureOptions *options)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureSave earlier = { .name = "old", .seed = 1, .bytes = 9000 };
    Qcow2FixtureSave save = new_save();
    unsigned op;

    qcow2_fixture_must_save(file, &earlier);
    victim->before = qcow2_fixture_content(file);
    victim->old_text = qcow2_fixture_describe(victim->before);
    memory_file_reset_records(file);
    qcow2_fixture_must_save(file, &save);
    after = qcow2_fixture_content(file);
    victim->new_text = qcow2_fixture_describe(after);
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

/* All that the old image says is in use is as it was. */
static void assert_untouched(const Victim *victim, const GByteArray *after)
{
    const GByteArray *before = victim->before;
    g_autofree char *text = qcow2_fixture_describe(after);
    Qcow2FixtureHeader header;
    uint64_t size;
    uint64_t at;

    qcow2_fixture_header(before, &header);
    size = header.cluster_size;
    ck_assert_uint_ge(after->len, before->len);
    for (at = 0; at < before->len; at += size) {
        if (qcow2_fixture_refcount(before, at / size) != 0) {
            ck_assert_mem_eq(after->data + at, before->data + at,
                             MIN(size, before->len - at));
        }
    }
    qcow2_fixture_assert_sound(after);
    ck_assert_str_eq(text, victim->old_text);
}

static void assert_new(const Victim *victim, const GByteArray *after)
{
    g_autofree char *text = qcow2_fixture_describe(after);

    qcow2_fixture_assert_sound(after);
    ck_assert_str_eq(text, victim->new_text);
}

/*
 * The @nth operation of kind @op fails, or every one for -1. Returns whether
 * the save succeeded all the same.
 */
static bool save_with_failure(const Victim *victim, MemoryFileOp op, int nth,
                              int error)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(victim->before);
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureSave save = new_save();
    GError *reason = NULL;
    bool decided;

    memory_file_fail(file, op, nth, error);
    if (qcow2_fixture_save(file, &save, &reason)) {
        after = qcow2_fixture_content(file);
        ck_assert_ptr_null(reason);
        assert_new(victim, after);
        return true;
    }
    after = qcow2_fixture_content(file);
    ck_assert_ptr_nonnull(reason);
    decided = strstr(reason->message, "decides whether");
    qcow2_fixture_assert_error(
        &reason, error == -ENOSPC ? SNAP_ERROR_NO_SPACE : SNAP_ERROR_IO,
        g_strerror(-error));
    /* What was asked of the header may have happened: nothing is cut then. */
    if (decided && op == MEMORY_FILE_FLUSH) {
        assert_new(victim, after);
        return false;
    }
    assert_untouched(victim, after);
    if (!decided && !(op == MEMORY_FILE_TRUNCATE && nth < 0)) {
        ck_assert_uint_eq(after->len, victim->before->len);
    }
    return false;
}

static void check_failures(const Victim *victim, MemoryFileOp op, int error)
{
    size_t n;

    ck_assert_uint_gt(victim->counts[op], 0);
    for (n = 1; n <= victim->counts[op]; n++) {
        ck_assert_msg(!save_with_failure(victim, op, n, error),
                      "operation %u number %zu may fail", op, n);
    }
    ck_assert(save_with_failure(victim, op, n, error));
    ck_assert(!save_with_failure(victim, op, -1, error));
}

static void check_kind(int shape, MemoryFileOp op)
{
    Victim victim;

    victim_init(&victim, &shapes[shape]);
    check_failures(&victim, op, -EIO);
    check_failures(&victim, op, -ENOSPC);
    victim_clear(&victim);
}

START_TEST(read_fails)
{
    check_kind(_i, MEMORY_FILE_READ);
}
END_TEST

START_TEST(write_fails)
{
    check_kind(_i, MEMORY_FILE_WRITE);
}
END_TEST

START_TEST(flush_fails)
{
    check_kind(_i, MEMORY_FILE_FLUSH);
}
END_TEST

START_TEST(truncate_fails)
{
    check_kind(_i, MEMORY_FILE_TRUNCATE);
}
END_TEST

/* Where a large step does not fit, the small one is tried. */
START_TEST(allocate_fails)
{
    Victim victim;

    victim_init(&victim, &shapes[_i]);
    ck_assert(save_with_failure(&victim, MEMORY_FILE_ALLOCATE, 1, -ENOSPC));
    ck_assert(!save_with_failure(&victim, MEMORY_FILE_ALLOCATE, -1, -ENOSPC));
    ck_assert(!save_with_failure(&victim, MEMORY_FILE_ALLOCATE, -1, -EIO));
    ck_assert(save_with_failure(&victim, MEMORY_FILE_ALLOCATE, -1, -ENOTSUP));
    victim_clear(&victim);
}
END_TEST

/* Giving up goes wrong as well: the image is safe, but longer. */
START_TEST(write_and_truncate_fail)
{
    Victim victim;
    size_t n;

    victim_init(&victim, &shapes[_i]);
    for (n = 1; n <= victim.counts[MEMORY_FILE_WRITE]; n++) {
        g_autoptr(BlockFile) file = qcow2_fixture_file(victim.before);
        g_autoptr(GByteArray) after = NULL;
        Qcow2FixtureSave save = new_save();
        GError *reason = NULL;

        memory_file_fail(file, MEMORY_FILE_WRITE, n, -EIO);
        memory_file_fail(file, MEMORY_FILE_TRUNCATE, -1, -EROFS);
        ck_assert(!qcow2_fixture_save(file, &save, &reason));
        qcow2_fixture_assert_error(&reason, SNAP_ERROR_IO, "cannot ");
        after = qcow2_fixture_content(file);
        assert_untouched(&victim, after);
    }
    victim_clear(&victim);
}
END_TEST

START_TEST(abandoned_save_leaves_no_trace)
{
    Victim victim;
    g_autoptr(BlockFile) file = NULL;
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureSave save = new_save();

    victim_init(&victim, &shapes[_i]);
    file = qcow2_fixture_file(victim.before);
    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    save.abandon = true;
    qcow2_fixture_must_save(file, &save);
    after = qcow2_fixture_content(file);
    ck_assert_uint_eq(after->len, victim.before->len);
    assert_untouched(&victim, after);
    /* The first image has no free run that could have been used meanwhile. */
    if (_i == 0) {
        ck_assert_mem_eq(after->data, victim.before->data, after->len);
    }
    victim_clear(&victim);
}
END_TEST

/* The next save does not stumble over what a failed one has left. */
START_TEST(save_after_a_failed_one)
{
    Victim victim;
    size_t n;

    victim_init(&victim, &shapes[_i]);
    for (n = 1; n <= victim.counts[MEMORY_FILE_WRITE]; n += 2) {
        g_autoptr(BlockFile) file = qcow2_fixture_file(victim.before);
        g_autoptr(GByteArray) after = NULL;
        Qcow2FixtureSave save = new_save();

        memory_file_fail(file, MEMORY_FILE_WRITE, n, -EIO);
        ck_assert(!qcow2_fixture_save(file, &save, NULL));
        memory_file_fail(file, MEMORY_FILE_WRITE, 0, 0);
        qcow2_fixture_must_save(file, &save);
        after = qcow2_fixture_content(file);
        assert_new(&victim, after);
    }
    victim_clear(&victim);
}
END_TEST

START_TEST(load_fails)
{
    Victim victim;
    g_autofree uint8_t *buffer = g_malloc(9000);
    GError *reason = NULL;
    bool loaded = false;
    int n;

    victim_init(&victim, &shapes[_i]);
    for (n = 1; !loaded; n++) {
        g_autoptr(BlockFile) file = qcow2_fixture_file(victim.before);

        memory_file_fail(file, MEMORY_FILE_READ, n, -EIO);
        loaded = qcow2_fixture_load(file, "old", 0, buffer, 9000, &reason);
        if (!loaded) {
            qcow2_fixture_assert_error(&reason, SNAP_ERROR_IO, "cannot read");
        }
    }
    /* Header, first cluster, snapshot table, L1, L2, data. */
    ck_assert_int_ge(n, 6);
    victim_clear(&victim);
}
END_TEST

typedef struct Create {
    BlockFile *file;
    bool created;
    GError *error;
} Create;

static void coroutine_fn create_entry(void *opaque)
{
    Create *create = opaque;

    create->created = qcow2_create(create->file, 1 << 20, 12, &create->error);
}

START_TEST(create_fails)
{
    const struct {
        MemoryFileOp op;
        int error;
        int code;
    } cases[] = {
        { MEMORY_FILE_WRITE, -EIO, SNAP_ERROR_IO },
        { MEMORY_FILE_WRITE, -ENOSPC, SNAP_ERROR_NO_SPACE },
        { MEMORY_FILE_FLUSH, -EIO, SNAP_ERROR_IO },
    };
    g_autoptr(BlockFile) file = memory_file_new();
    Create create = { .file = file };

    memory_file_fail(file, cases[_i].op, 1, cases[_i].error);
    event_loop_run(create_entry, &create);
    ck_assert(!create.created);
    qcow2_fixture_assert_error(&create.error, cases[_i].code, "cannot ");
}
END_TEST

static Suite *errors_suite(void)
{
    Suite *suite = suite_create("qcow2-errors");
    TCase *tcase = tcase_create("qcow2-errors");
    int count = G_N_ELEMENTS(shapes);

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, read_fails, 0, count);
    tcase_add_loop_test(tcase, write_fails, 0, count);
    tcase_add_loop_test(tcase, flush_fails, 0, count);
    tcase_add_loop_test(tcase, truncate_fails, 0, count);
    tcase_add_loop_test(tcase, allocate_fails, 0, count);
    tcase_add_loop_test(tcase, write_and_truncate_fail, 0, count);
    tcase_add_loop_test(tcase, abandoned_save_leaves_no_trace, 0, count);
    tcase_add_loop_test(tcase, save_after_a_failed_one, 0, count);
    tcase_add_loop_test(tcase, load_fails, 0, count);
    tcase_add_loop_test(tcase, create_fails, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(errors_suite());
}
