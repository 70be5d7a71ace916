/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What our end of a pipe may be, and what is left as it was for the others who
 * use the same pipe, file or device.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "event-loop.h"
#include "pipe-end.h"
#include "run-suite.h"
#include "snap-error.h"

#define LARGE_PIPE_BYTES (1024 * 1024)

/* Flags belong to all who share the pipe: a shell, or another writer. */
START_TEST(flags_of_a_pipe_never_change)
{
    Connection connection = connection_pipe();
    int read_flags = fcntl(connection.read_fd, F_GETFL);
    int write_flags = fcntl(connection.write_fd, F_GETFL);
    PipeEnd *reader = connection_reader_new(connection.read_fd);
    PipeEnd *writer = connection_writer_new(connection.write_fd);

    ck_assert_int_eq(read_flags & O_NONBLOCK, 0);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETFL), read_flags);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETFL), write_flags);
    pipe_end_free(reader);
    pipe_end_free(writer);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETFL), read_flags);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETFL), write_flags);
    connection_close(&connection);
}
END_TEST

/* A socket cannot be opened again. */
START_TEST(flags_of_a_socket_are_given_back)
{
    Connection connection = connection_socket();
    int flags = fcntl(connection.read_fd, F_GETFL);

    ck_assert_int_eq(flags & O_NONBLOCK, 0);
    connection.end = connection_reader_new(connection.read_fd);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETFL), flags | O_NONBLOCK);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETFL), flags);
    g_clear_pointer(&connection.end, pipe_end_free);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETFL), flags);
    connection_close(&connection);
}
END_TEST

/* A descriptor that can be read and written, of a file with this content. */
static int file_new(const char *content)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    ck_assert_int_eq(write(fd, content, strlen(content)), strlen(content));
    return fd;
}

static void coroutine_fn check_file_reader(void *opaque)
{
    Connection *file = opaque;
    char buffer[16];

    /* From where the caller was, who then is where we have stopped. */
    ck_assert_int_eq(lseek(file->read_fd, 3, SEEK_SET), 3);
    ck_assert_int_eq(pipe_end_read(file->end, buffer, 4), 4);
    ck_assert_mem_eq(buffer, "3456", 4);
    ck_assert_int_eq(lseek(file->read_fd, 0, SEEK_CUR), 7);
    pipe_end_narrow(file->end);
    ck_assert_int_eq(pipe_end_read(file->end, buffer, 16), 3);
    ck_assert_int_eq(pipe_end_read(file->end, buffer, 16), 0);
    pipe_end_cancel(file->end);
    ck_assert_int_eq(lseek(file->read_fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(pipe_end_read(file->end, buffer, 4), -ECANCELED);
}

static void coroutine_fn check_file_writer(void *opaque)
{
    Connection *file = opaque;
    char buffer[16];
    size_t written;

    ck_assert_int_eq(lseek(file->write_fd, 8, SEEK_SET), 8);
    ck_assert_int_eq(pipe_end_write(file->end, "abcdef", 6, &written), 0);
    ck_assert_uint_eq(written, 6);
    ck_assert_int_eq(lseek(file->write_fd, 0, SEEK_CUR), 14);
    ck_assert_int_eq(pread(file->write_fd, buffer, 16, 0), 14);
    ck_assert_mem_eq(buffer, "01234567abcdef", 14);
    pipe_end_cancel(file->end);
    ck_assert_int_eq(pipe_end_write(file->end, "abc", 3, &written), -ECANCELED);
    ck_assert_uint_eq(written, 0);
}

START_TEST(regular_files)
{
    Connection file = { .read_fd = file_new("0123456789"), .write_fd = -1 };

    connection_run_reader(file, check_file_reader);
    file = (Connection){ .read_fd = -1, .write_fd = file_new("0123456789") };
    connection_run_writer(file, check_file_writer);
}
END_TEST

static void coroutine_fn check_null_reader(void *opaque)
{
    Connection *device = opaque;
    char buffer[16];

    ck_assert_int_eq(pipe_end_read(device->end, buffer, 16), 0);
    ck_assert_int_eq(pipe_end_read(device->end, buffer, 16), 0);
}

static void coroutine_fn check_zero_reader(void *opaque)
{
    Connection *device = opaque;
    char buffer[4] = "abc";

    ck_assert_int_eq(pipe_end_read(device->end, buffer, 4), 4);
    ck_assert_mem_eq(buffer, "\0\0\0", 4);
}

static void coroutine_fn check_null_writer(void *opaque)
{
    Connection *device = opaque;
    size_t written;

    ck_assert_int_eq(pipe_end_write(device->end, "abc", 3, &written), 0);
    ck_assert_uint_eq(written, 3);
}

static void coroutine_fn check_full_writer(void *opaque)
{
    Connection *device = opaque;
    size_t written = 99;

    ck_assert_int_eq(pipe_end_write(device->end, "abc", 3, &written), -ENOSPC);
    ck_assert_uint_eq(written, 0);
}

static Connection open_device(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    return flags == O_RDONLY ? (Connection){ .read_fd = fd, .write_fd = -1 }
                             : (Connection){ .read_fd = -1, .write_fd = fd };
}

START_TEST(devices)
{
    connection_run_reader(open_device("/dev/null", O_RDONLY),
                          check_null_reader);
    connection_run_reader(open_device("/dev/zero", O_RDONLY),
                          check_zero_reader);
    connection_run_writer(open_device("/dev/null", O_WRONLY),
                          check_null_writer);
    connection_run_writer(open_device("/dev/full", O_WRONLY),
                          check_full_writer);
}
END_TEST

static void assert_refused(int fd, int error_number)
{
    g_autoptr(GError) input_error = NULL;
    g_autoptr(GError) output_error = NULL;

    ck_assert_ptr_null(pipe_end_new_reader(fd, &input_error));
    ck_assert(g_error_matches(input_error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert_ptr_nonnull(strstr(input_error->message, "standard input"));
    ck_assert_ptr_nonnull(
        strstr(input_error->message, g_strerror(error_number)));
    ck_assert_ptr_null(pipe_end_new_writer(fd, &output_error));
    ck_assert(g_error_matches(output_error, SNAP_ERROR, SNAP_ERROR_IO));
    ck_assert_ptr_nonnull(strstr(output_error->message, "standard output"));
}

START_TEST(closed_descriptor_is_refused)
{
    Connection connection = connection_pipe();

    connection_close(&connection);
    assert_refused(connection.read_fd, EBADF);
    assert_refused(-1, EBADF);
    pipe_end_free(NULL);
}
END_TEST

START_TEST(directory_is_refused)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_refused(fd, EISDIR);
    close(fd);
}
END_TEST

static void coroutine_fn check_read_of_writer(void *opaque)
{
    Connection *connection = opaque;
    char byte;

    ck_assert_int_eq(pipe_end_read(connection->end, &byte, 1), -EBADF);
}

static void coroutine_fn check_write_to_reader(void *opaque)
{
    Connection *connection = opaque;
    size_t written = 99;

    ck_assert_int_eq(pipe_end_write(connection->end, "x", 1, &written), -EBADF);
    ck_assert_uint_eq(written, 0);
}

START_TEST(wrong_way_round)
{
    Connection connection = connection_pipe();

    connection.end = connection_reader_new(connection.write_fd);
    event_loop_run(check_read_of_writer, &connection);
    pipe_end_free(connection.end);
    connection.end = connection_writer_new(connection.read_fd);
    event_loop_run(check_write_to_reader, &connection);
    connection_close(&connection);
}
END_TEST

static unsigned count_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

/* The caller's descriptors stay open, and no other one does. */
START_TEST(descriptors_are_closed_again)
{
    Connection pipe = connection_pipe();
    Connection socket = connection_socket();
    int fds[] = { pipe.read_fd,
                  pipe.write_fd,
                  socket.read_fd,
                  file_new(""),
                  open("/", O_RDONLY | O_CLOEXEC),
                  -1,
                  open("/dev/null", O_RDWR | O_CLOEXEC) };
    unsigned before = count_open();

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        pipe_end_free(pipe_end_new_reader(fds[i], NULL));
        ck_assert_uint_eq(count_open(), before);
        pipe_end_free(pipe_end_new_writer(fds[i], NULL));
        ck_assert_uint_eq(count_open(), before);
    }
    close(fds[3]);
    close(fds[4]);
    close(fds[6]);
    connection_close(&pipe);
    connection_close(&socket);
}
END_TEST

START_TEST(pipe_is_made_large)
{
    Connection probe = connection_pipe();
    Connection connection = connection_pipe();
    int large;

    /* As large as we may have it, which others may have limited. */
    (void)fcntl(probe.read_fd, F_SETPIPE_SZ, LARGE_PIPE_BYTES);
    large = fcntl(probe.read_fd, F_GETPIPE_SZ);
    connection.end = connection_reader_new(connection.read_fd);
    ck_assert_int_eq(fcntl(connection.write_fd, F_GETPIPE_SZ), large);
    connection_close(&connection);
    connection = connection_pipe();
    connection.end = connection_writer_new(connection.write_fd);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETPIPE_SZ), large);
    connection_close(&connection);
    /* One that is even larger stays so. */
    connection = connection_pipe();
    (void)fcntl(connection.read_fd, F_SETPIPE_SZ, 2 * LARGE_PIPE_BYTES);
    large = MAX(large, fcntl(connection.read_fd, F_GETPIPE_SZ));
    connection.end = connection_reader_new(connection.read_fd);
    ck_assert_int_eq(fcntl(connection.read_fd, F_GETPIPE_SZ), large);
    connection_close(&connection);
    connection_close(&probe);
}
END_TEST

static Suite *pipe_end_kinds_suite(void)
{
    Suite *suite = suite_create("pipe-end-kinds");
    TCase *tcase = tcase_create("pipe-end-kinds");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, flags_of_a_pipe_never_change);
    tcase_add_test(tcase, flags_of_a_socket_are_given_back);
    tcase_add_test(tcase, regular_files);
    tcase_add_test(tcase, devices);
    tcase_add_test(tcase, closed_descriptor_is_refused);
    tcase_add_test(tcase, directory_is_refused);
    tcase_add_test(tcase, wrong_way_round);
    tcase_add_test(tcase, descriptors_are_closed_again);
    tcase_add_test(tcase, pipe_is_made_large);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return run_suite(pipe_end_kinds_suite());
}
