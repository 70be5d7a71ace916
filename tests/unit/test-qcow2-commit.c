/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What a save does to the file, operation by operation: the promises of
 * transaction.h, counted.
 */
#include <check.h>
#include <stdlib.h>

#include "checked.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"

static const Qcow2FixtureOptions shapes[] = {
    { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
    { .version = 2,
      .cluster_bits = 10,
      .disk_size = 200000,
      .l2 = { "d.c", "dd" } },
    { .cluster_bits = 9,
      .disk_size = 65536,
      .refcount_bits = 64,
      .free_clusters = 200,
      .l2 = { "ddd", "dcZ" } },
    { .cluster_bits = 12, .free_clusters = 16, .disk_size = 1 << 20 },
    { .cluster_bits = 16 },
};

/* A save on top of an earlier one, with all that was done to the file. */
typedef struct Recorded {
    BlockFile *file;
    GByteArray *before;
    GByteArray *after;
    const MemoryFileRecord *records;
    size_t count;
    Qcow2FixtureSave save;
} Recorded;

/* With @space the file promises disk space, in large steps. */
static void record_save(Recorded *recorded, const GByteArray *image, bool space)
{
    Qcow2FixtureSave earlier = { .name = "old", .seed = 1, .bytes = 9000 };

    *recorded = (Recorded){
        .file = qcow2_fixture_file(image),
        .save = { .name = "new",
                  .seed = 2,
                  .bytes = 150001,
                  .piece = 8192,
                  .writers = 4 },
    };
    qcow2_fixture_must_save(recorded->file, &earlier);
    recorded->before = qcow2_fixture_content(recorded->file);
    memory_file_reset_records(recorded->file);
    if (space) {
        memory_file_fail(recorded->file, MEMORY_FILE_ALLOCATE, 0, 0);
    }
    qcow2_fixture_must_save(recorded->file, &recorded->save);
    recorded->after = qcow2_fixture_content(recorded->file);
    recorded->records = memory_file_records(recorded->file, &recorded->count);
    qcow2_fixture_assert_sound(recorded->after);
}

static void record_shape(Recorded *recorded, int index)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[index]);

    record_save(recorded, image, false);
}

static void recorded_clear(Recorded *recorded)
{
    block_file_close(recorded->file);
    g_byte_array_unref(recorded->before);
    g_byte_array_unref(recorded->after);
}

START_TEST(two_flushes_around_the_header)
{
    Recorded recorded;
    size_t count;

    record_shape(&recorded, _i);
    count = recorded.count;
    ck_assert_uint_eq(memory_file_count(recorded.file, MEMORY_FILE_FLUSH), 2);
    ck_assert_int_eq(recorded.records[count - 1].op, MEMORY_FILE_FLUSH);
    ck_assert_int_eq(recorded.records[count - 2].op, MEMORY_FILE_WRITE);
    ck_assert_int_lt(recorded.records[count - 2].offset, 512);
    ck_assert_int_eq(recorded.records[count - 3].op, MEMORY_FILE_FLUSH);
    recorded_clear(&recorded);
}
END_TEST

/* One write goes to something in use, and it lies within one sector. */
START_TEST(nothing_in_use_is_written)
{
    Recorded recorded;
    Qcow2FixtureHeader header;
    size_t in_use = 0;
    size_t i;

    record_shape(&recorded, _i);
    qcow2_fixture_header(recorded.before, &header);
    for (i = 0; i < recorded.count; i++) {
        const MemoryFileRecord *record = &recorded.records[i];
        uint64_t last = (record->offset + record->bytes - 1) /
                        header.cluster_size;
        uint64_t cluster = record->offset / header.cluster_size;
        bool fresh = true;

        if (record->op != MEMORY_FILE_WRITE) {
            continue;
        }
        for (; cluster <= last; cluster++) {
            fresh &= qcow2_fixture_refcount(recorded.before, cluster) == 0;
        }
        if (!fresh) {
            in_use++;
            ck_assert_int_eq(record->offset, 24);
            ck_assert_int_eq(record->bytes, header.version == 2 ? 48 : 72);
        }
    }
    ck_assert_uint_eq(in_use, 1);
    recorded_clear(&recorded);
}
END_TEST

START_TEST(nothing_is_written_twice)
{
    Recorded recorded;
    size_t i;
    size_t j;

    record_shape(&recorded, _i);
    for (i = 0; i < recorded.count; i++) {
        const MemoryFileRecord *a = &recorded.records[i];

        for (j = 0; j < i; j++) {
            const MemoryFileRecord *b = &recorded.records[j];

            if (a->op == MEMORY_FILE_WRITE && b->op == MEMORY_FILE_WRITE) {
                ck_assert(a->offset + a->bytes <= b->offset ||
                          b->offset + b->bytes <= a->offset);
            }
        }
    }
    recorded_clear(&recorded);
}
END_TEST

/*
 * While the stream passes there is nothing but its bytes, in the pieces in
 * which they came as far as free space allows.
 */
START_TEST(only_data_while_the_stream_passes)
{
    Recorded recorded;
    uint64_t written = 0;
    size_t i;

    record_shape(&recorded, _i);
    ck_assert_uint_gt(recorded.save.records_written,
                      recorded.save.records_begun);
    for (i = recorded.save.records_begun; i < recorded.save.records_written;
         i++) {
        const MemoryFileRecord *record = &recorded.records[i];

        if (record->op == MEMORY_FILE_WRITE) {
            written += record->bytes;
        } else {
            ck_assert_int_eq(record->op, MEMORY_FILE_ALLOCATE);
        }
    }
    ck_assert_uint_eq(written, (recorded.save.bytes + 511) / 512 * 512);
    recorded_clear(&recorded);
}
END_TEST

#define PIECES 40

static size_t count_between(const MemoryFileRecord *records, size_t from,
                            size_t to, MemoryFileOp op)
{
    size_t count = 0;

    for (; from < to; from++) {
        count += records[from].op == op;
    }
    return count;
}

/* With large clusters: an L2 table, an L1, the snapshots, the refcounts. */
#define TABLE_CLUSTERS   5
#define METADATA_REQUEST (1024 * 1024)

/*
 * One request for each piece of the stream, whatever the cluster size, and no
 * read; then the tables, in as few requests as they fit into, and the header.
 */
START_TEST(number_of_requests)
{
    const Qcow2FixtureOptions options = { .cluster_bits = _i };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    BlockFile *file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = {
        .name = "new", .bytes = PIECES * 8192, .piece = 8192, .writers = 4
    };
    const MemoryFileRecord *records;
    size_t count;

    memory_file_reset_records(file);
    qcow2_fixture_must_save(file, &save);
    records = memory_file_records(file, &count);
    ck_assert_uint_eq(count_between(records, save.records_begun,
                                    save.records_written, MEMORY_FILE_WRITE),
                      PIECES);
    ck_assert_uint_eq(count_between(records, save.records_begun,
                                    save.records_written, MEMORY_FILE_READ),
                      0);
    ck_assert_uint_eq(
        count_between(records, 0, save.records_begun, MEMORY_FILE_WRITE), 0);
    ck_assert_uint_eq(
        count_between(records, save.records_written, count, MEMORY_FILE_WRITE),
        div_round_up(TABLE_CLUSTERS << _i, METADATA_REQUEST) + 1);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 2);
    block_file_close(file);
}
END_TEST

/* From the beginning of the stream on, all but the header's write. */
START_TEST(space_is_taken_before_it_is_used)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(&shapes[_i]);
    g_autofree bool *taken = NULL; /* sectors */
    Recorded recorded;
    size_t i;

    record_save(&recorded, image, true);
    taken = g_new0(bool, (128 << 20) / 512);
    for (i = 0; i + 2 < recorded.count; i++) {
        const MemoryFileRecord *record = &recorded.records[i];
        uint64_t sector = record->offset / 512;
        uint64_t end = (record->offset + record->bytes + 511) / 512;

        ck_assert_uint_le(end, (128 << 20) / 512);
        for (; sector < end; sector++) {
            if (record->op == MEMORY_FILE_ALLOCATE) {
                taken[sector] = true;
            } else if (record->op == MEMORY_FILE_WRITE &&
                       i >= recorded.save.records_begun) {
                ck_assert_msg(taken[sector], "sector %" PRIu64, sector);
            }
        }
    }
    recorded_clear(&recorded);
}
END_TEST

/*
 * Free space in the middle is used before the file grows, but not so small
 * pieces that they would break up the stream.
 */
START_TEST(free_space_is_taken_again)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 16,
        .disk_size = 1 << 20,
        .free_clusters = _i ? 48 : 15,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Recorded recorded;

    record_save(&recorded, image, false);
    ck_assert_int_eq(recorded.after->len <= recorded.before->len, _i);
    recorded_clear(&recorded);
}
END_TEST

/* Nothing of what the clusters held before comes along. */
START_TEST(last_cluster_is_filled_up_with_zeros)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 16,
        .disk_size = 1 << 20,
        .free_clusters = 40,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    Recorded recorded;
    g_autofree uint8_t *zeros = g_malloc0(65536);
    size_t used;
    uint64_t at;

    record_save(&recorded, image, false);
    used = recorded.save.bytes % 65536;
    at = qcow2_fixture_vmstate_entry_at(recorded.after, 1,
                                        recorded.save.bytes - 1);
    at = qcow2_fixture_peek(recorded.after, at, 8);
    ck_assert_uint_lt(at, qcow2_fixture_first_fresh(image) << 16);
    ck_assert_mem_eq(recorded.after->data + at + used, zeros, 65536 - used);
    recorded_clear(&recorded);
}
END_TEST

/* A header that has something everywhere. */
static GByteArray *build_busy_header(unsigned version)
{
    Qcow2FixtureOptions options = {
        .version = version,
        .cluster_bits = 10,
        .disk_size = 50000,
        .header_length = 120,
        .l2 = { "dd" },
    };
    GByteArray *image = qcow2_fixture_build(&options);
    unsigned at = version == 2 ? 72 : 120;

    if (version == 3) {
        qcow2_fixture_poke(image, 80, 8, 1ULL << 0 | 1ULL << 33);
        qcow2_fixture_poke(image, 88, 8, 1ULL << 0 | 1ULL << 7);
        qcow2_fixture_poke(image, 112, 8, 0x1122334455667788);
    }
    /* An extension that nobody knows, and a backing file. */
    qcow2_fixture_poke(image, at, 4, 0x12345678);
    qcow2_fixture_poke(image, at + 4, 4, 5);
    memcpy(image->data + at + 8, "stuff", 5);
    qcow2_fixture_poke(image, 8, 8, 1000);
    qcow2_fixture_poke(image, 16, 4, 8);
    memcpy(image->data + 1000, "base.raw", 8);
    return image;
}

START_TEST(header_keeps_what_a_save_does_not_change)
{
    unsigned version = _i;
    g_autoptr(GByteArray) image = build_busy_header(version);
    Recorded recorded;
    unsigned i;

    record_save(&recorded, image, false);
    for (i = 0; i < 1024; i++) {
        bool l1_offset = i >= 40 && i < 48;
        bool refcounts_and_snapshots = i >= 48 && i < 72;
        bool autoclear = version == 3 && i >= 88 && i < 96;

        if (!l1_offset && !refcounts_and_snapshots && !autoclear) {
            ck_assert_msg(recorded.after->data[i] == image->data[i],
                          "byte %u has changed", i);
        }
    }
    if (version == 3) {
        ck_assert_uint_eq(qcow2_fixture_peek(recorded.after, 88, 8), 1);
    }
    ck_assert_uint_eq(qcow2_fixture_peek(recorded.after, 60, 4), 2);
    recorded_clear(&recorded);
}
END_TEST

/* With nothing to share, the active L1 stays where it is. */
START_TEST(empty_disk_keeps_its_l1)
{
    Recorded recorded;

    record_shape(&recorded, 3);
    ck_assert_uint_eq(qcow2_fixture_peek(recorded.after, 40, 8),
                      qcow2_fixture_peek(recorded.before, 40, 8));
    recorded_clear(&recorded);
}
END_TEST

/* The old snapshots' data, L2 tables and L1 tables are where they were. */
START_TEST(old_snapshots_stay_where_they_are)
{
    Recorded recorded;
    g_auto(Qcow2FixtureEntry) old = { 0 };
    g_auto(Qcow2FixtureEntry) kept = { 0 };
    uint64_t position;

    record_shape(&recorded, _i);
    qcow2_fixture_entry(recorded.before, 0, &old);
    qcow2_fixture_entry(recorded.after, 0, &kept);
    ck_assert_uint_eq(old.l1_offset, kept.l1_offset);
    ck_assert_mem_eq(recorded.before->data + old.l1_offset,
                     recorded.after->data + kept.l1_offset, old.l1_size * 8);
    for (position = 0; position < old.vm_state_size; position += 512) {
        ck_assert_uint_eq(
            qcow2_fixture_vmstate_entry_at(recorded.before, 0, position),
            qcow2_fixture_vmstate_entry_at(recorded.after, 0, position));
    }
    recorded_clear(&recorded);
}
END_TEST

static Suite *commit_suite(void)
{
    Suite *suite = suite_create("qcow2-commit");
    TCase *tcase = tcase_create("qcow2-commit");
    int count = G_N_ELEMENTS(shapes);

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, two_flushes_around_the_header, 0, count);
    tcase_add_loop_test(tcase, nothing_in_use_is_written, 0, count);
    tcase_add_loop_test(tcase, nothing_is_written_twice, 0, count);
    tcase_add_loop_test(tcase, number_of_requests, 9, 20);
    tcase_add_loop_test(tcase, only_data_while_the_stream_passes, 0, count);
    tcase_add_loop_test(tcase, space_is_taken_before_it_is_used, 0, count);
    tcase_add_loop_test(tcase, free_space_is_taken_again, 0, 2);
    tcase_add_test(tcase, last_cluster_is_filled_up_with_zeros);
    tcase_add_loop_test(tcase, header_keeps_what_a_save_does_not_change, 2, 4);
    tcase_add_test(tcase, empty_disk_keeps_its_l1);
    tcase_add_loop_test(tcase, old_snapshots_stay_where_they_are, 0, count);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(commit_suite());
}
