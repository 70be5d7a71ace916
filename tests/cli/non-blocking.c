/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Runs a command between two small pipes whose ends are non-blocking for it, as
 * some programs give them to their children: its input and its output pass
 * through them, with pauses. Afterwards the ends must be as they were. The exit
 * status is the command's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Pipe {
    int ends[2]; /* to read from, to write to */
} Pipe;

static int check(int ret, const char *what)
{
    if (ret < 0) {
        perror(what);
        exit(EXIT_FAILURE);
    }
    return ret;
}

/* @end is the one that the command gets. */
static Pipe new_pipe(int end)
{
    Pipe pipe;

    check(pipe2(pipe.ends, O_CLOEXEC), "pipe2");
    check(fcntl(pipe.ends[end], F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
    check(fcntl(pipe.ends[end], F_SETFL, O_NONBLOCK), "F_SETFL");
    return pipe;
}

/* In a process of its own; @unused is an end that others shall see closed. */
static void pass_on(int from, int to, int unused)
{
    char buffer[1000];
    ssize_t bytes;

    if (check(fork(), "fork") > 0) {
        return;
    }
    close(unused);
    while ((bytes = check(read(from, buffer, sizeof(buffer)), "read")) > 0) {
        check(write(to, buffer, bytes), "write");
        usleep(10);
    }
    _exit(EXIT_SUCCESS);
}

static int run(char **command, const Pipe *in, const Pipe *out)
{
    pid_t pid = check(fork(), "fork");
    int status;

    if (pid == 0) {
        check(dup2(in->ends[0], STDIN_FILENO), "dup2");
        check(dup2(out->ends[1], STDOUT_FILENO), "dup2");
        execvp(command[0], command);
        check(-1, command[0]);
    }
    check(waitpid(pid, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static int is_non_blocking(int fd)
{
    return check(fcntl(fd, F_GETFL), "F_GETFL") & O_NONBLOCK;
}

int main(int argc, char **argv)
{
    Pipe in = new_pipe(0);
    Pipe out = new_pipe(1);
    int status;

    pass_on(STDIN_FILENO, in.ends[1], in.ends[0]);
    close(in.ends[1]);
    pass_on(out.ends[0], STDOUT_FILENO, out.ends[1]);
    close(out.ends[0]);
    status = run(argv + 1, &in, &out);
    if (!is_non_blocking(in.ends[0]) || !is_non_blocking(out.ends[1])) {
        fprintf(stderr, "the command has changed its descriptors\n");
        status = EXIT_FAILURE;
    }
    close(in.ends[0]);
    close(out.ends[1]);
    while (wait(NULL) > 0) {
        continue;
    }
    return status;
}
