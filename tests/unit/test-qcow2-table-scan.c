/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reading many tables: all of them, in order, few requests, several at a time,
 * and an error that comes where the table is.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/table-scan.h"

/* Larger than what a scan keeps in memory. */
#define FILE_BYTES (20u * 1024 * 1024)
#define KIB        1024u

typedef struct Scan {
    BlockFile *file;
    GArray *offsets; /* of uint64_t */
    size_t table_bytes;
    size_t stop_after; /* tables; 0: read them all */

    size_t tables; /* out: how many were right */
    GError *error;
} Scan;

static BlockFile *make_file(size_t bytes)
{
    g_autofree uint8_t *content = g_malloc(bytes);

    qcow2_fixture_fill(1, 0, content, bytes);
    return memory_file_new_from(content, bytes);
}

static void check_table(const Scan *scan, uint64_t offset, const void *table)
{
    g_autofree uint8_t *expected = g_malloc(scan->table_bytes);

    qcow2_fixture_fill(1, offset, expected, scan->table_bytes);
    ck_assert_mem_eq(table, expected, scan->table_bytes);
}

static void coroutine_fn scan_entry(void *opaque)
{
    Scan *scan = opaque;
    Qcow2TableScan *tables = qcow2_table_scan_begin(
        scan->file, "table", (uint64_t *)scan->offsets->data,
        scan->offsets->len, scan->table_bytes, &scan->error);
    guint i;

    for (i = 0; i < scan->offsets->len; i++) {
        uint64_t offset = g_array_index(scan->offsets, uint64_t, i);
        uint8_t *table;

        if (offset == 0) {
            continue;
        }
        table = qcow2_table_scan_next(tables, &scan->error);
        if (!table) {
            break;
        }
        check_table(scan, offset, table);
        /* It is the caller's to change. */
        memset(table, 0xaa, scan->table_bytes);
        if (++scan->tables == scan->stop_after) {
            break;
        }
    }
    qcow2_table_scan_end(tables);
}

static void scan_init(Scan *scan, size_t table_bytes, size_t file_bytes)
{
    *scan = (Scan){
        .file = make_file(file_bytes),
        .offsets = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
        .table_bytes = table_bytes,
    };
}

static void add(Scan *scan, uint64_t offset)
{
    g_array_append_val(scan->offsets, offset);
}

static void add_run(Scan *scan, uint64_t offset, unsigned tables)
{
    for (; tables > 0; tables--, offset += scan->table_bytes) {
        add(scan, offset);
    }
}

static void scan_clear(Scan *scan)
{
    block_file_close(scan->file);
    g_array_unref(scan->offsets);
}

static const size_t sizes[] = { 512, 4 * KIB, 64 * KIB, 1024 * KIB,
                                2048 * KIB };

/* Anywhere, some twice, some absent, some neighbours; out of order as well. */
START_TEST(tables_come_in_order)
{
    GRand *rand = g_rand_new_with_seed(_i);
    size_t bytes = sizes[_i];
    unsigned steps = MIN(300, 32 * 1024 * KIB / bytes);
    Scan scan;
    unsigned present = 0;
    unsigned i;

    scan_init(&scan, bytes, FILE_BYTES);
    memory_file_shuffle(scan.file, 5);
    for (i = 0; i < steps; i++) {
        uint64_t at = g_rand_int_range(rand, 0, FILE_BYTES / bytes) * bytes;
        unsigned run = g_rand_int_range(rand, 1, 6);

        run = MIN(run, (FILE_BYTES - at) / bytes);
        if (i % 3 == 0 || at == 0) {
            add(&scan, 0);
        } else {
            add_run(&scan, at, run);
            present += run;
        }
    }
    event_loop_run(scan_entry, &scan);
    ck_assert_ptr_null(scan.error);
    ck_assert_uint_eq(scan.tables, present);
    scan_clear(&scan);
    g_rand_free(rand);
}
END_TEST

/* Requests of 1 MiB, or of one table if that is larger. */
START_TEST(neighbours_are_read_at_once)
{
    size_t bytes = sizes[_i];
    size_t request = MAX(bytes, 1024 * KIB);
    Scan scan;

    scan_init(&scan, bytes, FILE_BYTES);
    add(&scan, 0);
    add_run(&scan, 2048 * KIB, 8 * 1024 * KIB / bytes);
    add(&scan, 0);
    add_run(&scan, 10 * 1024 * KIB, 8 * 1024 * KIB / bytes);
    event_loop_run(scan_entry, &scan);
    ck_assert_uint_eq(scan.tables, 16 * 1024 * KIB / bytes);
    ck_assert_uint_eq(memory_file_count(scan.file, MEMORY_FILE_READ),
                      16 * 1024 * KIB / request);
    scan_clear(&scan);
}
END_TEST

/* A memory file that completes eight requests together gets eight together. */
START_TEST(reads_run_ahead)
{
    Scan scan;
    size_t count;
    const MemoryFileRecord *records;
    unsigned i;

    scan_init(&scan, 64 * KIB, FILE_BYTES);
    memory_file_shuffle(scan.file, 8);
    for (i = 0; i < 16; i++) {
        add(&scan, (1 + 2 * i) * 64 * KIB);
    }
    event_loop_run(scan_entry, &scan);
    records = memory_file_records(scan.file, &count);
    ck_assert_uint_eq(count, 16);
    /* Newest first, so the first eight were there before any was done. */
    ck_assert_int_eq(records[0].offset, (1 + 2 * 7) * 64 * KIB);
    ck_assert_int_eq(records[7].offset, 64 * KIB);
    scan_clear(&scan);
}
END_TEST

/* What is read ahead of a caller who stops is bounded. */
START_TEST(memory_is_bounded)
{
    size_t bytes = sizes[_i];
    Scan scan;
    size_t count;
    const MemoryFileRecord *records;
    uint64_t ahead = 0;
    size_t i;

    scan_init(&scan, bytes, FILE_BYTES);
    add_run(&scan, 2048 * KIB, 16 * 1024 * KIB / bytes);
    scan.stop_after = 1;
    event_loop_run(scan_entry, &scan);
    records = memory_file_records(scan.file, &count);
    for (i = 0; i < count; i++) {
        ahead += records[i].bytes;
    }
    ck_assert_uint_le(ahead, 8 * 1024 * KIB);
    ck_assert_uint_ge(ahead, 4 * 1024 * KIB);
    ck_assert_uint_eq(scan.tables, 1);
    scan_clear(&scan);
}
END_TEST

/* All before the table that cannot be read are delivered. */
START_TEST(read_fails)
{
    Scan scan;
    unsigned i;

    scan_init(&scan, 4 * KIB, 1024 * KIB);
    for (i = 0; i < 100; i++) {
        add(&scan, (1 + 2 * i) * 4 * KIB);
    }
    memory_file_fail(scan.file, MEMORY_FILE_READ, _i, -EIO);
    event_loop_run(scan_entry, &scan);
    ck_assert_uint_eq(scan.tables, _i - 1);
    qcow2_fixture_assert_error(&scan.error, SNAP_ERROR_IO,
                               "cannot read the table at 0x");
    scan_clear(&scan);
}
END_TEST

START_TEST(nothing_to_read)
{
    Scan scan;

    scan_init(&scan, 64 * KIB, FILE_BYTES);
    event_loop_run(scan_entry, &scan);
    add(&scan, 0);
    add(&scan, 0);
    event_loop_run(scan_entry, &scan);
    ck_assert_ptr_null(scan.error);
    ck_assert_uint_eq(memory_file_count(scan.file, MEMORY_FILE_READ), 0);
    scan_clear(&scan);
}
END_TEST

/* So often that it would take for ever. */
START_TEST(same_table_again_and_again)
{
    Scan scan;
    unsigned i;

    scan_init(&scan, 64 * KIB, FILE_BYTES);
    for (i = 0; i < 2 * FILE_BYTES / (64 * KIB) + 1024; i++) {
        add(&scan, 64 * KIB);
    }
    scan.stop_after = 1;
    event_loop_run(scan_entry, &scan);
    ck_assert_ptr_null(scan.error);
    ck_assert_uint_eq(scan.tables, 1);
    add(&scan, 64 * KIB);
    ck_assert_ptr_null(qcow2_table_scan_begin(
        scan.file, "table", (uint64_t *)scan.offsets->data, scan.offsets->len,
        scan.table_bytes, &scan.error));
    qcow2_fixture_assert_error(&scan.error, SNAP_ERROR_DAMAGED,
                               "the tables overlap");
    scan_clear(&scan);
}
END_TEST

static Suite *table_scan_suite(void)
{
    Suite *suite = suite_create("qcow2-table-scan");
    TCase *tcase = tcase_create("qcow2-table-scan");
    int count = G_N_ELEMENTS(sizes);

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, tables_come_in_order, 0, count);
    tcase_add_loop_test(tcase, neighbours_are_read_at_once, 0, count);
    tcase_add_test(tcase, reads_run_ahead);
    tcase_add_loop_test(tcase, memory_is_bounded, 1, count);
    tcase_add_loop_test(tcase, read_fails, 1, 101);
    tcase_add_test(tcase, nothing_to_read);
    tcase_add_test(tcase, same_table_again_and_again);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(table_scan_suite());
}
