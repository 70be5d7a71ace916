/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The spool of a stream: what is stored comes out again, by clone or copy,
 * room is there before it is needed, and nothing is left that was not kept.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "checked.h"
#include "event-loop.h"
#include "run-suite.h"
#include "scratch.h"
#include "snap-error.h"
#include "snap-spool.h"

#define MIB (1024 * 1024)

/* Not a multiple of anything. */
#define STREAM_BYTES (5 * MIB + 1234)

/* What moves; the last unit is filled up. */
#define MOVED_BYTES (STREAM_BYTES + 302)

typedef struct Sink {
    uint8_t content[MOVED_BYTES];
    uint64_t reserved;
    uint64_t cloned;
    unsigned in_flight;
    unsigned most_in_flight;

    /* Asked for. */
    unsigned expected; /* in flight at once */
    bool clones;
    SnapError clone_error; /* when it does not */
    uint64_t fail_at;      /* storing or reserving this position; 0: never */
    bool fail_reserve;
    uint64_t cancel_at; /* once so much was reserved; 0: never */
} Sink;

static bool coroutine_fn sink_reserve(void *opaque, uint64_t end, GError **errp)
{
    Sink *sink = opaque;

    ck_assert_uint_gt(end, sink->reserved);
    ck_assert_uint_le(end, MOVED_BYTES);
    if (sink->fail_reserve && end > sink->fail_at) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE, "no room");
        return false;
    }
    sink->reserved = end;
    return true;
}

static bool coroutine_fn sink_store(void *opaque, uint64_t position,
                                    const uint8_t *data, size_t bytes,
                                    GError **errp)
{
    Sink *sink = opaque;

    ck_assert_uint_le(position + bytes, sink->reserved);
    ck_assert(is_aligned(position | bytes, 512));
    sink->in_flight++;
    sink->most_in_flight = MAX(sink->most_in_flight, sink->in_flight);
    /* All buffers get here if nobody holds them back. */
    for (unsigned i = 0; sink->most_in_flight < sink->expected && i < 5000;
         i++) {
        event_loop_sleep(1);
    }
    sink->in_flight--;
    if (sink->fail_at && !sink->fail_reserve && position >= sink->fail_at) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_IO, "no disk");
        return false;
    }
    memcpy(sink->content + position, data, bytes);
    return true;
}

static bool coroutine_fn sink_clone(void *opaque, uint64_t position,
                                    BlockFile *source, uint64_t bytes,
                                    GError **errp)
{
    Sink *sink = opaque;

    ck_assert_uint_le(position + bytes, sink->reserved);
    ck_assert(is_aligned(position | bytes, 2 * MIB));
    if (!sink->clones) {
        g_set_error(errp, SNAP_ERROR, sink->clone_error, "no clone");
        return false;
    }
    sink->cloned += bytes;
    return block_file_pread(source, position, sink->content + position,
                            bytes) == 0;
}

static bool sink_is_cancelled(void *opaque, GError **errp)
{
    const Sink *sink = opaque;

    if (!sink->cancel_at || sink->reserved < sink->cancel_at) {
        return false;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INTERRUPTED, "stop");
    return true;
}

typedef struct SpoolTest {
    Scratch *scratch;
    char *directory;
    HostFileCache cache;
    bool no_room;
    Sink sink;
    bool keep;

    bool moved;
    bool spool_clones;
    char *kept;
    GError *error;
} SpoolTest;

static uint8_t stream_byte(uint64_t at)
{
    return (at * 7 + at / 251) % 255 + 1;
}

static void coroutine_fn fill(SnapSpool *spool)
{
    uint8_t *piece = block_file_alloc_buffer(MIB);

    for (uint64_t at = 0; at < STREAM_BYTES; at += MIB) {
        size_t bytes = MIN(MIB, STREAM_BYTES - at);
        size_t padded = round_up(bytes, SNAP_SPOOL_UNIT);

        memset(piece, 0, MIB);
        for (size_t i = 0; i < bytes; i++) {
            piece[i] = stream_byte(at + i);
        }
        ck_assert(
            snap_spool_reserve(spool, at + bytes, at + bytes + MIB, NULL));
        ck_assert(snap_spool_store(spool, at, piece, padded, NULL));
    }
    free(piece);
}

static void coroutine_fn run_spool(void *opaque)
{
    SpoolTest *test = opaque;
    SnapSpoolOptions options = {
        .directory = test->directory,
        .room_directory = test->no_room ? NULL : test->directory,
        .clone_unit = 65536,
        .cache = test->cache,
    };
    SnapSpoolSink sink = {
        .reserve = sink_reserve,
        .store = sink_store,
        .clone = sink_clone,
        .is_cancelled = sink_is_cancelled,
        .unit = 512,
        .opaque = &test->sink,
    };
    g_autoptr(AioBufferPool) pool = aio_buffer_pool_new(MIB, 4, 4, NULL);
    SnapSpool *spool = snap_spool_new(&options, &test->error);

    ck_assert_msg(spool != NULL, "%s", test->error ? test->error->message : "");
    test->spool_clones = snap_spool_clones(spool);
    fill(spool);
    ck_assert(snap_spool_flush(spool, NULL));
    snap_spool_free_room(spool, STREAM_BYTES);
    test->moved =
        snap_spool_move(spool, pool, STREAM_BYTES, &sink, &test->error);
    if (test->keep) {
        test->kept = snap_spool_keep(spool, STREAM_BYTES, "kept", NULL);
        ck_assert_ptr_nonnull(test->kept);
    }
    snap_spool_free(spool);
}

static void run_test(SpoolTest *test)
{
    test->scratch = scratch_new();
    test->directory = g_path_get_dirname(scratch_path(test->scratch, "any"));
    event_loop_run(run_spool, test);
    ck_assert_uint_eq(test->sink.in_flight, 0);
    ck_assert(test->moved == !test->error);
}

static void assert_moved(const SpoolTest *test)
{
    size_t wrong = 0;

    ck_assert_msg(test->moved, "%s", test->error ? test->error->message : "");
    for (uint64_t i = 0; i < MOVED_BYTES; i++) {
        wrong += test->sink.content[i] !=
                 (i < STREAM_BYTES ? stream_byte(i) : 0);
    }
    ck_assert_uint_eq(wrong, 0);
}

static void assert_fails(SpoolTest *test, SnapError code, const char *message)
{
    ck_assert_ptr_nonnull(test->error);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, code));
    ck_assert_str_eq(test->error->message, message);
    g_clear_error(&test->error);
}

static void clear(SpoolTest *test)
{
    GDir *entries = g_dir_open(test->directory, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(entries))) {
        ck_assert_msg(test->kept && !strcmp(name, "kept"), "left: %s", name);
    }
    g_dir_close(entries);
    scratch_free(test->scratch);
    g_free(test->directory);
    g_free(test->kept);
    /* The next test may run in the same process. */
    memset(test, 0, sizeof(*test));
}

START_TEST(comes_out_by_copy)
{
    static SpoolTest test;

    test.cache = _i;
    /* As if the image were elsewhere: nothing can be cloned. */
    test.no_room = true;
    test.sink.expected = 4;
    run_test(&test);
    ck_assert(!test.spool_clones);
    ck_assert_uint_eq(test.sink.cloned, 0);
    ck_assert_uint_eq(test.sink.most_in_flight, 4);
    assert_moved(&test);
    clear(&test);
}
END_TEST

/* Where the file system can; elsewhere it is a copy. */
START_TEST(comes_out_by_clone)
{
    static SpoolTest test = { .sink.clones = true };

    run_test(&test);
    ck_assert_uint_eq(test.sink.cloned, test.spool_clones ? 4 * MIB : 0);
    assert_moved(&test);
    clear(&test);
}
END_TEST

/* The image may be where clones are not possible after all. */
START_TEST(clone_turns_into_copy)
{
    static SpoolTest test = { .sink.clone_error = SNAP_ERROR_UNSUPPORTED };

    run_test(&test);
    assert_moved(&test);
    clear(&test);
}
END_TEST

START_TEST(clone_fails)
{
    static SpoolTest test = { .sink.clone_error = SNAP_ERROR_IO };

    run_test(&test);
    if (test.spool_clones) {
        assert_fails(&test, SNAP_ERROR_IO, "no clone");
    } else {
        assert_moved(&test);
    }
    clear(&test);
}
END_TEST

static void assert_kept(const SpoolTest *test)
{
    g_autofree char *kept = NULL;
    gsize bytes;
    size_t wrong = 0;

    ck_assert(g_file_get_contents(test->kept, &kept, &bytes, NULL));
    ck_assert_uint_eq(bytes, STREAM_BYTES);
    for (size_t i = 0; i < bytes; i++) {
        wrong += (uint8_t)kept[i] != stream_byte(i);
    }
    ck_assert_uint_eq(wrong, 0);
}

START_TEST(storing_fails_and_it_is_kept)
{
    static SpoolTest test = { .keep = true,
                              .no_room = true,
                              .sink.fail_at = 3 * MIB };

    run_test(&test);
    assert_fails(&test, SNAP_ERROR_IO, "no disk");
    assert_kept(&test);
    clear(&test);
}
END_TEST

START_TEST(reserving_fails_and_it_is_kept)
{
    static SpoolTest test = { .keep = true,
                              .sink.clone_error = SNAP_ERROR_UNSUPPORTED,
                              .sink.fail_at = 3 * MIB,
                              .sink.fail_reserve = true };

    run_test(&test);
    assert_fails(&test, SNAP_ERROR_NO_SPACE, "no room");
    assert_kept(&test);
    clear(&test);
}
END_TEST

START_TEST(cancelled_and_it_is_kept)
{
    static SpoolTest test;

    test.keep = true;
    test.sink.clone_error = SNAP_ERROR_UNSUPPORTED;
    test.sink.cancel_at = 2 * MIB;
    test.sink.clones = _i;
    run_test(&test);
    if (_i && test.spool_clones) {
        /* One piece is all there is to clone. */
        ck_assert_uint_eq(test.sink.cloned, 4 * MIB);
    }
    assert_fails(&test, SNAP_ERROR_INTERRUPTED, "stop");
    assert_kept(&test);
    clear(&test);
}
END_TEST

typedef struct Room {
    char *directory;
    uint64_t end;
    bool reserved;
    GError *error;
} Room;

static void coroutine_fn run_room(void *opaque)
{
    Room *room = opaque;
    SnapSpoolOptions options = {
        .directory = room->directory,
        .room_directory = room->directory,
        .clone_unit = 65536,
    };
    SnapSpool *spool = snap_spool_new(&options, NULL);

    room->reserved =
        snap_spool_reserve(spool, room->end, room->end + MIB, &room->error);
    snap_spool_free(spool);
}

/* More than any file system has: refused before anything is stored. */
START_TEST(no_room)
{
    Scratch *scratch = scratch_new();
    Room room = {
        .directory = g_path_get_dirname(scratch_path(scratch, "any")),
        .end = 1ULL << 60,
    };

    event_loop_run(run_room, &room);
    ck_assert(!room.reserved);
    ck_assert(g_error_matches(room.error, SNAP_ERROR, SNAP_ERROR_NO_SPACE));
    g_error_free(room.error);
    g_free(room.directory);
    scratch_free(scratch);
}
END_TEST

static void coroutine_fn run_nowhere(void *opaque)
{
    SnapSpoolOptions options = { .directory = "./no/such/place",
                                 .room_directory = ".",
                                 .clone_unit = 65536 };

    ck_assert_ptr_null(snap_spool_new(&options, opaque));
}

START_TEST(nowhere)
{
    g_autoptr(GError) error = NULL;

    event_loop_run(run_nowhere, &error);
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND));
}
END_TEST

static Suite *snap_spool_suite(void)
{
    Suite *suite = suite_create("snap-spool");
    TCase *tcase = tcase_create("snap-spool");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, comes_out_by_copy, HOST_FILE_CACHE_AUTOMATIC,
                        HOST_FILE_CACHE_AUTOMATIC + 1);
    tcase_add_loop_test(tcase, comes_out_by_copy, HOST_FILE_CACHE_WRITEBACK,
                        HOST_FILE_CACHE_WRITEBACK + 1);
    tcase_add_test(tcase, comes_out_by_clone);
    tcase_add_test(tcase, clone_turns_into_copy);
    tcase_add_test(tcase, clone_fails);
    tcase_add_test(tcase, storing_fails_and_it_is_kept);
    tcase_add_test(tcase, reserving_fails_and_it_is_kept);
    tcase_add_loop_test(tcase, cancelled_and_it_is_kept, 0, 2);
    tcase_add_test(tcase, no_room);
    tcase_add_test(tcase, nowhere);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(snap_spool_suite());
}
