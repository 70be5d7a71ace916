/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Runs a command and writes into a file, as JSON, how long it took, how much
 * time of a processor it used, and how much memory it had at its peak. The
 * shell can tell none of that with any precision, and only a parent can ask
 * for what a process that has ended had used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds_of(struct timeval time)
{
    return time.tv_sec + time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    double start;
    double seconds;
    int status;
    pid_t child;
    FILE *report;

    if (argc < 3) {
        fprintf(stderr, "usage: measure REPORT COMMAND [ARGUMENT...]\n");
        return EXIT_FAILURE;
    }
    start = now();
    child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("measure");
        return EXIT_FAILURE;
    }
    seconds = now() - start;
    report = fopen(argv[1], "w");
    if (!report) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    fprintf(report,
            "{ \"seconds\": %.5f, \"cpu_seconds\": %.4f, "
            "\"peak_kib\": %ld }\n",
            seconds, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
            usage.ru_maxrss);
    if (fclose(report) != 0) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
