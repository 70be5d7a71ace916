/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Our end of a pipe: transfers of all sizes, waiting and being woken, the other
 * end going away, and cancelling.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "event-loop.h"
#include "pipe-end.h"
#include "run-suite.h"

#define LARGE_PIPE_BYTES (1024 * 1024)

/* Let everybody else have a turn. */
static void coroutine_fn pass(void)
{
    event_loop_wake(coroutine_self());
    coroutine_yield();
}

static void coroutine_fn check_reading(void *opaque)
{
    Connection *connection = opaque;
    char buffer[16] = "";

    ck_assert_int_eq(write(connection->write_fd, "0123456789", 10), 10);
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 4), 4);
    ck_assert_mem_eq(buffer, "0123", 4);
    /* What is there, not what there is room for. */
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 16), 6);
    ck_assert_mem_eq(buffer, "456789", 6);
    ck_assert_int_eq(write(connection->write_fd, "x", 1), 1);
    close(connection->write_fd);
    connection->write_fd = -1;
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 16), 1);
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 16), 0);
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 16), 0);
}

START_TEST(reads_what_is_there)
{
    connection_run_reader(connection_kinds[_i](), check_reading);
}
END_TEST

/* A read or write in a coroutine of its own, to see how it ends. */
typedef struct Transfer {
    PipeEnd *end;
    uint8_t *data;
    size_t bytes;
    ssize_t ret;
    size_t written;
    bool over;
} Transfer;

static void coroutine_fn run_read(void *opaque)
{
    Transfer *transfer = opaque;

    transfer->ret =
        pipe_end_read(transfer->end, transfer->data, transfer->bytes);
    transfer->over = true;
}

static void coroutine_fn run_write(void *opaque)
{
    Transfer *transfer = opaque;

    transfer->written = SIZE_MAX;
    transfer->ret = pipe_end_write(transfer->end, transfer->data,
                                   transfer->bytes, &transfer->written);
    transfer->over = true;
}

/* See that it waits and does not come to an end by itself. */
static void coroutine_fn assert_waits(const Transfer *transfer)
{
    for (unsigned i = 0; i < 20; i++) {
        pass();
        ck_assert(!transfer->over);
    }
}

static void coroutine_fn wait_for(const Transfer *transfer)
{
    while (!transfer->over) {
        pass();
    }
}

static void coroutine_fn check_waiting_reader(void *opaque)
{
    Connection *connection = opaque;
    uint8_t buffer[8];
    Transfer read = { .end = connection->end, .data = buffer, .bytes = 8 };

    event_loop_start(run_read, &read);
    assert_waits(&read);
    ck_assert_int_eq(write(connection->write_fd, "abc", 3), 3);
    wait_for(&read);
    ck_assert_int_eq(read.ret, 3);
    ck_assert_mem_eq(buffer, "abc", 3);
    /* And the end of the stream, too, is something to be woken for. */
    read.over = false;
    event_loop_start(run_read, &read);
    assert_waits(&read);
    close(connection->write_fd);
    connection->write_fd = -1;
    wait_for(&read);
    ck_assert_int_eq(read.ret, 0);
}

START_TEST(reader_waits_for_bytes)
{
    connection_run_reader(connection_kinds[_i](), check_waiting_reader);
}
END_TEST

static uint8_t *pattern_new(size_t bytes)
{
    uint8_t *pattern = g_malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        pattern[i] = i % 251 + i / 65536;
    }
    return pattern;
}

/* What @fd has, up to @bytes, without stopping the writer. */
static size_t coroutine_fn read_some(int fd, uint8_t *data, size_t bytes)
{
    ssize_t got;

    while ((got = read(fd, data, bytes)) < 0 && errno == EAGAIN) {
        event_loop_wait_fd(fd, G_IO_IN, -1);
    }
    ck_assert_int_gt(got, 0);
    return got;
}

/* More than fits into a pipe, taken out in odd pieces. */
static void coroutine_fn check_long_write(void *opaque)
{
    Connection *connection = opaque;
    const size_t bytes = 2 * LARGE_PIPE_BYTES + 12345;
    g_autofree uint8_t *pattern = pattern_new(bytes);
    g_autofree uint8_t *copy = g_malloc0(bytes + 1);
    Transfer write = {
        .end = connection->end,
        .data = pattern,
        .bytes = bytes,
    };
    size_t done = 0;

    event_loop_start(run_write, &write);
    assert_waits(&write);
    ck_assert_int_eq(fcntl(connection->read_fd, F_SETFL, O_NONBLOCK), 0);
    while (done < bytes) {
        done += read_some(connection->read_fd, copy + done,
                          MIN(1 + done % 77777, bytes - done));
    }
    wait_for(&write);
    ck_assert_int_eq(write.ret, 0);
    ck_assert_uint_eq(write.written, bytes);
    ck_assert_mem_eq(copy, pattern, bytes);
}

START_TEST(writer_waits_for_room)
{
    connection_run_writer(connection_kinds[_i](), check_long_write);
}
END_TEST

static void coroutine_fn run_give(void *opaque)
{
    Transfer *transfer = opaque;

    transfer->written = SIZE_MAX;
    transfer->ret = pipe_end_give(transfer->end, transfer->data,
                                  transfer->bytes, &transfer->written);
    transfer->over = true;
}

/* What was given is still there when its pages are not ours any more. */
static void coroutine_fn check_giving(void *opaque)
{
    Connection *connection = opaque;
    const size_t bytes = LARGE_PIPE_BYTES / 2;
    g_autofree uint8_t *pattern = pattern_new(2 * bytes);
    g_autofree uint8_t *copy = g_malloc0(2 * bytes);
    size_t done = 0;
    Transfer give = {
        .end = connection->end,
        .data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        .bytes = bytes,
    };

    ck_assert_ptr_ne(give.data, MAP_FAILED);
    ck_assert(pipe_end_can_give(connection->end));
    for (unsigned i = 0; i < 2; i++) {
        memcpy(give.data, pattern + i * bytes, bytes);
        run_give(&give);
        ck_assert_int_eq(give.ret, 0);
        ck_assert_uint_eq(give.written, bytes);
        ck_assert_int_eq(madvise(give.data, bytes, MADV_DONTNEED), 0);
    }
    munmap(give.data, bytes);
    while (done < 2 * bytes) {
        done += read_some(connection->read_fd, copy + done, 2 * bytes - done);
    }
    ck_assert_mem_eq(copy, pattern, 2 * bytes);
}

START_TEST(given_pages_keep_their_content)
{
    connection_run_writer(connection_pipe(), check_giving);
}
END_TEST

/* More than a pipe holds, and then nobody who takes it. */
static void coroutine_fn check_waiting_giver(void *opaque)
{
    Connection *connection = opaque;
    g_autofree uint8_t *pattern = pattern_new(3 * LARGE_PIPE_BYTES);
    g_autofree uint8_t *copy = g_malloc0(LARGE_PIPE_BYTES);
    Transfer give = {
        .end = connection->end,
        .data = pattern,
        .bytes = 3 * LARGE_PIPE_BYTES,
    };
    size_t done;

    event_loop_start(run_give, &give);
    assert_waits(&give);
    done = read_some(connection->read_fd, copy, LARGE_PIPE_BYTES);
    ck_assert_mem_eq(copy, pattern, done);
    assert_waits(&give);
    close(connection->read_fd);
    connection->read_fd = -1;
    wait_for(&give);
    ck_assert_int_eq(give.ret, -EPIPE);
    ck_assert_uint_ge(give.written, done);
    ck_assert_uint_lt(give.written, give.bytes);
}

START_TEST(giver_waits_for_room)
{
    connection_run_writer(connection_pipe(), check_waiting_giver);
}
END_TEST

/* A socket would be a copy, and a reader gives nothing. */
START_TEST(only_pipes_take_pages)
{
    Connection socket = connection_socket();
    Connection pipe = connection_pipe();

    socket.end = connection_writer_new(socket.write_fd);
    pipe.end = connection_reader_new(pipe.read_fd);
    ck_assert(!pipe_end_can_give(socket.end));
    ck_assert(!pipe_end_can_give(pipe.end));
    connection_close(&socket);
    connection_close(&pipe);
}
END_TEST

static void coroutine_fn check_short_writes(void *opaque)
{
    Connection *connection = opaque;
    size_t written = 99;
    char buffer[4];

    ck_assert_int_eq(pipe_end_write(connection->end, "", 0, &written), 0);
    ck_assert_uint_eq(written, 0);
    ck_assert_int_eq(pipe_end_write(connection->end, "abc", 3, &written), 0);
    ck_assert_uint_eq(written, 3);
    ck_assert_int_eq(read(connection->read_fd, buffer, 4), 3);
    ck_assert_mem_eq(buffer, "abc", 3);
}

START_TEST(writer_need_not_wait)
{
    connection_run_writer(connection_kinds[_i](), check_short_writes);
}
END_TEST

static void coroutine_fn check_gone_reader(void *opaque)
{
    Connection *connection = opaque;
    g_autofree uint8_t *pattern = pattern_new(3 * LARGE_PIPE_BYTES);
    Transfer write = {
        .end = connection->end,
        .data = pattern,
        .bytes = 3 * LARGE_PIPE_BYTES,
    };

    event_loop_start(run_write, &write);
    assert_waits(&write);
    close(connection->read_fd);
    connection->read_fd = -1;
    wait_for(&write);
    ck_assert(write.ret == -EPIPE || write.ret == -ECONNRESET);
    ck_assert_uint_gt(write.written, 0);
    ck_assert_uint_lt(write.written, write.bytes);
    /* It does not come back. */
    run_write(&write);
    ck_assert_int_eq(write.ret, -EPIPE);
    ck_assert_uint_eq(write.written, 0);
}

START_TEST(reader_goes_away)
{
    connection_run_writer(connection_kinds[_i](), check_gone_reader);
}
END_TEST

static void coroutine_fn check_no_reader(void *opaque)
{
    Connection *connection = opaque;
    size_t written = 99;

    ck_assert_int_eq(pipe_end_write(connection->end, "abc", 3, &written),
                     -EPIPE);
    ck_assert_uint_eq(written, 0);
}

/* Such a pipe cannot be opened again, which must not matter. */
START_TEST(reader_was_never_there)
{
    Connection connection = connection_kinds[_i]();
    int flags = fcntl(connection.write_fd, F_GETFL);
    int write_fd = dup(connection.write_fd);

    close(connection.read_fd);
    connection.read_fd = -1;
    connection_run_writer(connection, check_no_reader);
    ck_assert_int_eq(fcntl(write_fd, F_GETFL), flags);
    close(write_fd);
}
END_TEST

/* What others have made non-blocking stays so. */
START_TEST(nonblocking_stays_nonblocking)
{
    Connection connection = connection_kinds[_i]();
    int flags = fcntl(connection.write_fd, F_GETFL) | O_NONBLOCK;

    ck_assert_int_eq(fcntl(connection.write_fd, F_SETFL, flags), 0);
    connection.end = connection_writer_new(connection.write_fd);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETFL), flags);
    g_clear_pointer(&connection.end, pipe_end_free);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETFL), flags);
    connection_run_writer(connection, check_long_write);
}
END_TEST

static void coroutine_fn check_narrow(void *opaque)
{
    Connection *connection = opaque;
    int fd = connection->read_fd;
    int page = sysconf(_SC_PAGESIZE);
    int large = fcntl(fd, F_GETPIPE_SZ);
    g_autofree uint8_t *pattern = pattern_new(5 * page);
    g_autofree uint8_t *copy = g_malloc(5 * page + 1);

    ck_assert_int_eq(write(connection->write_fd, pattern, 5 * page), 5 * page);
    pipe_end_narrow(connection->end);
    ck_assert_int_eq(fcntl(fd, F_GETPIPE_SZ), large);
    ck_assert_int_eq(pipe_end_read(connection->end, copy, 4 * page), 4 * page);
    pipe_end_narrow(connection->end);
    ck_assert_int_eq(fcntl(fd, F_GETPIPE_SZ), page);
    pipe_end_narrow(connection->end);
    /* What was in it still is. */
    ck_assert_int_eq(pipe_end_read(connection->end, copy + 4 * page, page + 1),
                     page);
    ck_assert_mem_eq(copy, pattern, 5 * page);
    ck_assert_int_eq(fcntl(connection->write_fd, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(write(connection->write_fd, pattern, 5 * page), page);
}

START_TEST(narrow_pipe)
{
    connection_run_reader(connection_pipe(), check_narrow);
}
END_TEST

static void coroutine_fn check_narrow_socket(void *opaque)
{
    Connection *connection = opaque;

    pipe_end_narrow(connection->end);
    check_reading(connection);
}

START_TEST(narrow_socket_does_nothing)
{
    connection_run_reader(connection_socket(), check_narrow_socket);
}
END_TEST

static void coroutine_fn check_cancelled_reader(void *opaque)
{
    Connection *connection = opaque;
    uint8_t buffer[8];
    Transfer read = { .end = connection->end, .data = buffer, .bytes = 8 };

    event_loop_start(run_read, &read);
    assert_waits(&read);
    pipe_end_cancel(connection->end);
    wait_for(&read);
    ck_assert_int_eq(read.ret, -ECANCELED);
    /* For good, whatever comes. */
    ck_assert_int_eq(write(connection->write_fd, "abc", 3), 3);
    pipe_end_cancel(connection->end);
    ck_assert_int_eq(pipe_end_read(connection->end, buffer, 8), -ECANCELED);
}

START_TEST(cancel_wakes_a_reader)
{
    connection_run_reader(connection_kinds[_i](), check_cancelled_reader);
}
END_TEST

static void coroutine_fn check_cancelled_writer(void *opaque)
{
    Connection *connection = opaque;
    g_autofree uint8_t *pattern = pattern_new(3 * LARGE_PIPE_BYTES);
    g_autofree uint8_t *copy = g_malloc(3 * LARGE_PIPE_BYTES);
    Transfer write = {
        .end = connection->end,
        .data = pattern,
        .bytes = 3 * LARGE_PIPE_BYTES,
    };
    size_t accepted;
    size_t done = 0;

    event_loop_start(run_write, &write);
    assert_waits(&write);
    pipe_end_cancel(connection->end);
    wait_for(&write);
    ck_assert_int_eq(write.ret, -ECANCELED);
    accepted = write.written;
    ck_assert_uint_gt(accepted, 0);
    ck_assert_uint_lt(accepted, write.bytes);
    run_write(&write);
    ck_assert_int_eq(write.ret, -ECANCELED);
    ck_assert_uint_eq(write.written, 0);
    /* What had been accepted arrives. */
    g_clear_pointer(&connection->end, pipe_end_free);
    close(connection->write_fd);
    connection->write_fd = -1;
    for (ssize_t got = 1; got > 0; done += got) {
        got = read(connection->read_fd, copy + done, write.bytes - done);
        ck_assert_int_ge(got, 0);
    }
    ck_assert_uint_eq(done, accepted);
    ck_assert_mem_eq(copy, pattern, done);
}

START_TEST(cancel_wakes_a_writer)
{
    connection_run_writer(connection_kinds[_i](), check_cancelled_writer);
}
END_TEST

static Suite *pipe_end_suite(void)
{
    Suite *suite = suite_create("pipe-end");
    TCase *tcase = tcase_create("pipe-end");
    const int kinds = CONNECTION_KINDS;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, reads_what_is_there, 0, kinds);
    tcase_add_loop_test(tcase, reader_waits_for_bytes, 0, kinds);
    tcase_add_loop_test(tcase, writer_waits_for_room, 0, kinds);
    tcase_add_test(tcase, given_pages_keep_their_content);
    tcase_add_test(tcase, giver_waits_for_room);
    tcase_add_test(tcase, only_pipes_take_pages);
    tcase_add_loop_test(tcase, writer_need_not_wait, 0, kinds);
    tcase_add_loop_test(tcase, reader_goes_away, 0, kinds);
    tcase_add_loop_test(tcase, reader_was_never_there, 0, kinds);
    tcase_add_loop_test(tcase, nonblocking_stays_nonblocking, 0, kinds);
    tcase_add_test(tcase, narrow_pipe);
    tcase_add_test(tcase, narrow_socket_does_nothing);
    tcase_add_loop_test(tcase, cancel_wakes_a_reader, 0, kinds);
    tcase_add_loop_test(tcase, cancel_wakes_a_writer, 0, kinds);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return run_suite(pipe_end_suite());
}
