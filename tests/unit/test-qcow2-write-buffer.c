/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Gathering small writes: every byte gets where it belongs, in large requests,
 * several at a time, and an error is not forgotten.
 */
#include <check.h>
#include <errno.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/write-buffer.h"

#define MIB (1024u * 1024)

typedef struct Piece {
    uint64_t offset;
    size_t bytes;
    bool zeros;
} Piece;

typedef struct Writes {
    BlockFile *file;
    const Piece *pieces;
    unsigned count;
    bool abandon; /* free without a flush */

    unsigned put; /* out: how many without an error */
    bool flushed;
    GError *error;
} Writes;

static void coroutine_fn write_entry(void *opaque)
{
    Writes *writes = opaque;
    Qcow2WriteBuffer *buffer =
        qcow2_write_buffer_new(writes->file, &writes->error);
    unsigned i;

    for (i = 0; i < writes->count && !writes->error; i++) {
        const Piece *piece = &writes->pieces[i];
        g_autofree uint8_t *data = g_malloc(piece->bytes + 1);

        qcow2_fixture_fill(2, piece->offset, data, piece->bytes);
        writes->put += qcow2_write_buffer_put(buffer, piece->offset,
                                              piece->zeros ? NULL : data,
                                              piece->bytes, &writes->error);
    }
    if (!writes->abandon && !writes->error) {
        writes->flushed = qcow2_write_buffer_flush(buffer, &writes->error);
    }
    qcow2_write_buffer_free(buffer);
}

static void assert_written(BlockFile *file, const Piece *piece)
{
    g_autofree uint8_t *expected = g_malloc0(piece->bytes + 1);
    size_t bytes;
    const uint8_t *content = memory_file_content(file, &bytes);

    if (!piece->zeros) {
        qcow2_fixture_fill(2, piece->offset, expected, piece->bytes);
    }
    ck_assert_uint_ge(bytes, piece->offset + piece->bytes);
    ck_assert_mem_eq(content + piece->offset, expected, piece->bytes);
}

static const Piece pieces[] = {
    { 512, 8, false },       { 520, 100, false },
    { 620, 5000, true },     { 5620, 3 * MIB, false },
    { 10 * MIB, 1, false },  { 10 * MIB + 1, MIB, false },
    { 5 * MIB, 700, true },  { 5 * MIB + 700, 0, false },
    { 6 * MIB, 4096, false }
};

START_TEST(pieces_get_where_they_belong)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Writes writes = {
        .file = file,
        .pieces = pieces,
        .count = G_N_ELEMENTS(pieces),
    };
    unsigned i;

    memory_file_shuffle(file, 3);
    event_loop_run(write_entry, &writes);
    ck_assert_ptr_null(writes.error);
    ck_assert(writes.flushed);
    for (i = 0; i < writes.count; i++) {
        assert_written(file, &pieces[i]);
    }
}
END_TEST

/* One table after the other becomes requests of 1 MiB, four together. */
START_TEST(neighbours_are_written_at_once)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Piece tables[256];
    Writes writes = { .file = file, .pieces = tables, .count = 256 };
    const MemoryFileRecord *records;
    size_t count;
    unsigned i;

    for (i = 0; i < 256; i++) {
        tables[i] = (Piece){ .offset = i * 32768, .bytes = 32768 };
    }
    memory_file_shuffle(file, 4);
    event_loop_run(write_entry, &writes);
    ck_assert(writes.flushed);
    records = memory_file_records(file, &count);
    ck_assert_uint_eq(count, 8);
    /* The newest of the first four is done first. */
    ck_assert_int_eq(records[0].offset, 3 * MIB);
    ck_assert_int_eq(records[0].bytes, MIB);
}
END_TEST

/* Whichever write fails, the flush at the end says so if nobody else has. */
START_TEST(write_fails)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Writes writes = {
        .file = file,
        .pieces = pieces,
        .count = G_N_ELEMENTS(pieces),
    };

    memory_file_fail(file, MEMORY_FILE_WRITE, _i, -ENOSPC);
    event_loop_run(write_entry, &writes);
    ck_assert(!writes.flushed);
    qcow2_fixture_assert_error(&writes.error, SNAP_ERROR_NO_SPACE,
                               "bytes of metadata at 0x");
}
END_TEST

/* Nothing is in flight any more: the file is closed right after. */
START_TEST(abandoned)
{
    BlockFile *file = memory_file_new();
    Writes writes = {
        .file = file,
        .pieces = pieces,
        .count = G_N_ELEMENTS(pieces),
        .abandon = true,
    };

    event_loop_run(write_entry, &writes);
    ck_assert_uint_eq(writes.put, writes.count);
    block_file_close(file);
}
END_TEST

static Suite *write_buffer_suite(void)
{
    Suite *suite = suite_create("qcow2-write-buffer");
    TCase *tcase = tcase_create("qcow2-write-buffer");

    tcase_add_test(tcase, pieces_get_where_they_belong);
    tcase_add_test(tcase, neighbours_are_written_at_once);
    tcase_add_loop_test(tcase, write_fails, 1, 9);
    tcase_add_test(tcase, abandoned);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(write_buffer_suite());
}
