/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The ways to get a file of the page cache into a pipe, each with what it costs
 * the writer and the reader. Prints one JSON object.
 *
 *   write-small   read() into a ring of ordinary pages, write()
 *   write-huge    the same with a ring of huge pages
 *   vmsplice      read() into huge pages, which are then given away: the pipe
 *                 keeps referring to pages until they are read, so the only
 *                 safe way to use their place again is to have other ones there
 *   splice        from the file to the pipe without us
 *
 * The reader is a process that read()s into one buffer of 1 MiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HUGE_BYTES  ((size_t)2 * 1024 * 1024)
#define RING_BYTES  (4 * HUGE_BYTES)
#define CHUNK_BYTES (HUGE_BYTES / 2)
#define PIPE_BYTES  (1024 * 1024)

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "pipe-ways: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* A ring that begins at a multiple of a huge page. */
static uint8_t *new_ring(bool huge)
{
    uint8_t *memory = mmap(NULL, RING_BYTES + HUGE_BYTES,
                           PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                           -1, 0);

    if (memory == MAP_FAILED) {
        die("mmap");
    }
    memory += -(uintptr_t)memory % HUGE_BYTES;
    (void)madvise(memory, RING_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return memory;
}

static void send_copy(int to, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t sent = write(to, data, bytes);

        if (sent < 0) {
            die("write");
        }
        data += sent;
        bytes -= sent;
    }
}

static void send_pages(int to, uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        struct iovec vector = { .iov_base = data, .iov_len = bytes };
        ssize_t sent = vmsplice(to, &vector, 1, 0);

        if (sent < 0) {
            die("vmsplice");
        }
        data += sent;
        bytes -= sent;
    }
}

static uint64_t move_by_ring(int from, int to, bool huge, bool give_away)
{
    uint8_t *ring = new_ring(huge);
    uint64_t total = 0;
    size_t at = 0;
    ssize_t got;

    while ((got = read(from, ring + at, CHUNK_BYTES)) > 0) {
        if (give_away) {
            send_pages(to, ring + at, got);
        } else {
            send_copy(to, ring + at, got);
        }
        total += got;
        at += CHUNK_BYTES;
        if (give_away && at % HUGE_BYTES == 0 &&
            madvise(ring + at - HUGE_BYTES, HUGE_BYTES, MADV_DONTNEED) < 0) {
            die("madvise");
        }
        at %= RING_BYTES;
    }
    if (got < 0) {
        die("read");
    }
    return total;
}

static uint64_t move_by_splice(int from, int to)
{
    uint64_t total = 0;
    ssize_t got;

    while ((got = splice(from, NULL, to, NULL, PIPE_BYTES, 0)) > 0) {
        total += got;
    }
    if (got < 0) {
        die("splice");
    }
    return total;
}

static uint64_t move(const char *way, int from, int to)
{
    if (!strcmp(way, "splice")) {
        return move_by_splice(from, to);
    }
    if (!strcmp(way, "vmsplice")) {
        return move_by_ring(from, to, true, true);
    }
    return move_by_ring(from, to, !strcmp(way, "write-huge"), false);
}

static void __attribute__((noreturn)) run_reader(int from)
{
    static uint8_t buffer[CHUNK_BYTES];

    while (read(from, buffer, sizeof(buffer)) > 0) {
        continue;
    }
    _exit(EXIT_SUCCESS);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu_of(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 +
           usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    double start;
    uint64_t bytes;
    pid_t reader;
    int ends[2];
    int file;

    if (argc != 3) {
        fprintf(stderr, "usage: pipe-ways WAY FILE\n");
        return EXIT_FAILURE;
    }
    file = open(argv[2], O_RDONLY);
    if (file < 0 || pipe(ends) < 0) {
        die(argv[2]);
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    start = now();
    reader = fork();
    if (reader < 0) {
        die("fork");
    }
    if (reader == 0) {
        close(ends[1]);
        run_reader(ends[0]);
    }
    close(ends[0]);
    bytes = move(argv[1], file, ends[1]);
    close(ends[1]);
    waitpid(reader, NULL, 0);
    printf("{ \"seconds\": %.5f, \"bytes\": %llu, \"cpu_seconds\": %.4f, "
           "\"reader_cpu_seconds\": %.4f }\n",
           now() - start, (unsigned long long)bytes, cpu_of(RUSAGE_SELF),
           cpu_of(RUSAGE_CHILDREN));
    return EXIT_SUCCESS;
}
