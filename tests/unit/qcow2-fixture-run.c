/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The code under test, driven from outside coroutines.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "checked.h"
#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "snap-error.h"

#define DEFAULT_PIECE_BYTES (64 * 1024)

BlockFile *qcow2_fixture_file(const GByteArray *image)
{
    BlockFile *file = memory_file_new_from(image->data, image->len);

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, -1, -ENOTSUP);
    return file;
}

GByteArray *qcow2_fixture_content(BlockFile *file)
{
    GByteArray *image = g_byte_array_new();
    size_t bytes;
    const uint8_t *content = memory_file_content(file, &bytes);

    return g_byte_array_append(image, content, bytes);
}

typedef struct SaveRun {
    BlockFile *file;
    Qcow2FixtureSave *save;
    Qcow2SnapshotWriter *writer;
    size_t piece;
    uint64_t reserved;
    uint64_t next;    /* position that nobody writes yet */
    unsigned running; /* coroutines that write */
    CoroutineQueue finished;
    bool failed;
    GError **errp;
} SaveRun;

/* The first error is the one that counts. */
static void run_failed(SaveRun *run, GError *error)
{
    if (run->failed) {
        g_error_free(error);
    } else {
        run->failed = true;
        g_propagate_error(run->errp, error);
    }
}

static bool coroutine_fn write_piece(SaveRun *run, uint64_t position,
                                     GError **errp)
{
    uint64_t bytes = MIN(run->piece, run->save->bytes - position);
    g_autofree uint8_t *buffer = g_malloc0(run->piece);

    qcow2_fixture_fill(run->save->seed, position, buffer, bytes);
    return qcow2_snapshot_writer_pwrite(run->writer, position, buffer,
                                        round_up(bytes, QCOW2_VMSTATE_UNIT),
                                        errp);
}

static void coroutine_fn write_pieces(void *opaque)
{
    SaveRun *run = opaque;
    GError *error = NULL;

    while (!run->failed && run->next < run->reserved) {
        uint64_t position = run->next;

        run->next = position + run->piece;
        if (!write_piece(run, position, &error)) {
            run_failed(run, g_steal_pointer(&error));
        }
    }
    run->running--;
    coroutine_queue_wake_all(&run->finished);
}

/* One round: room for a piece of every writer, then all of them at once. */
static void coroutine_fn write_round(SaveRun *run, unsigned writers)
{
    uint64_t bytes = run->save->bytes;
    uint64_t end = MIN(bytes, run->reserved + writers * run->piece);
    GError *error = NULL;

    if (!qcow2_snapshot_writer_reserve(run->writer, end, &error)) {
        run_failed(run, error);
        return;
    }
    run->reserved = end;
    for (; run->running < writers; run->running++) {
        event_loop_start(write_pieces, run);
    }
    while (run->running > 0) {
        coroutine_queue_wait(&run->finished);
    }
}

static void coroutine_fn commit(SaveRun *run)
{
    const Qcow2FixtureSave *save = run->save;
    Qcow2SnapshotStamp stamp = {
        .vm_state_size = save->bytes,
        .date_sec = 1000 + save->seed,
        .date_nsec = 5,
        .vm_clock_nsec = 7 * save->seed,
    };
    GError *error = NULL;

    if (!qcow2_snapshot_writer_commit(run->writer, &stamp, &error)) {
        run_failed(run, error);
    }
}

static void coroutine_fn save_entry(void *opaque)
{
    SaveRun *run = opaque;
    Qcow2FixtureSave *save = run->save;
    unsigned writers = MAX(save->writers, 1);
    GError *error = NULL;
    Qcow2Image *image = qcow2_open(run->file, &error);

    if (image) {
        run->writer = qcow2_snapshot_writer_begin(
            image, save->name,
            save->replace ? qcow2_find_snapshot(image, save->name) : NULL,
            &error);
    }
    if (run->writer) {
        memory_file_records(run->file, &save->records_begun);
        while (!run->failed && run->reserved < save->bytes) {
            write_round(run, writers);
        }
        memory_file_records(run->file, &save->records_written);
        save->stream_taken = !run->failed;
        if (!run->failed && !save->abandon) {
            commit(run);
        }
    } else {
        run_failed(run, error);
    }
    qcow2_snapshot_writer_end(run->writer);
    qcow2_close(image);
}

bool qcow2_fixture_save(BlockFile *file, Qcow2FixtureSave *save, GError **errp)
{
    SaveRun run = {
        .file = file,
        .save = save,
        .piece = save->piece ? save->piece : DEFAULT_PIECE_BYTES,
        .errp = errp,
    };

    event_loop_run(save_entry, &run);
    return !run.failed;
}

void qcow2_fixture_must_save(BlockFile *file, Qcow2FixtureSave *save)
{
    g_autoptr(GError) error = NULL;

    ck_assert_msg(qcow2_fixture_save(file, save, &error), "%s",
                  error ? error->message : "failed without an error");
    ck_assert_ptr_null(error);
}

/* create and delete */
typedef struct ChangeRun {
    BlockFile *file;
    const char *name;
    uint64_t seed;
    bool changed;
    GError **errp;
} ChangeRun;

bool coroutine_fn qcow2_fixture_add_snapshot(Qcow2Image *image,
                                             const char *name,
                                             const Qcow2Snapshot *old,
                                             uint64_t seed, GError **errp)
{
    Qcow2SnapshotStamp stamp = {
        .date_sec = 1000 + seed,
        .date_nsec = 5,
        .vm_clock_nsec = 7 * seed,
    };
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, name, old, errp);
    bool added = writer && qcow2_snapshot_writer_commit(writer, &stamp, errp);

    qcow2_snapshot_writer_end(writer);
    return added;
}

static void coroutine_fn create_entry(void *opaque)
{
    ChangeRun *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, run->errp);

    run->changed = image && qcow2_fixture_add_snapshot(image, run->name, NULL,
                                                       run->seed, run->errp);
}

static void coroutine_fn delete_entry(void *opaque)
{
    ChangeRun *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, run->errp);
    const Qcow2Snapshot *snapshot;

    if (image) {
        snapshot = qcow2_find_snapshot(image, run->name);
        ck_assert_ptr_nonnull(snapshot);
        run->changed = qcow2_snapshot_delete(image, snapshot, run->errp);
    }
}

bool qcow2_fixture_create(BlockFile *file, const char *name, uint64_t seed,
                          GError **errp)
{
    ChangeRun run = { file, name, seed, false, errp };

    event_loop_run(create_entry, &run);
    return run.changed;
}

bool qcow2_fixture_delete(BlockFile *file, const char *id_or_name,
                          GError **errp)
{
    ChangeRun run = { file, id_or_name, 0, false, errp };

    event_loop_run(delete_entry, &run);
    return run.changed;
}

void qcow2_fixture_must_create(BlockFile *file, const char *name, uint64_t seed)
{
    g_autoptr(GError) error = NULL;

    ck_assert_msg(qcow2_fixture_create(file, name, seed, &error), "%s",
                  error ? error->message : "failed without an error");
    ck_assert_ptr_null(error);
}

void qcow2_fixture_must_delete(BlockFile *file, const char *id_or_name)
{
    g_autoptr(GError) error = NULL;

    ck_assert_msg(qcow2_fixture_delete(file, id_or_name, &error), "%s",
                  error ? error->message : "failed without an error");
    ck_assert_ptr_null(error);
}

typedef struct LoadRun {
    BlockFile *file;
    const char *id_or_name;
    uint64_t position;
    void *buffer;
    size_t bytes;
    bool loaded;
    GError **errp;
} LoadRun;

static void coroutine_fn load_entry(void *opaque)
{
    LoadRun *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, run->errp);
    const Qcow2Snapshot *snapshot;
    Qcow2VmstateReader *reader;

    if (!image) {
        return;
    }
    snapshot = qcow2_find_snapshot(image, run->id_or_name);
    ck_assert_ptr_nonnull(snapshot);
    reader = qcow2_vmstate_reader_open(image, snapshot, run->errp);
    if (reader) {
        run->loaded = qcow2_vmstate_pread(reader, run->position, run->buffer,
                                          run->bytes, run->errp);
        qcow2_vmstate_reader_close(reader);
    }
}

bool qcow2_fixture_load(BlockFile *file, const char *id_or_name,
                        uint64_t position, void *buffer, size_t bytes,
                        GError **errp)
{
    LoadRun run = {
        .file = file,
        .id_or_name = id_or_name,
        .position = position,
        .buffer = buffer,
        .bytes = bytes,
        .errp = errp,
    };

    event_loop_run(load_entry, &run);
    return run.loaded;
}

void qcow2_fixture_assert_error(GError **error, int code, const char *text)
{
    ck_assert_msg(*error != NULL, "no error that says '%s'", text);
    ck_assert_msg(g_error_matches(*error, SNAP_ERROR, code),
                  "error %d instead of %d: %s", (*error)->code, code,
                  (*error)->message);
    ck_assert_msg(strstr((*error)->message, text),
                  "the error should say '%s': %s", text, (*error)->message);
    g_clear_error(error);
}
