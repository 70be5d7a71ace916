/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Requests to native AIO and io_uring that fail once, for fail-call.c: reads
 * and writes like those by system calls. One that shall be short is given to
 * the kernel as a shorter one, and one that shall fail is carried out, but
 * comes back with the error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <libaio.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdint.h>

#include "fail-call.h"

/* What O_DIRECT asks for of the devices that there are. Bytes. */
#define ALIGNMENT 4096

/* The one that shall fail, by what tells it from the others; 0: none. */
static _Atomic uintptr_t chosen;

/* Returns whether the request @id shall be short. */
static int choose(int kind, uintptr_t id)
{
    if (!fails(kind)) {
        return 0;
    }
    if (failure()) {
        chosen = id;
    }
    return !failure();
}

static long result_of(uintptr_t id, long result)
{
    return atomic_compare_exchange_strong(&chosen, &id, 0) ? -failure()
                                                           : result;
}

static size_t half(size_t bytes)
{
    size_t less = bytes / 2 / ALIGNMENT * ALIGNMENT;

    return less ? less : bytes;
}

/* The first half of a vector's first piece. There is only one such request. */
static struct iovec *half_of(const struct iovec *iov)
{
    static struct iovec part;

    part = (struct iovec){ iov->iov_base, half(iov->iov_len) };
    return &part;
}

static void choose_native(struct iocb *iocb)
{
    int writes = iocb->aio_lio_opcode == IO_CMD_PWRITEV;

    if (choose(writes ? WRITE : READ, (uintptr_t)iocb)) {
        iocb->u.v.vec = half_of(iocb->u.v.vec);
        iocb->u.v.nr = 1;
    }
}

int io_submit(io_context_t context, long count, struct iocb **list)
{
    long i;

    for (i = 0; i < count; i++) {
        choose_native(list[i]);
    }
    return NEXT(io_submit)(context, count, list);
}

int io_getevents(io_context_t context, long least, long most,
                 struct io_event *events, struct timespec *timeout)
{
    int count = NEXT(io_getevents)(context, least, most, events, timeout);
    int i;

    for (i = 0; i < count; i++) {
        events[i].res = result_of((uintptr_t)events[i].obj, events[i].res);
    }
    return count;
}

static void choose_entry(struct io_uring_sqe *sqe)
{
    int writes = sqe->opcode == IORING_OP_WRITEV ||
                 sqe->opcode == IORING_OP_WRITE_FIXED;

    if (sqe->opcode == IORING_OP_NOP ||
        !choose(writes ? WRITE : READ, sqe->user_data)) {
        return;
    }
    if (sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITEV) {
        sqe->addr = (uintptr_t)half_of((const struct iovec *)sqe->addr);
        sqe->len = 1;
    } else {
        sqe->len = half(sqe->len);
    }
}

int io_uring_submit(struct io_uring *ring)
{
    unsigned i;

    for (i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
        choose_entry(&ring->sq.sqes[i & (ring->sq.ring_entries - 1)]);
    }
    return NEXT(io_uring_submit)(ring);
}

unsigned io_uring_peek_batch_cqe(struct io_uring *ring,
                                 struct io_uring_cqe **list, unsigned most)
{
    unsigned count = NEXT(io_uring_peek_batch_cqe)(ring, list, most);
    unsigned i;

    for (i = 0; i < count; i++) {
        list[i]->res = result_of(list[i]->user_data, list[i]->res);
    }
    return count;
}
