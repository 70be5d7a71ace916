/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Deleting on a disk with no room at all, which is when it is needed most. The
 * snapshot is gone or there, all others are what they were, and whatever
 * happens in between leaves nothing worse than leaks.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "power-cut.h"
#include "qcow2-check-run.h"
#include "run-suite.h"
#include "snap-error.h"

#define SUBSETS 8

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 10,
      .disk_size = 200000,
      .l2 = { "d.c", "dd" } },
    { .cluster_bits = 12, .disk_size = 100000, .l2 = { "dcZ" } },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))

/* In the order of the table; the disk-only one has no data of its own. */
static const char *const names[] = { "first", "second", "disk", "last" };

/* Loop tests run over all shapes, and all snapshots with VM state. */
#define CASES      (SHAPES * 3)
#define NAME_OF(i) (names[(i) % 3 == 2 ? 3 : (i) % 3])

static void save(BlockFile *file, const char *name, uint64_t seed,
                 uint64_t bytes)
{
    Qcow2FixtureSave options = { .name = name, .seed = seed, .bytes = bytes };

    qcow2_fixture_must_save(file, &options);
}

/* An image with all four. */
static GByteArray *build(int shape)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[shape]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    save(file, names[0], 1, 100000);
    save(file, names[1], 2, 120001);
    qcow2_fixture_must_create(file, names[2], 3);
    save(file, names[3], 4, 90000);
    return qcow2_fixture_content(file);
}

/* A file of the image on a disk that has not one byte more. */
static BlockFile *full_disk(const GByteArray *image)
{
    BlockFile *file = qcow2_fixture_file(image);

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    memory_file_limit(file, image->len);
    return file;
}

/* A deletion on a full disk and what users see before, on the way and after. */
typedef struct Cut {
    GByteArray *before;
    BlockFile *file;
    char *old_text;
    char *moved_text; /* the snapshot stands behind the others */
    char *new_text;
    const MemoryFileRecord *records;
    size_t count;
} Cut;

/* What a snapshot's line says, with the newline. */
static char *line_of(const char *text, const char *name)
{
    g_autofree char *quoted = g_strdup_printf(" '%s' ", name);
    const char *at = strstr(text, quoted);
    const char *start = g_strrstr_len(text, at - text, "\n") + 1;

    return g_strndup(start, strchr(at, '\n') + 1 - start);
}

static void cut_init(Cut *cut, int number)
{
    const char *name = NAME_OF(number);
    g_autofree char *line = NULL;

    *cut = (Cut){ .before = build(number / 3) };
    cut->file = full_disk(cut->before);
    cut->old_text = qcow2_fixture_describe(cut->before);
    cut->new_text = qcow2_fixture_without(cut->old_text, name);
    line = line_of(cut->old_text, name);
    cut->moved_text = g_strconcat(cut->new_text, line, NULL);
}

/* With the records of a deletion that succeeds. */
static void cut_run(Cut *cut, int number)
{
    cut_init(cut, number);
    memory_file_shuffle(cut->file, 3);
    qcow2_fixture_must_delete(cut->file, NAME_OF(number));
    cut->records = memory_file_records(cut->file, &cut->count);
}

static void cut_clear(Cut *cut)
{
    block_file_close(cut->file);
    g_byte_array_unref(cut->before);
    g_free(cut->old_text);
    g_free(cut->moved_text);
    g_free(cut->new_text);
}

/* Returns whether the snapshot is gone. */
static bool assert_old_or_new(const Cut *cut, const GByteArray *image)
{
    g_autofree char *text = qcow2_fixture_describe(image);

    qcow2_fixture_assert_only_leaks(image);
    if (!strcmp(text, cut->new_text)) {
        return true;
    }
    if (strcmp(text, cut->moved_text) != 0) {
        ck_assert_str_eq(text, cut->old_text);
    }
    qcow2_fixture_assert_sound(image);
    return false;
}

START_TEST(deletes_without_room)
{
    Cut cut;
    g_autoptr(GByteArray) after = NULL;

    cut_run(&cut, _i);
    after = qcow2_fixture_content(cut.file);
    ck_assert(assert_old_or_new(&cut, after));
    qcow2_fixture_assert_sound(after);
    ck_assert_uint_le(after->len, cut.before->len);
    ck_assert_int_eq(qcow2_fixture_qemu_img_check(after), 0);
    cut_clear(&cut);
}
END_TEST

/* With room it is done as ever: by one write of the header. */
START_TEST(room_makes_it_one_step)
{
    Cut cut;
    size_t i;
    unsigned headers = 0;

    cut_init(&cut, _i);
    memory_file_limit(cut.file, 0);
    qcow2_fixture_must_delete(cut.file, NAME_OF(_i));
    cut.records = memory_file_records(cut.file, &cut.count);
    for (i = 0; i < cut.count; i++) {
        headers += cut.records[i].op == MEMORY_FILE_WRITE &&
                   cut.records[i].offset < 512;
    }
    ck_assert_uint_eq(headers, 1);
    cut_clear(&cut);
}
END_TEST

START_TEST(cut_after_every_operation)
{
    Cut cut;
    size_t end;
    bool was_gone = false;

    cut_run(&cut, _i);
    for (end = 0; end <= cut.count; end++) {
        g_autoptr(GByteArray) image = NULL;
        bool gone;

        if (end > 0 && cut.records[end - 1].op == MEMORY_FILE_READ) {
            continue;
        }
        image = memory_file_replay(cut.before->data, cut.before->len,
                                   cut.records, end);
        gone = assert_old_or_new(&cut, image);
        ck_assert(gone || !was_gone);
        was_gone = gone;
    }
    ck_assert(was_gone);
    cut_clear(&cut);
}
END_TEST

/* QEMU, and we, find leaks at the most; they can be repaired. */
static void assert_repairable(const GByteArray *image)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };
    g_autofree char *text = qcow2_fixture_describe(image);
    g_autoptr(GByteArray) repaired = NULL;
    g_autofree char *repaired_text = NULL;
    int status = qcow2_fixture_qemu_img_check(image);

    qcow2_check_run(file, QCOW2_REPAIR_LEAKS, &run);
    ck_assert(run.done);
    ck_assert_int_eq(status, run.result.leaks_fixed ? 3 : 0);
    repaired = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(repaired);
    repaired_text = qcow2_fixture_describe(repaired);
    ck_assert_str_eq(repaired_text, text);
}

START_TEST(cut_leaves_any_part_of_an_interval)
{
    Cut cut;
    GRand *rand = g_rand_new_with_seed(4711 + _i);
    size_t start = 0;
    size_t end;
    unsigned i;

    cut_run(&cut, _i);
    for (end = 1; end <= cut.count; end++) {
        if (end < cut.count && cut.records[end - 1].op != MEMORY_FILE_FLUSH) {
            continue;
        }
        for (i = 0; i < power_cut_rounds(SUBSETS); i++) {
            g_autoptr(GByteArray) image =
                power_cut_at_random(cut.before, cut.records, start, end, rand);

            if (assert_old_or_new(&cut, image) && i == 0) {
                assert_repairable(image);
            }
        }
        start = end;
    }
    g_rand_free(rand);
    cut_clear(&cut);
}
END_TEST

/* Returns whether it succeeded all the same. */
static bool delete_with_failure(const Cut *cut, const char *name,
                                MemoryFileOp op, int nth, int error)
{
    g_autoptr(BlockFile) file = full_disk(cut->before);
    g_autoptr(GByteArray) after = NULL;
    g_autoptr(GError) reason = NULL;
    bool deleted;
    bool gone;

    memory_file_fail(file, op, nth, error);
    deleted = qcow2_fixture_delete(file, name, &reason);
    after = qcow2_fixture_content(file);
    gone = assert_old_or_new(cut, after);
    ck_assert_int_eq(deleted, reason == NULL);
    if (deleted) {
        ck_assert(gone);
        qcow2_fixture_assert_sound(after);
    } else {
        ck_assert_msg(!gone || strstr(reason->message, "is deleted") ||
                          strstr(reason->message, "decides whether"),
                      "%s", reason->message);
    }
    return deleted;
}

START_TEST(every_operation_may_fail)
{
    static const int errors[] = { -EIO, -ENOSPC };
    static const MemoryFileOp ops[] = { MEMORY_FILE_READ, MEMORY_FILE_WRITE,
                                        MEMORY_FILE_FLUSH };
    Cut cut;
    unsigned i;

    cut_init(&cut, _i);
    for (i = 0; i < G_N_ELEMENTS(ops) * G_N_ELEMENTS(errors); i++) {
        unsigned succeeded = 0;
        int nth;

        /* One that fails of the first attempt may go well in the second. */
        for (nth = 1; succeeded < 3; nth++) {
            succeeded += delete_with_failure(&cut, NAME_OF(_i), ops[i / 2], nth,
                                             errors[i % 2]);
        }
        ck_assert_int_gt(nth, 4);
    }
    cut_clear(&cut);
}
END_TEST

static bool overlap(const MemoryFileRecord *one, const MemoryFileRecord *other)
{
    return one->offset < other->offset + other->bytes &&
           other->offset < one->offset + one->bytes;
}

/*
 * What only the snapshot used is given back before the new tables are written,
 * which do not go where somebody else may be by then.
 */
static void assert_gives_back_early(const MemoryFileRecord *records,
                                    size_t count)
{
    bool early = false;
    size_t i;
    size_t j;

    for (i = 0; i < count; i++) {
        for (j = 0; records[i].op == MEMORY_FILE_WRITE && j < i; j++) {
            if (records[j].op == MEMORY_FILE_DISCARD) {
                ck_assert(!overlap(&records[j], &records[i]));
                early = true;
            }
        }
    }
    ck_assert(early);
}

START_TEST(space_is_given_back_early)
{
    Cut cut;

    cut_run(&cut, _i);
    assert_gives_back_early(cut.records, cut.count);
    cut_clear(&cut);
}
END_TEST

START_TEST(space_is_kept_if_wanted)
{
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_DELETE,
        .name = NAME_OF(_i),
        .keeps_freed = true,
    };
    Cut cut;

    cut_init(&cut, _i);
    ck_assert(qcow2_fixture_change(cut.file, &change, NULL));
    ck_assert_uint_eq(memory_file_count(cut.file, MEMORY_FILE_DISCARD), 0);
    cut_clear(&cut);
}
END_TEST

/*
 * There are free clusters, but no room on the disk for what is written to them:
 * only what is in use has its room for sure.
 */
START_TEST(free_clusters_have_no_room)
{
    g_autoptr(GByteArray) small = build(_i);
    g_autoptr(GByteArray) image = NULL;
    g_autoptr(BlockFile) file = qcow2_fixture_file(small);
    Qcow2FixtureHeader header;
    const MemoryFileRecord *records;
    size_t count;
    size_t i;

    save(file, "gap", 5, 400000);
    save(file, "end", 6, 90000);
    qcow2_fixture_must_delete(file, "gap");
    image = qcow2_fixture_content(file);
    qcow2_fixture_header(image, &header);
    block_file_close(g_steal_pointer(&file));
    file = full_disk(image);
    memory_file_fail(file, MEMORY_FILE_WRITE, 1, -ENOSPC);
    qcow2_fixture_must_delete(file, "end");
    records = memory_file_records(file, &count);
    /* The first one is that which failed. */
    for (i = 0; records[i].op != MEMORY_FILE_WRITE; i++) {
    }
    for (i++; i < count; i++) {
        uint64_t cluster = records[i].offset / header.cluster_size;

        ck_assert(records[i].op != MEMORY_FILE_WRITE ||
                  qcow2_fixture_refcount(image, cluster) > 0);
    }
}
END_TEST

static void assert_refused(const GByteArray *image, const char *name,
                           const char *text)
{
    g_autoptr(BlockFile) file = full_disk(image);
    g_autoptr(GByteArray) after = NULL;
    GError *error = NULL;

    ck_assert(!qcow2_fixture_delete(file, name, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, text);
    after = qcow2_fixture_content(file);
    ck_assert_uint_eq(after->len, image->len);
    ck_assert_mem_eq(after->data, image->data, image->len);
}

START_TEST(own_data_must_have_room)
{
    g_autoptr(GByteArray) image = build(_i);

    assert_refused(image, "disk", "the snapshot's own data has no ");
}
END_TEST

/* A disk may say only when it is flushed that it is full, and then for ever. */
START_TEST(flush_must_be_possible)
{
    Cut cut;
    g_autoptr(GByteArray) after = NULL;
    GError *error = NULL;

    cut_init(&cut, _i);
    memory_file_limit(cut.file, 0);
    memory_file_fail(cut.file, MEMORY_FILE_FLUSH, -1, -ENOSPC);
    ck_assert(!qcow2_fixture_delete(cut.file, NAME_OF(_i), &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE,
                               "cannot make anything stable");
    after = qcow2_fixture_content(cut.file);
    ck_assert(!assert_old_or_new(&cut, after));
    cut_clear(&cut);
}
END_TEST

/* What cannot be taken off by writing one sector stays. */
START_TEST(only_the_last_of_many)
{
    g_autoptr(GByteArray) image = build(_i);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) many = NULL;
    unsigned i;

    for (i = 0; i < 6; i++) {
        g_autofree char *name = g_strdup_printf("more-%u", i);

        save(file, name, 10 + i, i == 5 ? 90000 : 1000);
    }
    many = qcow2_fixture_content(file);
    assert_refused(many, "first", "one of the last snapshots");
    block_file_close(g_steal_pointer(&file));
    file = full_disk(many);
    qcow2_fixture_must_delete(file, "more-5");
}
END_TEST

/* A device is full when the image reaches its end. */
START_TEST(device_that_is_full)
{
    Cut cut;
    g_autoptr(GByteArray) after = NULL;

    cut_init(&cut, _i);
    cut.file->fixed_size = true;
    qcow2_fixture_must_delete(cut.file, NAME_OF(_i));
    after = qcow2_fixture_content(cut.file);
    ck_assert(assert_old_or_new(&cut, after));
    qcow2_fixture_assert_sound(after);
    cut_clear(&cut);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-full-disk");
    TCase *tests = tcase_create("full-disk");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, deletes_without_room, 0, CASES);
    tcase_add_loop_test(tests, room_makes_it_one_step, 0, CASES);
    tcase_add_loop_test(tests, cut_after_every_operation, 0, CASES);
    tcase_add_loop_test(tests, cut_leaves_any_part_of_an_interval, 0, CASES);
    tcase_add_loop_test(tests, every_operation_may_fail, 0, CASES);
    tcase_add_loop_test(tests, space_is_given_back_early, 0, CASES);
    tcase_add_loop_test(tests, space_is_kept_if_wanted, 0, CASES);
    tcase_add_loop_test(tests, free_clusters_have_no_room, 0, SHAPES);
    tcase_add_loop_test(tests, own_data_must_have_room, 0, SHAPES);
    tcase_add_loop_test(tests, flush_must_be_possible, 0, CASES);
    tcase_add_loop_test(tests, only_the_last_of_many, 0, SHAPES);
    tcase_add_loop_test(tests, device_that_is_full, 0, CASES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
