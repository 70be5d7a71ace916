/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * snap_pump_in(): from a pipe that delivers its bytes in odd pieces into a
 * store that needs a while for each request and ends them in any order. The
 * store checks that it is used the way its contract says.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "checked.h"
#include "event-loop.h"
#include "run-suite.h"
#include "snap-error.h"
#include "snap-io.h"

#define BUFFER_BYTES 4096

/* Of the longest stream, and of what is stored of it. */
#define STREAM_MAX (40 * BUFFER_BYTES)

/* What a source that never ends is waited for, at the most. */
#define PATIENCE_MS 5000

static const unsigned depths[] = { 1, 2, 3, 8, 32 };

/* Let everybody else have a turn. */
static void coroutine_fn pass(void)
{
    event_loop_wake(coroutine_self());
    coroutine_yield();
}

static uint8_t stream_byte(size_t at)
{
    return (at * 7 + at / 251) % 255 + 1;
}

/* One of the calls that the pump makes. */
typedef struct Step {
    unsigned calls;
    unsigned fail_at; /* this call fails, counting from 1; 0: none */
} Step;

typedef struct PumpIn {
    /* What is asked for. */
    unsigned depth;
    size_t stream_bytes;
    size_t unit;
    size_t piece_bytes; /* at most so many are written at once */
    unsigned slowest;   /* turns of the loop that a request takes */
    bool lockstep;      /* the source waits until its bytes are looked at */
    bool stays_open;    /* the source does not close the pipe at the end */
    size_t end_at;      /* `take' wants no more from here on; 0: all */
    size_t cut_at;      /* `amend' takes something out here, ... */
    size_t cut_bytes;   /* ...so much; 0: there is no `amend' */
    bool may_end;       /* silence is an end, wherever it falls */
    Step take;
    Step reserve;
    Step store;
    unsigned cancel_after; /* turns of the loop; 0: never */

    /* What came of it. */
    bool pumped;
    GError *error;
    uint64_t bytes;
    size_t taken;
    size_t cut; /* bytes */
    uint64_t reserved;
    uint8_t stored[STREAM_MAX];
    bool present[STREAM_MAX]; /* has been stored */
    unsigned in_flight;
    unsigned most_in_flight;
    bool late; /* the pump waited for the source for too long */

    /* While it lasts. */
    AioBufferPool *pool;
    PipeEnd *from;
    int read_fd;
    int write_fd;
    GRand *random;
    unsigned helpers; /* coroutines beside the pump */
    bool over;
} PumpIn;

static bool step_succeeds(Step *step, const char *name, GError **errp)
{
    if (++step->calls != step->fail_at) {
        return true;
    }
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE, "no %s", name);
    return false;
}

static bool coroutine_fn take(void *opaque, const uint8_t *data, size_t bytes,
                              bool *end, GError **errp)
{
    PumpIn *test = opaque;
    size_t wrong = 0;

    ck_assert_uint_gt(bytes, 0);
    ck_assert(!*end);
    ck_assert(test->end_at == 0 || test->taken < test->end_at);
    for (size_t i = 0; i < bytes; i++) {
        wrong += data[i] != stream_byte(test->taken + i);
    }
    ck_assert_uint_eq(wrong, 0);
    if (test->slowest > 0) {
        pass();
    }
    if (!step_succeeds(&test->take, "taking", errp)) {
        return false;
    }
    test->taken += bytes;
    *end = test->end_at > 0 && test->taken >= test->end_at;
    return true;
}

/* The first piece, and what fills it up, come here. */
static size_t amend(void *opaque, uint64_t position, uint8_t *data,
                    size_t bytes)
{
    PumpIn *test = opaque;
    size_t end = test->cut_at + test->cut_bytes;

    ck_assert_uint_eq(position + bytes + test->cut, test->taken);
    if (position > 0 || test->cut > 0 || end > bytes) {
        return bytes;
    }
    test->cut = test->cut_bytes;
    memmove(data + test->cut_at, data + end, bytes - end);
    return bytes - test->cut;
}

static bool coroutine_fn reserve(void *opaque, uint64_t end, GError **errp)
{
    PumpIn *test = opaque;

    ck_assert_uint_ge(end, test->reserved);
    ck_assert_uint_eq(end, test->taken - test->cut);
    if (test->slowest > 0) {
        pass();
    }
    if (!step_succeeds(&test->reserve, "room", errp)) {
        return false;
    }
    test->reserved = end;
    return true;
}

static bool coroutine_fn store(void *opaque, uint64_t position,
                               const uint8_t *data, size_t bytes, GError **errp)
{
    PumpIn *test = opaque;
    unsigned turns = g_rand_int_range(test->random, 0, test->slowest + 1);
    bool stores = step_succeeds(&test->store, "storing", errp);

    ck_assert(is_aligned(position | bytes, test->unit));
    ck_assert_uint_le(bytes, BUFFER_BYTES);
    ck_assert_uint_le(position + bytes, round_up(test->reserved, test->unit));
    test->in_flight++;
    test->most_in_flight = MAX(test->most_in_flight, test->in_flight);
    while (turns-- > 0) {
        pass();
    }
    test->in_flight--;
    ck_assert(bytes == 0 || !memchr(test->present + position, true, bytes));
    memcpy(test->stored + position, data, bytes);
    memset(test->present + position, true, bytes);
    return stores;
}

/* Write a piece of the stream, as far as there is room; the size of it. */
static ssize_t coroutine_fn write_piece(PumpIn *test, size_t at)
{
    uint8_t piece[3 * BUFFER_BYTES];
    size_t most = MIN(test->piece_bytes, test->stream_bytes - at);
    size_t bytes = g_rand_int_range(test->random, 1, most + 1);
    ssize_t written;

    for (size_t i = 0; i < bytes; i++) {
        piece[i] = stream_byte(at + i);
    }
    while ((written = write(test->write_fd, piece, bytes)) < 0 &&
           errno == EAGAIN) {
        event_loop_wait_fd(test->write_fd, G_IO_OUT, -1);
    }
    return written;
}

static void coroutine_fn run_source(void *opaque)
{
    PumpIn *test = opaque;
    size_t written = 0;

    while (written < test->stream_bytes && !test->over) {
        ssize_t ret = write_piece(test, written);

        if (ret < 0) {
            ck_assert(test->over);
            break;
        }
        written += ret;
        while (test->lockstep && test->taken < written && !test->over) {
            pass();
        }
    }
    if (!test->stays_open) {
        close(test->write_fd);
        test->write_fd = -1;
    }
    test->helpers--;
}

static bool stream_may_end(void *opaque)
{
    const PumpIn *test = opaque;

    return test->may_end;
}

static void coroutine_fn run_canceller(void *opaque)
{
    PumpIn *test = opaque;

    for (unsigned i = 0; i < test->cancel_after; i++) {
        pass();
    }
    pipe_end_cancel(test->from);
    test->helpers--;
}

/* A pump that hangs is a failure, not a test without end. */
static gboolean lose_patience(void *opaque)
{
    PumpIn *test = opaque;

    test->late = true;
    pipe_end_cancel(test->from);
    return G_SOURCE_CONTINUE;
}

static void coroutine_fn run_pump(void *opaque)
{
    PumpIn *test = opaque;
    SnapInlet inlet = {
        .take = take,
        .amend = test->cut_bytes ? amend : NULL,
        .may_end = stream_may_end,
        .reserve = reserve,
        .store = store,
        .unit = test->unit,
        .opaque = test,
    };
    guint patience = g_timeout_add(PATIENCE_MS, lose_patience, test);

    test->helpers = 1 + (test->cancel_after > 0);
    event_loop_start(run_source, test);
    if (test->cancel_after > 0) {
        event_loop_start(run_canceller, test);
    }
    test->pumped = snap_pump_in(test->pool, test->from, &inlet, &test->bytes,
                                &test->error);
    ck_assert_uint_eq(test->in_flight, 0);
    g_source_remove(patience);
    /* A source that still writes finds nobody there. */
    test->over = true;
    g_clear_pointer(&test->from, pipe_end_free);
    close(test->read_fd);
    while (test->helpers > 0) {
        pass();
    }
}

/* The settings of most tests; free with pump_in_free(). */
static PumpIn *pump_in_new(unsigned depth, size_t stream_bytes)
{
    PumpIn *test = g_new(PumpIn, 1);

    *test = (PumpIn){
        .depth = depth,
        .stream_bytes = stream_bytes,
        .unit = 512,
        .piece_bytes = BUFFER_BYTES / 3,
        .slowest = 5,
        .write_fd = -1,
    };
    ck_assert_uint_le(stream_bytes, STREAM_MAX);
    return test;
}

static void pump_in_free(PumpIn *test)
{
    g_clear_error(&test->error);
    g_free(test);
}

static void pump_in_run_from(PumpIn *test, const int fds[2])
{
    test->read_fd = fds[0];
    test->write_fd = fds[1];
    test->random = g_rand_new_with_seed(test->depth + test->stream_bytes);
    test->pool =
        aio_buffer_pool_new(BUFFER_BYTES, test->depth, test->depth, NULL);
    test->from = pipe_end_new_reader(test->read_fd, NULL);
    ck_assert_ptr_nonnull(test->from);
    ck_assert_int_eq(fcntl(test->write_fd, F_SETFL, O_WRONLY | O_NONBLOCK), 0);
    event_loop_run(run_pump, test);
    if (test->write_fd >= 0) {
        close(test->write_fd);
    }
    aio_buffer_pool_free(test->pool);
    g_rand_free(test->random);
    ck_assert(!test->late);
    ck_assert_uint_le(test->most_in_flight, test->depth);
    ck_assert(test->pumped == !test->error);
}

static void pump_in_run(PumpIn *test)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pump_in_run_from(test, fds);
}

/* All that was taken is there, then zeros up to a unit, then nothing. */
static void assert_stored(const PumpIn *test)
{
    size_t bytes = test->taken - test->cut;
    size_t padded = round_up(bytes, test->unit);
    size_t wrong = 0;

    ck_assert(test->pumped);
    ck_assert_uint_eq(test->bytes, bytes);
    ck_assert_uint_eq(test->reserved, bytes);
    for (size_t i = 0; i < STREAM_MAX; i++) {
        size_t source = i < test->cut_at ? i : i + test->cut;
        uint8_t expected = i < bytes ? stream_byte(source) : 0;

        wrong += test->stored[i] != expected;
        wrong += test->present[i] != (i < padded);
    }
    ck_assert_uint_eq(wrong, 0);
}

static const size_t stream_lengths[] = {
    0,
    1,
    511,
    512,
    513,
    BUFFER_BYTES - 1,
    BUFFER_BYTES,
    BUFFER_BYTES + 1,
    7 * BUFFER_BYTES,
    37 * BUFFER_BYTES + 333,
};

static void check_lengths(unsigned depth, size_t unit, size_t piece_bytes)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(stream_lengths); i++) {
        PumpIn *test = pump_in_new(depth, stream_lengths[i]);

        test->unit = unit;
        test->piece_bytes = piece_bytes;
        pump_in_run(test);
        ck_assert_uint_eq(test->taken, stream_lengths[i]);
        assert_stored(test);
        pump_in_free(test);
    }
}

START_TEST(all_lengths)
{
    check_lengths(depths[_i], 512, BUFFER_BYTES / 3);
    check_lengths(depths[_i], 1, 2 * BUFFER_BYTES);
    check_lengths(depths[_i], BUFFER_BYTES, 2999);
}
END_TEST

/* The buffers are used: a slow store has as many requests as there are. */
START_TEST(many_requests_at_once)
{
    PumpIn *test = pump_in_new(depths[_i], STREAM_MAX);

    test->slowest = 200;
    test->piece_bytes = 3 * BUFFER_BYTES;
    pump_in_run(test);
    assert_stored(test);
    ck_assert_uint_eq(test->most_in_flight, test->depth);
    pump_in_free(test);
}
END_TEST

START_TEST(store_need_not_yield)
{
    PumpIn *test = pump_in_new(depths[_i], 9 * BUFFER_BYTES + 100);

    test->slowest = 0;
    pump_in_run(test);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

/* A source that waits for an answer gets one before the buffer is full. */
START_TEST(bytes_are_looked_at_as_they_come)
{
    PumpIn *test = pump_in_new(depths[_i], 3 * BUFFER_BYTES + 10);

    test->lockstep = true;
    test->piece_bytes = 300;
    pump_in_run(test);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    ck_assert_uint_ge(test->take.calls, test->stream_bytes / 300);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

/* What is taken out leaves no gap, and requests stay whole units. */
START_TEST(something_is_taken_out)
{
    static const size_t cuts[][2] = {
        { 0, 1 },
        { 0, 600 },
        { 17, 14 },
        { 100, BUFFER_BYTES - 100 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(stream_lengths); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(cuts); j++) {
            PumpIn *test = pump_in_new(depths[_i], stream_lengths[i]);
            size_t end = cuts[j][0] + cuts[j][1];

            test->cut_at = cuts[j][0];
            test->cut_bytes = cuts[j][1];
            pump_in_run(test);
            assert_stored(test);
            ck_assert_uint_eq(test->cut, end <= test->taken ? cuts[j][1] : 0);
            pump_in_free(test);
        }
    }
}
END_TEST

START_TEST(from_a_socket)
{
    PumpIn *test = pump_in_new(depths[_i], 20 * BUFFER_BYTES + 7);
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    pump_in_run_from(test, fds);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

/* A regular file, which never makes anybody wait; there is no source. */
START_TEST(from_a_file)
{
    PumpIn *test = pump_in_new(depths[_i], 5 * BUFFER_BYTES + 1);
    int fds[2] = { memfd_create("stream", MFD_CLOEXEC), -1 };

    for (size_t i = 0; i < test->stream_bytes; i++) {
        uint8_t byte = stream_byte(i);

        ck_assert_int_eq(pwrite(fds[0], &byte, 1, i), 1);
    }
    fds[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pump_in_run_from(test, fds);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

/* No more is read, although the pipe stays open and has more in it. */
START_TEST(take_ends_the_stream)
{
    static const size_t ends[] = { 1,
                                   512,
                                   BUFFER_BYTES - 1,
                                   BUFFER_BYTES,
                                   BUFFER_BYTES + 1,
                                   6 * BUFFER_BYTES + 5 };

    for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
        PumpIn *test = pump_in_new(depths[_i], 8 * BUFFER_BYTES);

        test->end_at = ends[i];
        test->stays_open = true;
        test->piece_bytes = 61;
        pump_in_run(test);
        ck_assert_uint_ge(test->taken, ends[i]);
        ck_assert_uint_le(test->taken, ends[i] + BUFFER_BYTES);
        assert_stored(test);
        pump_in_free(test);
    }
}
END_TEST

/* The source has said its last word, and waits for ours. */
START_TEST(take_ends_a_stream_that_stays_open)
{
    PumpIn *test = pump_in_new(depths[_i], 3 * BUFFER_BYTES);

    test->end_at = test->stream_bytes;
    test->stays_open = true;
    pump_in_run(test);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

/* Pauses are no end; only the silence behind the last byte is. */
START_TEST(silence_ends_a_stream_that_stays_open)
{
    PumpIn *test = pump_in_new(depths[_i], 2 * BUFFER_BYTES + 10);

    test->may_end = true;
    test->stays_open = true;
    test->lockstep = true;
    test->piece_bytes = 997;
    pump_in_run(test);
    ck_assert_uint_eq(test->taken, test->stream_bytes);
    assert_stored(test);
    pump_in_free(test);
}
END_TEST

static void assert_failed(const PumpIn *test, const char *text)
{
    ck_assert(!test->pumped);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_NO_SPACE));
    ck_assert_str_eq(test->error->message, text);
}

static PumpIn *failing_new(unsigned depth)
{
    PumpIn *test = pump_in_new(depth, 6 * BUFFER_BYTES + 77);

    test->lockstep = true;
    return test;
}

/* Run with the step at @offset failing in each of its calls. */
static void check_failures(unsigned depth, size_t offset, const char *text)
{
    PumpIn *test = failing_new(depth);
    unsigned calls;

    pump_in_run(test);
    assert_stored(test);
    calls = G_STRUCT_MEMBER(Step, test, offset).calls;
    ck_assert_uint_ge(calls, 7);
    pump_in_free(test);
    for (unsigned i = 1; i <= calls; i++) {
        Step *step;

        test = failing_new(depth);
        step = G_STRUCT_MEMBER_P(test, offset);
        step->fail_at = i;
        pump_in_run(test);
        assert_failed(test, text);
        if (step != &test->store) {
            ck_assert_uint_eq(step->calls, i);
        } else {
            ck_assert_uint_lt(step->calls, i + depth);
        }
        pump_in_free(test);
    }
}

START_TEST(failure_to_take)
{
    check_failures(depths[_i], G_STRUCT_OFFSET(PumpIn, take), "no taking");
}
END_TEST

START_TEST(failure_to_reserve)
{
    check_failures(depths[_i], G_STRUCT_OFFSET(PumpIn, reserve), "no room");
}
END_TEST

START_TEST(failure_to_store)
{
    check_failures(depths[_i], G_STRUCT_OFFSET(PumpIn, store), "no storing");
}
END_TEST

START_TEST(first_failure_counts)
{
    PumpIn *test = pump_in_new(depths[_i], 12 * BUFFER_BYTES);

    test->take.fail_at = 1;
    test->reserve.fail_at = 1;
    test->store.fail_at = 1;
    pump_in_run(test);
    assert_failed(test, "no taking");
    ck_assert_uint_eq(test->reserve.calls, 0);
    ck_assert_uint_eq(test->store.calls, 0);
    pump_in_free(test);
}
END_TEST

/* It is known at once, also while the source has nothing to say. */
START_TEST(failure_to_store_with_a_silent_source)
{
    PumpIn *test = pump_in_new(depths[_i], BUFFER_BYTES + 10);

    test->stays_open = true;
    test->store.fail_at = 1;
    pump_in_run(test);
    assert_failed(test, "no storing");
    pump_in_free(test);
}
END_TEST

START_TEST(cancelled_while_waiting)
{
    for (unsigned turns = 1; turns < 200; turns += turns / 4 + 1) {
        PumpIn *test = pump_in_new(depths[_i], 2 * BUFFER_BYTES + 10);

        test->stays_open = true;
        test->cancel_after = turns;
        pump_in_run(test);
        ck_assert(!test->pumped);
        ck_assert(
            g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_INTERRUPTED));
        ck_assert_ptr_nonnull(
            strstr(test->error->message, g_strerror(ECANCELED)));
        pump_in_free(test);
    }
}
END_TEST

/* The text says how far the stream was good. */
START_TEST(failure_to_read)
{
    PumpIn *test = pump_in_new(depths[_i], 0);
    int fds[2] = { open("/dev/null", O_WRONLY | O_CLOEXEC),
                   open("/dev/null", O_WRONLY | O_CLOEXEC) };

    pump_in_run_from(test, fds);
    ck_assert(!test->pumped);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert_ptr_nonnull(strstr(test->error->message, " at 0: "));
    ck_assert_ptr_nonnull(strstr(test->error->message, g_strerror(EBADF)));
    ck_assert_uint_eq(test->take.calls + test->store.calls, 0);
    pump_in_free(test);
}
END_TEST

static Suite *snap_pump_in_suite(void)
{
    Suite *suite = suite_create("snap-pump-in");
    TCase *tcase = tcase_create("snap-pump-in");
    const int all = G_N_ELEMENTS(depths);

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, all_lengths, 0, all);
    tcase_add_loop_test(tcase, many_requests_at_once, 0, all);
    tcase_add_loop_test(tcase, store_need_not_yield, 0, all);
    tcase_add_loop_test(tcase, bytes_are_looked_at_as_they_come, 0, all);
    tcase_add_loop_test(tcase, something_is_taken_out, 0, all);
    tcase_add_loop_test(tcase, from_a_socket, 0, all);
    tcase_add_loop_test(tcase, from_a_file, 0, all);
    tcase_add_loop_test(tcase, take_ends_the_stream, 0, all);
    tcase_add_loop_test(tcase, take_ends_a_stream_that_stays_open, 0, all);
    tcase_add_loop_test(tcase, silence_ends_a_stream_that_stays_open, 0, 2);
    tcase_add_loop_test(tcase, failure_to_take, 0, all);
    tcase_add_loop_test(tcase, failure_to_reserve, 0, all);
    tcase_add_loop_test(tcase, failure_to_store, 0, all);
    tcase_add_loop_test(tcase, first_failure_counts, 0, all);
    tcase_add_loop_test(tcase, failure_to_store_with_a_silent_source, 1, all);
    tcase_add_loop_test(tcase, cancelled_while_waiting, 0, all);
    tcase_add_loop_test(tcase, failure_to_read, 0, all);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return run_suite(snap_pump_in_suite());
}
