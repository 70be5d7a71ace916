/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which requests a load makes, and when: long ones where the VM state is in
 * one piece, many at once where it is not, and L2 tables before anybody has to
 * wait for them.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

#define SEED 3
#define KIB  1024u
#define MIB  (1024u * 1024)

/* With clusters of 512 bytes: what a table and what a window of them maps. */
#define TABLE_SPAN    (32 * KIB)
#define WINDOW_SPAN   (4 * MIB)
#define WINDOW_TABLES (WINDOW_SPAN / TABLE_SPAN)

static GByteArray *build(unsigned cluster_bits, uint64_t vm_bytes)
{
    Qcow2FixtureOptions options = { .cluster_bits = cluster_bits };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = vm_bytes };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

/*
 * VM state of any size in a small image: the same L2 table, which maps 32 KiB,
 * again and again. *@table is where it lies.
 */
static GByteArray *build_repeated(uint64_t vm_bytes, uint64_t *table)
{
    GByteArray *image = build(9, TABLE_SPAN);
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };
    uint64_t entries = (vm_bytes + TABLE_SPAN - 1) / TABLE_SPAN;
    uint64_t l1 = (image->len + 511) / 512 * 512;
    uint64_t i;

    qcow2_fixture_entry(image, 0, &snapshot);
    ck_assert_uint_eq(snapshot.vm_index, 0);
    *table = qcow2_fixture_peek(image, snapshot.l1_offset, 8);
    g_byte_array_set_size(image, l1 + entries * 8);
    for (i = 0; i < entries; i++) {
        qcow2_fixture_poke(image, l1 + i * 8, 8, *table);
    }
    qcow2_fixture_poke(image, snapshot.at, 8, l1);
    qcow2_fixture_poke(image, snapshot.at + 8, 4, entries);
    qcow2_fixture_poke(image, snapshot.at + 40, 8, vm_bytes);
    return image;
}

/* Holes in that instead: the first window takes one read, the second many. */
static void shorten_first_window(GByteArray *image)
{
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };
    unsigned i;

    qcow2_fixture_entry(image, 0, &snapshot);
    for (i = 1; i < WINDOW_TABLES; i++) {
        qcow2_fixture_poke(image, snapshot.l1_offset + i * 8, 8, 0);
    }
}

typedef struct Reader Reader;

/* What a test does with an open reader. */
typedef void coroutine_fn ReaderFunc(Reader *reader);

struct Reader {
    BlockFile *file;
    Qcow2VmstateReader *vmstate;
    ReaderFunc *func;
    const void *arguments;
    uint64_t table; /* of an image that build_repeated() made */
    uint64_t next;  /* for several coroutines: positions not yet taken... */
    uint64_t end;
    unsigned running; /* ...and how many there are */
};

static void coroutine_fn reader_entry(void *opaque)
{
    Reader *reader = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(reader->file, NULL);

    ck_assert_ptr_nonnull(image);
    reader->vmstate =
        qcow2_vmstate_reader_open(image, qcow2_find_snapshot(image, "s"), NULL);
    ck_assert_ptr_nonnull(reader->vmstate);
    memory_file_reset_records(reader->file);
    reader->func(reader);
    qcow2_vmstate_reader_close(reader->vmstate);
}

/* The records of the file, from the opening of the reader on, stay in @file. */
static void with_reader(BlockFile *file, uint64_t table, ReaderFunc *func,
                        const void *arguments)
{
    Reader reader = {
        .file = file,
        .func = func,
        .arguments = arguments,
        .table = table,
    };

    event_loop_run(reader_entry, &reader);
}

static void coroutine_fn must_read(Reader *reader, uint64_t position,
                                   size_t bytes)
{
    g_autofree uint8_t *expected = g_malloc(bytes);
    g_autofree uint8_t *buffer = g_malloc(bytes);
    g_autoptr(GError) error = NULL;
    size_t done = 0;

    while (reader->table && done < bytes) {
        uint64_t within = (position + done) % TABLE_SPAN;
        size_t piece = MIN(TABLE_SPAN - within, bytes - done);

        qcow2_fixture_fill(SEED, within, expected + done, piece);
        done += piece;
    }
    if (!reader->table) {
        qcow2_fixture_fill(SEED, position, expected, bytes);
    }
    ck_assert_msg(
        qcow2_vmstate_pread(reader->vmstate, position, buffer, bytes, &error),
        "%s", error ? error->message : "");
    ck_assert_mem_eq(buffer, expected, bytes);
}

static void coroutine_fn must_fail(Reader *reader, uint64_t position,
                                   const char *text)
{
    GError *error = NULL;
    uint8_t byte;

    ck_assert(
        !qcow2_vmstate_pread(reader->vmstate, position, &byte, 1, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_IO, text);
}

/* How often that table has been read. */
static size_t table_reads(const Reader *reader)
{
    size_t count;
    const MemoryFileRecord *records = memory_file_records(reader->file, &count);
    size_t reads = 0;
    size_t i;

    for (i = 0; i < count; i++) {
        reads += records[i].offset == (int64_t)reader->table;
    }
    return reads;
}

/* Longer than anything in the background takes. */
static void coroutine_fn settle(void)
{
    unsigned i;

    for (i = 0; i < 2 * WINDOW_TABLES; i++) {
        event_loop_yield();
    }
}

/* One call, of which the number of requests is wanted. */
typedef struct OneRead {
    uint64_t position;
    size_t bytes;
} OneRead;

static void coroutine_fn read_once(Reader *reader)
{
    const OneRead *read = reader->arguments;

    must_read(reader, read->position, read->bytes);
}

/* Also counts one for the L2 tables. */
static void assert_requests(const GByteArray *image, uint64_t position,
                            size_t bytes, size_t requests, unsigned in_flight)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    OneRead read = { position, bytes };

    with_reader(file, 0, read_once, &read);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ), 1 + requests);
    ck_assert_uint_eq(memory_file_most_in_flight(file), in_flight);
}

/* In one piece, whatever the size of the clusters. */
START_TEST(contiguous)
{
    const unsigned cluster_bits[] = { 9, 12, 16, 20, 21 };
    g_autoptr(GByteArray) image = build(cluster_bits[_i], 3 * MIB + 777);

    assert_requests(image, 0, 1, 1, 1);
    assert_requests(image, 0, MIB, 1, 1);
    assert_requests(image, MIB / 2 + 1, MIB, 1, 1);
    assert_requests(image, MIB, 2 * MIB, 2, 2);
    assert_requests(image, 0, 3 * MIB + 777, 4, 4);
}
END_TEST

/* Clusters of VM state in another order of the file, with their content. */
static void reorder(GByteArray *image, unsigned cluster_bits, unsigned clusters,
                    unsigned (*place)(unsigned index, unsigned clusters))
{
    size_t cluster_size = (size_t)1 << cluster_bits;
    uint64_t first =
        qcow2_fixture_peek(image, qcow2_fixture_vmstate_entry_at(image, 0, 0),
                           8) &
        ~(1ULL << 63);
    unsigned i;

    for (i = 0; i < clusters; i++) {
        uint64_t position = (uint64_t)i << cluster_bits;
        uint64_t at = qcow2_fixture_vmstate_entry_at(image, 0, position);
        uint64_t to = first + ((uint64_t)place(i, clusters) << cluster_bits);

        qcow2_fixture_poke(image, at, 8, to | 1ULL << 63);
        qcow2_fixture_fill(SEED, position, image->data + to, cluster_size);
    }
}

static unsigned reversed(unsigned index, unsigned clusters)
{
    return clusters - 1 - index;
}

/* First all even ones, then all odd ones. */
static unsigned interleaved(unsigned index, unsigned clusters)
{
    return index / 2 + index % 2 * (clusters / 2);
}

/* Pairs stay together. */
static unsigned reversed_pairs(unsigned index, unsigned clusters)
{
    return (clusters - 2 - index / 2 * 2) + index % 2;
}

START_TEST(fragmented)
{
    static const struct {
        unsigned cluster_bits;
        unsigned clusters;
        unsigned (*place)(unsigned index, unsigned clusters);
        unsigned together;
    } cases[] = {
        { 16, 16, reversed, 1 },         { 16, 16, interleaved, 1 },
        { 16, 16, reversed_pairs, 2 },   { 9, 2048, reversed, 1 },
        { 9, 2048, interleaved, 1 },     { 9, 2048, reversed_pairs, 2 },
        { 12, 1024, reversed_pairs, 2 }, { 21, 2, reversed, 1 },
    };
    unsigned clusters = cases[_i].clusters;
    size_t bytes = (size_t)clusters << cases[_i].cluster_bits;
    size_t requests = clusters / cases[_i].together;
    g_autoptr(GByteArray) image = build(cases[_i].cluster_bits, bytes);

    reorder(image, cases[_i].cluster_bits, clusters, cases[_i].place);
    qcow2_fixture_assert_sound(image);
    if (cases[_i].cluster_bits == 21) {
        requests *= 2;
    }
    assert_requests(image, 0, bytes, requests,
                    MIN(requests, 16 - (requests > 16)));
}
END_TEST

static void coroutine_fn use_two_windows(Reader *reader)
{
    const MemoryFileRecord *record;
    size_t count;

    must_read(reader, 0, 512);
    settle();
    /* The second window is there, nothing of it has been read. */
    record = memory_file_records(reader->file, &count);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(record[0].bytes, 64 * KIB);
    ck_assert_int_eq(record[1].offset, record[0].offset + 64 * KIB);
    ck_assert_int_eq(record[1].bytes, 64 * KIB);
    ck_assert_int_eq(record[2].bytes, 512);
    memory_file_reset_records(reader->file);
    must_read(reader, WINDOW_SPAN - 512, 1024);
    settle();
    /* One request for the data, and the last window, with two tables. */
    record = memory_file_records(reader->file, &count);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(record[0].bytes, 1024);
    ck_assert_int_eq(record[1].bytes, 2 * 512);
    memory_file_reset_records(reader->file);
    must_read(reader, 2 * WINDOW_SPAN, TABLE_SPAN + 1);
    must_read(reader, 0, MIB);
    settle();
    ck_assert_uint_eq(memory_file_count(reader->file, MEMORY_FILE_READ), 2);
}

/* While a window is used the next one comes, as far as there is VM state. */
START_TEST(tables_come_ahead)
{
    g_autoptr(GByteArray) image = build(9, 2 * WINDOW_SPAN + TABLE_SPAN + 1);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    with_reader(file, 0, use_two_windows, NULL);
}
END_TEST

static void coroutine_fn read_two_windows(Reader *reader)
{
    must_read(reader, 0, 512);
    ck_assert_uint_ge(table_reads(reader), WINDOW_TABLES);
    settle();
    ck_assert_uint_eq(table_reads(reader), 2 * WINDOW_TABLES);
    ck_assert_uint_gt(memory_file_most_in_flight(reader->file), 16);
    ck_assert_uint_le(memory_file_most_in_flight(reader->file), 33);
    must_read(reader, WINDOW_SPAN, 512);
    ck_assert_uint_eq(table_reads(reader), 2 * WINDOW_TABLES);
}

/* Tables that lie apart are read in parallel. */
START_TEST(tables_that_are_not_adjacent)
{
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(2 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    with_reader(file, table, read_two_windows, NULL);
}
END_TEST

static void coroutine_fn stream_entry(void *opaque)
{
    Reader *reader = opaque;

    while (reader->next < reader->end) {
        uint64_t position = reader->next;
        size_t bytes = MIN(MIB, reader->end - position);

        reader->next += bytes;
        must_read(reader, position, bytes);
    }
    reader->running--;
}

static void coroutine_fn stream(Reader *reader)
{
    unsigned readers = *(const unsigned *)reader->arguments;
    unsigned i;

    reader->next = 0;
    reader->end = 20 * WINDOW_SPAN;
    reader->running = readers;
    for (i = 0; i < readers; i++) {
        event_loop_start(stream_entry, reader);
    }
    while (reader->running > 0) {
        event_loop_yield();
    }
    /* Nothing is on its way after the last byte: the lock may go. */
    ck_assert_uint_eq(table_reads(reader), 20 * WINDOW_TABLES);
    settle();
    ck_assert_uint_eq(table_reads(reader), 20 * WINDOW_TABLES);
}

/* However many read, every table is read once. */
START_TEST(stream_reads_each_table_once)
{
    const unsigned readers[] = { 1, 8, 32 };
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(20 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    with_reader(file, table, stream, &readers[_i]);
    ck_assert_uint_le(memory_file_most_in_flight(file), 128);
}
END_TEST

static void coroutine_fn jump(Reader *reader)
{
    unsigned i;

    for (i = 0; i < 100; i++) {
        must_read(reader, 5 * WINDOW_SPAN + i * 1000, 512);
        must_read(reader, 30 * WINDOW_SPAN + i * 1000, 512);
        settle();
        ck_assert_uint_eq(table_reads(reader), 4 * WINDOW_TABLES);
    }
    /* Others come and go, but these are being used. */
    for (i = 31; i < 50; i++) {
        must_read(reader, i * WINDOW_SPAN, 512);
        must_read(reader, 5 * WINDOW_SPAN, 512);
        settle();
    }
    memory_file_reset_records(reader->file);
    must_read(reader, 5 * WINDOW_SPAN, 512);
    settle();
    ck_assert_uint_eq(table_reads(reader), 0);
    must_read(reader, 30 * WINDOW_SPAN, 512);
    settle();
    ck_assert_uint_eq(table_reads(reader), 2 * WINDOW_TABLES);
}

/* Readers in different places do not drive out each other's tables. */
START_TEST(random_access)
{
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(51 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    with_reader(file, table, jump, NULL);
}
END_TEST

static void coroutine_fn fail_ahead(Reader *reader)
{
    memory_file_fail(reader->file, MEMORY_FILE_READ, 2, -EIO);
    must_read(reader, 0, MIB);
    settle();
    /* It is not tried again until somebody needs it. */
    must_read(reader, MIB, MIB);
    settle();
    ck_assert_uint_eq(memory_file_count(reader->file, MEMORY_FILE_READ), 3);
    memory_file_fail(reader->file, MEMORY_FILE_READ, -1, -EIO);
    must_fail(reader, WINDOW_SPAN, "cannot read the L2 table at 0x");
    must_fail(reader, 0, "cannot read 1 bytes of VM state at 0x");
    memory_file_fail(reader->file, MEMORY_FILE_READ, 0, 0);
    must_read(reader, WINDOW_SPAN, MIB);
    must_read(reader, 0, MIB);
}

START_TEST(error_ahead)
{
    g_autoptr(GByteArray) image = build(9, 3 * WINDOW_SPAN);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);

    with_reader(file, 0, fail_ahead, NULL);
}
END_TEST

static void coroutine_fn needy_entry(void *opaque)
{
    Reader *reader = opaque;

    must_read(reader, WINDOW_SPAN, 512);
    reader->running--;
}

/* Two wait for a window, fetched ahead, which then fails: they get it. */
static void coroutine_fn fail_what_is_awaited(Reader *reader)
{
    memory_file_fail(reader->file, MEMORY_FILE_READ, 100, -EIO);
    reader->running = 2;
    must_read(reader, 0, 512);
    ck_assert_uint_lt(table_reads(reader), 50);
    event_loop_start(needy_entry, reader);
    event_loop_start(needy_entry, reader);
    while (reader->running > 0) {
        event_loop_yield();
    }
    /* It was read once in part and once whole. */
    ck_assert_uint_gt(table_reads(reader), 90 + WINDOW_TABLES);
    ck_assert_uint_lt(table_reads(reader), 1 + 2 * WINDOW_TABLES);
}

START_TEST(error_while_waiting)
{
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(2 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = NULL;

    shorten_first_window(image);
    file = qcow2_fixture_file(image);
    with_reader(file, table, fail_what_is_awaited, NULL);
}
END_TEST

static void coroutine_fn read_and_leave(Reader *reader)
{
    must_read(reader, 0, 512);
    ck_assert_uint_lt(table_reads(reader), WINDOW_TABLES);
}

/* Closing waits for it, or the memory file would find a read in flight. */
START_TEST(closed_while_fetching)
{
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(2 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = NULL;

    shorten_first_window(image);
    file = qcow2_fixture_file(image);
    with_reader(file, table, read_and_leave, NULL);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_READ),
                      WINDOW_TABLES + 2);
}
END_TEST

/* A table that is missing is a hole where it is, and nowhere else. */
static void coroutine_fn read_around_hole(Reader *reader)
{
    GError *error = NULL;
    uint8_t byte;

    must_read(reader, 0, 2 * WINDOW_SPAN - TABLE_SPAN);
    must_read(reader, 2 * WINDOW_SPAN, 512);
    ck_assert(!qcow2_vmstate_pread(
        reader->vmstate, 2 * WINDOW_SPAN - TABLE_SPAN + 700, &byte, 1, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED,
                               "a hole at position 8356540 of 12582912");
}

START_TEST(hole_ahead)
{
    uint64_t table;
    g_autoptr(GByteArray) image = build_repeated(3 * WINDOW_SPAN, &table);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };

    qcow2_fixture_entry(image, 0, &snapshot);
    qcow2_fixture_poke(image, snapshot.l1_offset + (2 * WINDOW_TABLES - 1) * 8,
                       8, 0);
    file = qcow2_fixture_file(image);
    with_reader(file, table, read_around_hole, NULL);
}
END_TEST

static void coroutine_fn read_zeros_far_away(Reader *reader)
{
    const uint64_t *table = reader->arguments;
    const uint64_t span = 8192ULL * 2 * MIB;
    const MemoryFileRecord *record;
    uint8_t buffer[9] = "xxxxxxxx";
    size_t count;

    ck_assert(
        qcow2_vmstate_pread(reader->vmstate, span * 31 - 4, buffer, 8, NULL));
    ck_assert_mem_eq(buffer, "\0\0\0\0\0\0\0\0", 9);
    settle();
    record = memory_file_records(reader->file, &count);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(record[0].offset, *table + 30 * 64 * KIB);
    ck_assert_int_eq(record[0].bytes, 64 * KIB);
    ck_assert_int_eq(record[1].offset, *table + 31 * 64 * KIB);
    ck_assert_int_eq(record[1].bytes, 64 * KIB);
}

/* Of an L2 table of 2 MiB only a part is held. */
START_TEST(part_of_a_table)
{
    g_autoptr(GByteArray) image = build(21, MIB);
    g_autoptr(BlockFile) file = NULL;
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };
    uint64_t table;
    unsigned i;

    qcow2_fixture_entry(image, 0, &snapshot);
    table = qcow2_fixture_peek(image, snapshot.l1_offset, 8) & ~(1ULL << 63);
    for (i = 30 * 8192; i < 32 * 8192; i++) {
        qcow2_fixture_poke(image, table + i * 8, 8, 1);
    }
    qcow2_fixture_poke(image, snapshot.at + 40, 8,
                       snapshot.l1_size * (512ULL << 30));
    file = qcow2_fixture_file(image);
    with_reader(file, 0, read_zeros_far_away, &table);
}
END_TEST

static Suite *read_ahead_suite(void)
{
    Suite *suite = suite_create("qcow2-read-ahead");
    TCase *tcase = tcase_create("qcow2-read-ahead");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, contiguous, 0, 5);
    tcase_add_loop_test(tcase, fragmented, 0, 8);
    tcase_add_test(tcase, tables_come_ahead);
    tcase_add_test(tcase, tables_that_are_not_adjacent);
    tcase_add_loop_test(tcase, stream_reads_each_table_once, 0, 3);
    tcase_add_test(tcase, random_access);
    tcase_add_test(tcase, error_ahead);
    tcase_add_test(tcase, error_while_waiting);
    tcase_add_test(tcase, closed_while_fetching);
    tcase_add_test(tcase, hole_ahead);
    tcase_add_test(tcase, part_of_a_table);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(read_ahead_suite());
}
