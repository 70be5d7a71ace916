/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Pipes and sockets with a PipeEnd at one end, for tests of it.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "pipe-end.h"

/* One of the two ends, or both, may be missing: -1. */
typedef struct Connection {
    int read_fd;
    int write_fd;
    PipeEnd *end; /* of one of the two; the test holds the other itself */
} Connection;

Connection connection_pipe(void);
Connection connection_socket(void);

/* The two above, for tests that are the same for both. */
#define CONNECTION_KINDS 2
typedef Connection ConnectionFunc(void);
extern ConnectionFunc *const connection_kinds[CONNECTION_KINDS];

/* With all that is still open. */
void connection_close(Connection *connection);

/* A PipeEnd where there must be no error. */
PipeEnd *connection_reader_new(int fd);
PipeEnd *connection_writer_new(int fd);

/*
 * Run @func with a connection whose end reads or writes, and close it. The
 * opaque pointer of @func is a Connection.
 */
void connection_run_reader(Connection connection, CoroutineFunc *func);
void connection_run_writer(Connection connection, CoroutineFunc *func);

#endif /* CONNECTION_H */
