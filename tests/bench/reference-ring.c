/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The least that a program must do to move a pipe to a disk at full speed:
 * eight buffers, each submitted as soon as it is full, space taken ahead, one
 * flush at the end. No format, no parsing, no second thought. What qemu-snap
 * save takes longer than this is the price of what it does besides.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEPTH        8
#define BUFFER_BYTES (1024 * 1024)
#define ALIGNMENT    4096
#define AHEAD_BYTES  (256LL * 1024 * 1024)

static void __attribute__((noreturn)) die(const char *what, int error)
{
    fprintf(stderr, "reference-ring: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

/* Fill @buffer from standard input; less only at its end. */
static size_t fill(uint8_t *buffer)
{
    size_t bytes = 0;

    while (bytes < BUFFER_BYTES) {
        ssize_t got = read(STDIN_FILENO, buffer + bytes, BUFFER_BYTES - bytes);

        if (got < 0) {
            die("read", errno);
        }
        if (got == 0) {
            break;
        }
        bytes += got;
    }
    return bytes;
}

/* Wait for any request; *@free_buffer is the place in the ring it had. */
static void reap(io_context_t context, unsigned *free_buffer)
{
    struct io_event event;
    int ret = io_getevents(context, 1, 1, &event, NULL);

    if (ret != 1) {
        die("io_getevents", ret < 0 ? -ret : EIO);
    }
    if (event.res != event.obj->u.c.nbytes) {
        die("write", (long)event.res < 0 ? -(long)event.res : EIO);
    }
    *free_buffer = (uintptr_t)event.data;
}

/* Take the disk space for a write that ends at @end ahead of it. */
static void reserve(int file, int64_t end, int64_t *reserved)
{
    if (end > *reserved) {
        if (fallocate(file, 0, *reserved, AHEAD_BYTES) < 0) {
            die("fallocate", errno);
        }
        *reserved += AHEAD_BYTES;
    }
}

static int64_t move(io_context_t context, int file, uint8_t *memory)
{
    struct iocb requests[DEPTH];
    int64_t position = 0;
    int64_t reserved = 0;
    unsigned in_flight = 0;
    unsigned started = 0;
    size_t bytes = BUFFER_BYTES;

    while (bytes == BUFFER_BYTES) {
        struct iocb *request;
        unsigned at = started++;
        uint8_t *buffer;
        size_t padded;

        if (at >= DEPTH) {
            reap(context, &at);
            in_flight--;
        }
        request = &requests[at];
        buffer = memory + (size_t)at * BUFFER_BYTES;
        bytes = fill(buffer);
        if (bytes == 0) {
            break;
        }
        padded = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
        memset(buffer + bytes, 0, padded - bytes);
        reserve(file, position + padded, &reserved);
        io_prep_pwrite(request, file, buffer, padded, position);
        request->data = (void *)(uintptr_t)at;
        if (io_submit(context, 1, &request) != 1) {
            die("io_submit", EIO);
        }
        in_flight++;
        position += bytes;
    }
    while (in_flight-- > 0) {
        unsigned ignored;

        reap(context, &ignored);
    }
    return position;
}

int main(int argc, char **argv)
{
    io_context_t context = NULL;
    int64_t bytes;
    void *memory;
    int file;

    if (argc != 2) {
        fprintf(stderr, "usage: reference-ring FILE < PIPE\n");
        return EXIT_FAILURE;
    }
    file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0644);
    if (file < 0) {
        die(argv[1], errno);
    }
    memory = mmap(NULL, DEPTH * BUFFER_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        die("mmap", errno);
    }
    /* A pipe that stays small works as well. */
    (void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, 1024 * 1024);
    if (io_setup(DEPTH, &context) < 0) {
        die("io_setup", EAGAIN);
    }
    bytes = move(context, file, memory);
    if (ftruncate(file, bytes) < 0 || fdatasync(file) < 0) {
        die(argv[1], errno);
    }
    return EXIT_SUCCESS;
}
