/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * snap_pump_out(): from a store that ends its requests in any order into a
 * pipe, whose reader takes odd pieces, stops, or goes away.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event-loop.h"
#include "run-suite.h"
#include "snap-error.h"
#include "snap-io.h"

#define BUFFER_BYTES 4096

/* Longer than any pipe of ours, which shows in tests that fill it. */
#define STREAM_MAX (300 * BUFFER_BYTES)

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

/* How many of @bytes bytes at @data are not those of the stream at @at? */
static size_t count_wrong(const uint8_t *data, size_t at, size_t bytes)
{
    size_t wrong = 0;

    for (size_t i = 0; i < bytes; i++) {
        wrong += data[i] != stream_byte(at + i);
    }
    return wrong;
}

typedef struct PumpOut {
    /* What is asked for. */
    unsigned depth;
    size_t stream_bytes;
    unsigned fastest; /* turns of the loop that a request takes */
    unsigned slowest;
    unsigned fail_at;      /* this fetch fails, counting from 1; 0: none */
    size_t read_at_most;   /* then the reader goes away */
    bool reads;            /* there is a reader, not only a pipe */
    bool closes_first;     /* the reader goes away before anything */
    bool leaves_on_error;  /* the reader goes away when a fetch fails */
    unsigned cancel_after; /* turns of the loop; 0: never */
    bool stops_last;       /* before_last() fails */

    /* What came of it. */
    SnapPumpResult result;
    GError *error;
    size_t fetches;
    size_t fetched;
    unsigned in_flight;
    unsigned most_in_flight;
    size_t passed;
    unsigned before_last_calls;
    size_t read;

    /* While it lasts. */
    AioBufferPool *pool;
    PipeEnd *to; /* NULL: there is no pipe */
    int read_fd;
    int write_fd;
    GRand *random;
    unsigned helpers; /* coroutines beside the pump */
} PumpOut;

static void close_reader(PumpOut *test)
{
    if (test->read_fd >= 0) {
        close(test->read_fd);
        test->read_fd = -1;
    }
}

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    PumpOut *test = opaque;
    unsigned turns =
        g_rand_int_range(test->random, test->fastest, test->slowest + 1);
    bool fails = ++test->fetches == test->fail_at;

    ck_assert_uint_gt(bytes, 0);
    ck_assert_uint_le(bytes, BUFFER_BYTES);
    ck_assert_uint_le(position + bytes, test->stream_bytes);
    ck_assert_uint_eq(test->before_last_calls, 0);
    test->in_flight++;
    test->most_in_flight = MAX(test->most_in_flight, test->in_flight);
    while (turns-- > 0) {
        pass();
    }
    test->in_flight--;
    if (fails && test->leaves_on_error) {
        close_reader(test);
    }
    if (fails) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED, "no fetching");
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        data[i] = stream_byte(position + i);
    }
    test->fetched += bytes;
    return true;
}

/* The last bytes are still here: neither read nor in the pipe. */
static bool before_last(void *opaque, GError **errp)
{
    PumpOut *test = opaque;
    int in_pipe = 0;

    test->before_last_calls++;
    ck_assert_uint_eq(test->in_flight, 0);
    ck_assert_uint_eq(test->fetched, test->stream_bytes);
    ck_assert_uint_lt(test->passed, test->stream_bytes);
    if (test->reads) {
        ck_assert_int_eq(ioctl(test->read_fd, FIONREAD, &in_pipe), 0);
        ck_assert_uint_le(test->read + in_pipe, test->passed);
    }
    if (test->stops_last) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE, "stopped");
    }
    return !test->stops_last;
}

static void passed(void *opaque, const uint8_t *data, size_t bytes)
{
    PumpOut *test = opaque;

    ck_assert_uint_eq(count_wrong(data, test->passed, bytes), 0);
    test->passed += bytes;
}

static void coroutine_fn run_reader(void *opaque)
{
    PumpOut *test = opaque;
    uint8_t piece[3 * BUFFER_BYTES];

    while (test->read < test->read_at_most) {
        size_t most = MIN(sizeof(piece), test->read_at_most - test->read);
        size_t bytes = g_rand_int_range(test->random, 1, most + 1);
        ssize_t got = read(test->read_fd, piece, bytes);

        if (got == 0) {
            break;
        }
        if (got < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            event_loop_wait_fd(test->read_fd, G_IO_IN, -1);
            continue;
        }
        ck_assert_uint_eq(count_wrong(piece, test->read, got), 0);
        test->read += got;
    }
    close_reader(test);
    test->helpers--;
}

static void coroutine_fn run_canceller(void *opaque)
{
    PumpOut *test = opaque;

    for (unsigned i = 0; i < test->cancel_after; i++) {
        pass();
    }
    pipe_end_cancel(test->to);
    test->helpers--;
}

static void coroutine_fn run_pump(void *opaque)
{
    PumpOut *test = opaque;
    const SnapOutlet outlet = {
        .fetch = fetch,
        .before_last = before_last,
        .passed = passed,
        .opaque = test,
    };

    test->helpers = test->reads + (test->cancel_after > 0);
    if (test->reads) {
        event_loop_start(run_reader, test);
    }
    if (test->cancel_after > 0) {
        event_loop_start(run_canceller, test);
    }
    test->result = snap_pump_out(test->pool, test->stream_bytes, &outlet,
                                 test->to, &test->error);
    ck_assert_uint_eq(test->in_flight, 0);
    while (test->helpers > test->reads) {
        pass();
    }
    g_clear_pointer(&test->to, pipe_end_free);
    if (test->write_fd >= 0) {
        close(test->write_fd);
    }
    while (test->helpers > 0) {
        pass();
    }
}

/* The settings of most tests; free with pump_out_free(). */
static PumpOut *pump_out_new(unsigned depth, size_t stream_bytes)
{
    PumpOut *test = g_new(PumpOut, 1);

    *test = (PumpOut){
        .depth = depth,
        .stream_bytes = stream_bytes,
        .slowest = 5,
        .read_at_most = SIZE_MAX,
        .reads = true,
    };
    ck_assert_uint_le(stream_bytes, STREAM_MAX);
    return test;
}

static void pump_out_free(PumpOut *test)
{
    g_clear_error(&test->error);
    g_free(test);
}

/* @fds: a reader, or -1, and a writer, or -1. */
static void pump_out_run_to(PumpOut *test, const int fds[2])
{
    test->read_fd = fds[0];
    test->write_fd = fds[1];
    test->random = g_rand_new_with_seed(test->depth + test->stream_bytes);
    test->pool =
        aio_buffer_pool_new(BUFFER_BYTES, test->depth, test->depth, NULL);
    if (test->write_fd >= 0) {
        test->to = pipe_end_new_writer(test->write_fd, NULL);
        ck_assert_ptr_nonnull(test->to);
    }
    if (test->reads) {
        ck_assert_int_eq(fcntl(test->read_fd, F_SETFL, O_NONBLOCK), 0);
    }
    if (test->closes_first) {
        close_reader(test);
    }
    event_loop_run(run_pump, test);
    close_reader(test);
    aio_buffer_pool_free(test->pool);
    g_rand_free(test->random);
    ck_assert_uint_le(test->most_in_flight, test->depth);
    ck_assert_uint_le(test->read, test->passed);
    ck_assert_uint_le(test->before_last_calls, 1);
    ck_assert((test->result == SNAP_PUMP_DONE) == !test->error);
}

static void pump_out_run(PumpOut *test)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pump_out_run_to(test, fds);
}

static void assert_done(const PumpOut *test)
{
    ck_assert_int_eq(test->result, SNAP_PUMP_DONE);
    ck_assert_uint_eq(test->passed, test->stream_bytes);
    /* Of no bytes there are no last ones. */
    ck_assert_uint_eq(test->before_last_calls, test->stream_bytes > 0);
    if (test->reads) {
        ck_assert_uint_eq(test->read, test->stream_bytes);
    }
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
    77 * BUFFER_BYTES + 333,
};

START_TEST(all_lengths)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(stream_lengths); i++) {
        PumpOut *test = pump_out_new(depths[_i], stream_lengths[i]);

        pump_out_run(test);
        assert_done(test);
        pump_out_free(test);
    }
}
END_TEST

/* Only to look at it: without a pipe everything passes all the same. */
START_TEST(all_lengths_without_a_pipe)
{
    static const int no_fds[2] = { -1, -1 };

    for (unsigned i = 0; i < G_N_ELEMENTS(stream_lengths); i++) {
        PumpOut *test = pump_out_new(depths[_i], stream_lengths[i]);

        test->reads = false;
        pump_out_run_to(test, no_fds);
        assert_done(test);
        pump_out_free(test);
    }
}
END_TEST

/* The buffers are used: a slow store has as many requests as there are. */
START_TEST(many_requests_at_once)
{
    PumpOut *test = pump_out_new(depths[_i], 64 * BUFFER_BYTES);

    test->fastest = 1;
    test->slowest = 50;
    pump_out_run(test);
    assert_done(test);
    ck_assert_uint_eq(test->most_in_flight, test->depth);
    pump_out_free(test);
}
END_TEST

START_TEST(fetch_need_not_yield)
{
    PumpOut *test = pump_out_new(depths[_i], 20 * BUFFER_BYTES + 1);

    test->slowest = 0;
    pump_out_run(test);
    assert_done(test);
    pump_out_free(test);
}
END_TEST

START_TEST(to_a_socket)
{
    PumpOut *test = pump_out_new(depths[_i], 60 * BUFFER_BYTES + 1);
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    pump_out_run_to(test, fds);
    assert_done(test);
    pump_out_free(test);
}
END_TEST

START_TEST(to_a_file)
{
    PumpOut *test = pump_out_new(depths[_i], 10 * BUFFER_BYTES + 1);
    int fds[2] = { -1, memfd_create("stream", MFD_CLOEXEC) };
    int file_fd = dup(fds[1]);
    uint8_t content[10 * BUFFER_BYTES + 2];

    test->reads = false;
    pump_out_run_to(test, fds);
    assert_done(test);
    ck_assert_int_eq(pread(file_fd, content, sizeof(content), 0),
                     test->stream_bytes);
    ck_assert_uint_eq(count_wrong(content, 0, test->stream_bytes), 0);
    close(file_fd);
    pump_out_free(test);
}
END_TEST

/* Nothing behind the failure goes out, and it is not called a success. */
START_TEST(failure_to_fetch)
{
    const unsigned buffers = 20;

    for (unsigned i = 1; i <= buffers; i++) {
        PumpOut *test = pump_out_new(depths[_i], buffers * BUFFER_BYTES);

        test->fail_at = i;
        pump_out_run(test);
        ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
        ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_DAMAGED));
        ck_assert_str_eq(test->error->message, "no fetching");
        ck_assert_uint_le(test->passed, (i - 1) * BUFFER_BYTES);
        ck_assert_uint_eq(test->read, test->passed);
        ck_assert_uint_eq(test->before_last_calls, 0);
        ck_assert_uint_lt(test->fetches, i + depths[_i]);
        pump_out_free(test);
    }
}
END_TEST

/* A failure that is known while the pipe is full is not forgotten. */
START_TEST(failure_to_fetch_with_a_slow_reader)
{
    PumpOut *test = pump_out_new(depths[_i], STREAM_MAX);

    test->fail_at = STREAM_MAX / BUFFER_BYTES;
    pump_out_run(test);
    ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
    ck_assert_str_eq(test->error->message, "no fetching");
    ck_assert_uint_eq(test->read, test->passed);
    ck_assert_uint_eq(test->before_last_calls, 0);
    pump_out_free(test);
}
END_TEST

/* What failed first is what is reported, also if the pipe breaks then. */
START_TEST(failure_to_fetch_before_the_reader_leaves)
{
    PumpOut *test = pump_out_new(depths[_i], STREAM_MAX);

    /* The pipe holds 256 buffers; the pump waits to write the next one. */
    test->reads = false;
    test->fail_at = 256 + depths[_i];
    test->leaves_on_error = true;
    pump_out_run(test);
    ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
    ck_assert_str_eq(test->error->message, "no fetching");
    ck_assert_uint_eq(test->passed, 256 * BUFFER_BYTES);
    pump_out_free(test);
}
END_TEST

static void assert_reader_gone(const PumpOut *test)
{
    ck_assert_int_eq(test->result, SNAP_PUMP_READER_GONE);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert_uint_lt(test->passed, test->stream_bytes);
}

START_TEST(reader_goes_away)
{
    static const size_t taken[] = { 0, 1, BUFFER_BYTES, 30 * BUFFER_BYTES };

    for (unsigned i = 0; i < G_N_ELEMENTS(taken); i++) {
        PumpOut *test = pump_out_new(depths[_i], STREAM_MAX);

        test->read_at_most = taken[i];
        pump_out_run(test);
        assert_reader_gone(test);
        ck_assert_uint_ge(test->passed, taken[i]);
        ck_assert_uint_eq(test->before_last_calls, 0);
        pump_out_free(test);
    }
}
END_TEST

/* Whoever stops the last bytes keeps them, and only them. */
START_TEST(last_bytes_are_stopped)
{
    PumpOut *test = pump_out_new(depths[_i], 30 * BUFFER_BYTES);

    test->stops_last = true;
    pump_out_run(test);
    ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_NO_SPACE));
    ck_assert_uint_eq(test->before_last_calls, 1);
    ck_assert_uint_eq(test->passed, 29 * BUFFER_BYTES);
    pump_out_free(test);
}
END_TEST

START_TEST(reader_is_gone_from_the_start)
{
    PumpOut *test = pump_out_new(depths[_i], 10);

    test->reads = false;
    test->closes_first = true;
    pump_out_run(test);
    assert_reader_gone(test);
    ck_assert_uint_eq(test->passed, 0);
    ck_assert_uint_eq(test->before_last_calls, 1);
    pump_out_free(test);
}
END_TEST

static void tcp_pair(int fds[2])
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(
        getsockname(listener, (struct sockaddr *)&address, &length), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&address, length), 0);
    fds[0] = accept(listener, NULL, NULL);
    ck_assert_int_ge(fds[0], 0);
    close(listener);
}

/* With bytes in it that nobody read, a connection is reset. */
START_TEST(reader_of_a_socket_goes_away)
{
    PumpOut *test = pump_out_new(depths[_i], STREAM_MAX);
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    test->read_at_most = 1000;
    pump_out_run_to(test, fds);
    assert_reader_gone(test);
    pump_out_free(test);
    test = pump_out_new(depths[_i], STREAM_MAX);
    tcp_pair(fds);
    test->read_at_most = 1000;
    pump_out_run_to(test, fds);
    assert_reader_gone(test);
    ck_assert_ptr_nonnull(strstr(test->error->message, g_strerror(ECONNRESET)));
    pump_out_free(test);
}
END_TEST

/* There is a pipe, and it is full, but nobody ever reads it. */
START_TEST(cancelled_while_waiting)
{
    for (unsigned turns = 1; turns < 1000; turns += turns / 2 + 1) {
        PumpOut *test = pump_out_new(depths[_i], STREAM_MAX);

        test->reads = false;
        test->cancel_after = turns;
        pump_out_run(test);
        ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
        ck_assert(
            g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_INTERRUPTED));
        ck_assert_ptr_nonnull(
            strstr(test->error->message, g_strerror(ECANCELED)));
        ck_assert_uint_eq(test->before_last_calls, 0);
        pump_out_free(test);
    }
}
END_TEST

START_TEST(failure_to_write)
{
    PumpOut *test = pump_out_new(depths[_i], 10 * BUFFER_BYTES);
    int fds[2] = { -1, open("/dev/full", O_WRONLY | O_CLOEXEC) };

    test->reads = false;
    pump_out_run_to(test, fds);
    ck_assert_int_eq(test->result, SNAP_PUMP_FAILED);
    ck_assert(g_error_matches(test->error, SNAP_ERROR, SNAP_ERROR_NO_SPACE));
    ck_assert_ptr_nonnull(strstr(test->error->message, " at 0: "));
    ck_assert_uint_eq(test->passed, 0);
    pump_out_free(test);
}
END_TEST

static Suite *snap_pump_out_suite(void)
{
    Suite *suite = suite_create("snap-pump-out");
    TCase *tcase = tcase_create("snap-pump-out");
    const int all = G_N_ELEMENTS(depths);

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, all_lengths, 0, all);
    tcase_add_loop_test(tcase, all_lengths_without_a_pipe, 0, all);
    tcase_add_loop_test(tcase, many_requests_at_once, 0, all);
    tcase_add_loop_test(tcase, fetch_need_not_yield, 0, all);
    tcase_add_loop_test(tcase, to_a_socket, 0, all);
    tcase_add_loop_test(tcase, to_a_file, 0, all);
    tcase_add_loop_test(tcase, failure_to_fetch, 0, all);
    tcase_add_loop_test(tcase, failure_to_fetch_with_a_slow_reader, 0, all);
    /* With one buffer nothing is fetched while the pump waits. */
    tcase_add_loop_test(tcase, failure_to_fetch_before_the_reader_leaves, 1,
                        all);
    tcase_add_loop_test(tcase, reader_goes_away, 0, all);
    tcase_add_loop_test(tcase, last_bytes_are_stopped, 0, all);
    tcase_add_loop_test(tcase, reader_is_gone_from_the_start, 0, all);
    tcase_add_loop_test(tcase, reader_of_a_socket_goes_away, 0, all);
    tcase_add_loop_test(tcase, cancelled_while_waiting, 0, all);
    tcase_add_loop_test(tcase, failure_to_write, 0, all);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return run_suite(snap_pump_out_suite());
}
