/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads in parallel: as few requests as the places in the file allow, no more
 * at once than are wanted, and nothing left in flight after an error.
 */
#include <check.h>
#include <errno.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "../../qcow2/read-group.h"

#define MIB        (1024u * 1024)
#define FILE_BYTES (4 * MIB)

typedef struct Piece {
    uint64_t offset; /* in the file */
    size_t at;       /* in memory */
    size_t bytes;
} Piece;

/* A coroutine that reads pieces; others may do so at the same time. */
typedef struct Reads {
    BlockFile *file;
    Qcow2ReadLimit *limit;
    const Piece *pieces;
    unsigned count;
    bool abandon; /* instead of finishing */
    unsigned *running;

    uint8_t *buffer; /* out */
    int error;
    uint64_t error_offset;
    size_t error_at;
    size_t error_bytes;
} Reads;

static BlockFile *new_file(void)
{
    g_autofree uint8_t *content = g_malloc(FILE_BYTES);

    qcow2_fixture_fill(1, 0, content, FILE_BYTES);
    return memory_file_new_from(content, FILE_BYTES);
}

static void coroutine_fn reads_entry(void *opaque)
{
    Reads *reads = opaque;
    Qcow2ReadGroup group = { .file = reads->file, .limit = reads->limit };
    unsigned i;

    for (i = 0; i < reads->count; i++) {
        const Piece *piece = &reads->pieces[i];

        qcow2_read_group_add(&group, piece->offset, reads->buffer + piece->at,
                             piece->bytes);
    }
    if (reads->abandon) {
        qcow2_read_group_abandon(&group);
    } else {
        reads->error = qcow2_read_group_finish(&group);
        ck_assert_int_eq(reads->error, group.error);
    }
    ck_assert_uint_eq(group.in_flight, 0);
    reads->error_offset = group.error_offset;
    reads->error_at = group.error_buffer ? group.error_buffer - reads->buffer
                                         : 0;
    reads->error_bytes = group.error_bytes;
    if (reads->running) {
        (*reads->running)--;
    }
}

/* Does every piece have the bytes of its place in the file? */
static void assert_content(const Reads *reads)
{
    unsigned i;

    for (i = 0; i < reads->count; i++) {
        const Piece *piece = &reads->pieces[i];
        g_autofree uint8_t *expected = g_malloc(piece->bytes + 1);

        qcow2_fixture_fill(1, piece->offset, expected, piece->bytes);
        ck_assert_mem_eq(reads->buffer + piece->at, expected, piece->bytes);
    }
}

/* Returns how many requests it takes to read @pieces, without an error. */
static size_t requests_for(BlockFile *file, const Piece *pieces, unsigned count)
{
    g_autofree uint8_t *buffer = g_malloc(FILE_BYTES);
    Reads reads = {
        .file = file,
        .pieces = pieces,
        .count = count,
        .buffer = buffer,
    };

    memory_file_reset_records(file);
    event_loop_run(reads_entry, &reads);
    ck_assert_int_eq(reads.error, 0);
    assert_content(&reads);
    return memory_file_count(file, MEMORY_FILE_READ);
}

START_TEST(nothing)
{
    const Piece empty = { 5, 5, 0 };
    g_autoptr(BlockFile) file = new_file();

    ck_assert_uint_eq(requests_for(file, NULL, 0), 0);
    ck_assert_uint_eq(requests_for(file, &empty, 1), 0);
}
END_TEST

START_TEST(neighbours_are_one_request)
{
    const Piece pieces[] = {
        { 1000, 0, 100 }, { 1100, 100, 1 }, { 1101, 101, 399 }, { 1500, 500, 9 }
    };
    g_autoptr(BlockFile) file = new_file();

    ck_assert_uint_eq(requests_for(file, pieces, 4), 1);
}
END_TEST

/* Adjacent in the file only, or in memory only, backwards, or overlapping. */
START_TEST(others_are_not)
{
    const Piece pairs[][2] = {
        { { 1000, 0, 100 }, { 1100, 101, 100 } },
        { { 1000, 0, 100 }, { 1101, 100, 100 } },
        { { 1100, 100, 100 }, { 1000, 0, 100 } },
        { { 1000, 0, 100 }, { 1099, 100, 100 } },
        { { 1000, 0, 100 }, { 1000, 100, 100 } },
    };
    g_autoptr(BlockFile) file = new_file();

    ck_assert_uint_eq(requests_for(file, pairs[_i], 2), 2);
    ck_assert_uint_eq(memory_file_most_in_flight(file), 2);
}
END_TEST

/* What is long is cut, in one piece or in several. */
START_TEST(longest_request)
{
    const Piece one = { 100, 0, 2 * MIB + 5 };
    const Piece several[] = { { 100, 0, MIB - 1 },
                              { MIB + 99, MIB - 1, 10 },
                              { MIB + 109, MIB + 9, MIB - 4 } };
    g_autoptr(BlockFile) file = new_file();
    const MemoryFileRecord *records;
    size_t count;
    unsigned i;

    for (i = 0; i < 2; i++) {
        ck_assert_uint_eq(i == 0 ? requests_for(file, &one, 1)
                                 : requests_for(file, several, 3),
                          3);
        ck_assert_uint_eq(memory_file_most_in_flight(file), 3);
        /* The last one, which needs no coroutine, is first. */
        records = memory_file_records(file, &count);
        ck_assert_int_eq(records[0].offset, 100 + 2 * MIB);
        ck_assert_int_eq(records[0].bytes, 5);
        ck_assert_int_eq(records[1].offset, 100);
        ck_assert_int_eq(records[1].bytes, MIB);
        ck_assert_int_eq(records[2].offset, 100 + MIB);
        ck_assert_int_eq(records[2].bytes, MIB);
    }
}
END_TEST

static void scatter(Piece *pieces, unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        pieces[i] = (Piece){ (count - i) * 1000, i * 512, 512 };
    }
}

/*
 * In any order of completion. As long as there are more to come, one coroutine
 * does not read but waits for them.
 */
START_TEST(as_many_at_once_as_wanted)
{
    g_autoptr(BlockFile) file = new_file();
    Piece pieces[500];

    scatter(pieces, 500);
    memory_file_shuffle(file, _i);
    ck_assert_uint_eq(requests_for(file, pieces, 500), 500);
    ck_assert_uint_eq(memory_file_most_in_flight(file),
                      QCOW2_READ_GROUP_DEPTH - 1);
    ck_assert_uint_eq(requests_for(file, pieces, QCOW2_READ_GROUP_DEPTH),
                      QCOW2_READ_GROUP_DEPTH);
    ck_assert_uint_eq(memory_file_most_in_flight(file), QCOW2_READ_GROUP_DEPTH);
}
END_TEST

typedef struct Crowd {
    Reads *reads;
    unsigned count;
    unsigned running;
} Crowd;

static void coroutine_fn crowd_entry(void *opaque)
{
    Crowd *crowd = opaque;
    unsigned i;

    crowd->running = crowd->count;
    for (i = 0; i < crowd->count; i++) {
        crowd->reads[i].running = &crowd->running;
        event_loop_start(reads_entry, &crowd->reads[i]);
    }
    while (crowd->running > 0) {
        event_loop_yield();
    }
}

/* Of five groups together. Each one gets on. */
START_TEST(limit_for_several)
{
    const unsigned most[] = { 1, 2, 7, 40, 100 };
    const unsigned expected[] = { 1, 2, 7, 40, 75 };
    g_autoptr(BlockFile) file = new_file();
    g_autofree uint8_t *buffer = g_malloc(5 * MIB);
    Qcow2ReadLimit limit = { .most = most[_i] };
    Piece pieces[300];
    Reads reads[5];
    Crowd crowd = { .reads = reads, .count = 5 };
    unsigned i;

    scatter(pieces, 300);
    for (i = 0; i < 5; i++) {
        reads[i] = (Reads){
            .file = file,
            .limit = &limit,
            .pieces = pieces,
            .count = 300,
            .buffer = buffer + i * MIB,
        };
    }
    memory_file_shuffle(file, 3);
    event_loop_run(crowd_entry, &crowd);
    for (i = 0; i < 5; i++) {
        ck_assert_int_eq(reads[i].error, 0);
        assert_content(&reads[i]);
    }
    ck_assert_uint_eq(memory_file_most_in_flight(file), expected[_i]);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ), 5 * 300);
    ck_assert_uint_eq(limit.in_flight, 0);
}
END_TEST

/* The first one is told, and no more than were in flight come after it. */
START_TEST(first_error)
{
    const int nth[] = { 1, 5, 16, 17, 50, 100 };
    g_autoptr(BlockFile) file = new_file();
    g_autofree uint8_t *buffer = g_malloc(FILE_BYTES);
    Qcow2ReadLimit limit = { .most = 20 };
    Piece pieces[100];
    Reads reads = {
        .file = file,
        .limit = &limit,
        .pieces = pieces,
        .count = 100,
        .buffer = buffer,
    };

    scatter(pieces, 100);
    memory_file_fail(file, MEMORY_FILE_READ, nth[_i], -EIO);
    event_loop_run(reads_entry, &reads);
    ck_assert_int_eq(reads.error, -EIO);
    ck_assert_uint_eq(reads.error_bytes, 512);
    ck_assert_uint_eq(reads.error_offset, pieces[reads.error_at / 512].offset);
    ck_assert_uint_lt(memory_file_count(file, MEMORY_FILE_READ),
                      nth[_i] + QCOW2_READ_GROUP_DEPTH);
    ck_assert_uint_eq(limit.in_flight, 0);
}
END_TEST

/* One fails while the others wait for their turn. */
START_TEST(error_before_the_turn)
{
    g_autoptr(BlockFile) file = new_file();
    g_autofree uint8_t *buffer = g_malloc(2 * MIB);
    Qcow2ReadLimit limit = { .most = 1 };
    Piece pieces[10];
    Reads reads[2];
    Crowd crowd = { .reads = reads, .count = 2 };
    unsigned i;

    scatter(pieces, 10);
    for (i = 0; i < 2; i++) {
        reads[i] = (Reads){
            .file = file,
            .limit = &limit,
            .pieces = pieces,
            .count = 1 + 9 * i,
            .buffer = buffer + i * MIB,
        };
    }
    memory_file_fail(file, MEMORY_FILE_READ, 2, -EIO);
    event_loop_run(crowd_entry, &crowd);
    ck_assert_int_eq(reads[0].error, 0);
    ck_assert_int_eq(reads[1].error, -EIO);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ), 1);
    ck_assert_uint_eq(limit.in_flight, 0);
}
END_TEST

/* What has begun is waited for, what has not is left. */
START_TEST(abandoned)
{
    g_autoptr(BlockFile) file = new_file();
    g_autofree uint8_t *buffer = g_malloc(FILE_BYTES);
    Piece pieces[5];
    Reads reads = {
        .file = file,
        .pieces = pieces,
        .count = _i,
        .abandon = true,
        .buffer = buffer,
    };

    scatter(pieces, 5);
    event_loop_run(reads_entry, &reads);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ),
                      MAX(_i - 1, 0));
}
END_TEST

static Suite *read_group_suite(void)
{
    Suite *suite = suite_create("qcow2-read-group");
    TCase *tcase = tcase_create("qcow2-read-group");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, nothing);
    tcase_add_test(tcase, neighbours_are_one_request);
    tcase_add_loop_test(tcase, others_are_not, 0, 5);
    tcase_add_test(tcase, longest_request);
    tcase_add_loop_test(tcase, as_many_at_once_as_wanted, 1, 25);
    tcase_add_loop_test(tcase, limit_for_several, 0, 5);
    tcase_add_loop_test(tcase, first_error, 0, 6);
    tcase_add_test(tcase, error_before_the_turn);
    tcase_add_loop_test(tcase, abandoned, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(read_group_suite());
}
