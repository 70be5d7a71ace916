/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See connection.h. Failures end the test: there is nothing to test then.
 */
#include <check.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "event-loop.h"

Connection connection_pipe(void)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    return (Connection){ .read_fd = fds[0], .write_fd = fds[1] };
}

Connection connection_socket(void)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    return (Connection){ .read_fd = fds[0], .write_fd = fds[1] };
}

ConnectionFunc *const connection_kinds[CONNECTION_KINDS] = {
    connection_pipe,
    connection_socket,
};

PipeEnd *connection_reader_new(int fd)
{
    GError *error = NULL;
    PipeEnd *end = pipe_end_new_reader(fd, &error);

    ck_assert_ptr_null(error);
    ck_assert_ptr_nonnull(end);
    return end;
}

PipeEnd *connection_writer_new(int fd)
{
    GError *error = NULL;
    PipeEnd *end = pipe_end_new_writer(fd, &error);

    ck_assert_ptr_null(error);
    ck_assert_ptr_nonnull(end);
    return end;
}

void connection_close(Connection *connection)
{
    g_clear_pointer(&connection->end, pipe_end_free);
    if (connection->read_fd >= 0) {
        close(connection->read_fd);
    }
    if (connection->write_fd >= 0) {
        close(connection->write_fd);
    }
}

void connection_run_reader(Connection connection, CoroutineFunc *func)
{
    connection.end = connection_reader_new(connection.read_fd);
    event_loop_run(func, &connection);
    connection_close(&connection);
}

void connection_run_writer(Connection connection, CoroutineFunc *func)
{
    connection.end = connection_writer_new(connection.write_fd);
    event_loop_run(func, &connection);
    connection_close(&connection);
}
