/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads that belong together, in parallel: what lies apart in the file is
 * asked for at the same time, what is adjacent in the file and in memory in
 * one request. A group lives on the stack of the coroutine that wants the
 * bytes, and what it needs does not depend on how many pieces there are.
 */
#ifndef QCOW2_READ_GROUP_H
#define QCOW2_READ_GROUP_H

#include "block-file.h"
#include "event-loop.h"

/* Requests that one group has in flight: as many as keep a device busy. */
#define QCOW2_READ_GROUP_DEPTH 16

/*
 * Longest request, in bytes. A disk gives its full rate to requests of some
 * hundred KiB already; beyond that, more of them in flight gain more than
 * longer ones, which are in one place and end late.
 */
#define QCOW2_READ_GROUP_REQUEST_BYTES ((size_t)1024 * 1024)

/*
 * How many requests several groups have in flight together. Who waits goes on
 * in the order of asking. Set @most, the rest is zero.
 */
typedef struct Qcow2ReadLimit {
    unsigned most;
    unsigned in_flight;
    CoroutineMutex turn;    /* of the next one to go on */
    CoroutineQueue changed; /* where it waits */
} Qcow2ReadLimit;

typedef struct Qcow2ReadGroup Qcow2ReadGroup;

typedef struct Qcow2Read {
    Qcow2ReadGroup *group;
    uint64_t offset;
    uint8_t *buffer;
    size_t bytes; /* 0: there is none */
} Qcow2Read;

/* Zero but for the first two. */
struct Qcow2ReadGroup {
    BlockFile *file;
    Qcow2ReadLimit *limit; /* shared with other groups; NULL: no limit */

    Qcow2Read held; /* the last one added, which may yet become longer */
    /* In flight, each in a coroutine; the group's own has one more. */
    Qcow2Read reads[QCOW2_READ_GROUP_DEPTH - 1];
    unsigned in_flight;     /* of @reads */
    CoroutineQueue changed; /* there is room in @reads */
    int error;              /* a negative errno: the first failure... */
    uint64_t error_offset;  /* ...its request... */
    uint8_t *error_buffer;
    size_t error_bytes; /* ...and how long that was */
};

/*
 * Read @bytes at @offset into @buffer, now or in _finish(). Does nothing once
 * a read has failed. Yields.
 */
void coroutine_fn qcow2_read_group_add(Qcow2ReadGroup *group, uint64_t offset,
                                       void *buffer, size_t bytes);

/*
 * Wait until all is read and nothing is in flight; always due. Yields. Returns
 * 0 or the error of the group.
 */
int coroutine_fn qcow2_read_group_finish(Qcow2ReadGroup *group);

/* The same, for a user who has failed: nothing more is started. */
void coroutine_fn qcow2_read_group_abandon(Qcow2ReadGroup *group);

#endif /* QCOW2_READ_GROUP_H */
