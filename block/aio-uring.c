/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * io_uring, through liburing.
 *
 * A request lies on the stack of the coroutine that waits for it and goes
 * through: `pending', in order of arrival -> `queued': has an entry in the
 * submission ring -> accepted by the kernel -> result there, coroutine woken.
 * A result may also send it back to `pending'. Invariants:
 *
 * 1. Requests are submitted once in each turn of the event loop, right before
 *    it may sleep. So all that came up in one turn go out in one system call.
 * 2. `in_flight' counts what the kernel has accepted. Together with what is
 *    queued it never exceeds AIO_URING_QUEUE, and `no_ops' does not either. The
 *    completion ring holds twice as many, so no completion is ever without a
 *    place.
 * 3. While something is pending or queued, either something is in flight, whose
 *    completion brings the next attempt, or the attempt is made in this turn.
 * 4. The file is not registered with the ring. A ring outlives its process for
 *    a moment, and a registered file with it: after a kill the image would
 *    stay locked for that long. Registering it gained nothing measurable. (So
 *    does a file that has requests in flight: aio-choice.c.)
 * 5. An entry of the submission ring cannot be taken out again. That of a
 *    request that fails before it is accepted becomes a no-op. It was the first
 *    one, so no-ops stand before everything that is queued.
 * 6. Memory that many requests use is registered, which spares the kernel to
 *    look up and pin the pages of each. Only the entry differs: the way of a
 *    request, and what becomes of its result, is the same.
 */
#include <errno.h>
#include <liburing.h>
#include <glib.h>
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif

#include "aio-engine.h"
#include "checked.h"
#include "event-loop.h"
#include "event-notifier.h"

/*
 * Several times what a device or a ring of buffers has use for. A power of
 * two, which the kernel would make of it anyway.
 */
#define AIO_URING_QUEUE 128

/* What the kernel takes as one buffer. */
#define AIO_URING_BUFFER_MAX ((size_t)1 << 30)

typedef struct AioUring {
    AioEngine engine;
    struct io_uring ring;
    EventNotifier *notifier;
    GQueue pending; /* of UringRequest */
    GQueue queued;  /* of UringRequest, in the order of the ring */
    unsigned no_ops;
    unsigned in_flight;
    struct iovec buffers; /* registered; empty: none are */
} AioUring;

typedef struct UringRequest {
    const AioTransfer *transfer;
    GList link;               /* in @pending or @queued */
    struct io_uring_sqe *sqe; /* valid while queued */
    bool needs_worker;        /* see aio_uring_handle_result() */
    Coroutine *coroutine;
    ssize_t result;
} UringRequest;

/* Valgrind does not see what the kernel writes on behalf of a ring. */
static void uring_request_mark_read(const UringRequest *request)
{
#ifdef VALGRIND_MAKE_MEM_DEFINED
    const AioTransfer *transfer = request->transfer;
    size_t left = MAX(request->result, 0);

    for (int i = 0; i < transfer->iovcnt && !transfer->is_write; i++) {
        size_t bytes = MIN(left, transfer->iov[i].iov_len);

        VALGRIND_MAKE_MEM_DEFINED(transfer->iov[i].iov_base, bytes);
        left -= bytes;
    }
#endif
}

static void uring_request_complete(UringRequest *request, ssize_t result)
{
    request->result = result;
    uring_request_mark_read(request);
    event_loop_wake(request->coroutine);
}

static bool aio_uring_has_registered(const AioUring *uring,
                                     const AioTransfer *transfer)
{
    uintptr_t start = (uintptr_t)uring->buffers.iov_base;
    uintptr_t first = (uintptr_t)transfer->iov->iov_base;

    return transfer->iovcnt == 1 && first >= start &&
           range_within(first - start, transfer->iov->iov_len,
                        uring->buffers.iov_len);
}

static void aio_uring_fill_registered(AioUring *uring, UringRequest *request)
{
    const AioTransfer *transfer = request->transfer;
    const struct iovec *iov = transfer->iov;
    int fd = uring->engine.fd;

    if (transfer->is_write) {
        io_uring_prep_write_fixed(request->sqe, fd, iov->iov_base, iov->iov_len,
                                  transfer->offset, 0);
    } else {
        io_uring_prep_read_fixed(request->sqe, fd, iov->iov_base, iov->iov_len,
                                 transfer->offset, 0);
    }
}

static void aio_uring_fill_plain(AioUring *uring, UringRequest *request)
{
    const AioTransfer *transfer = request->transfer;
    int fd = uring->engine.fd;

    if (transfer->is_write) {
        io_uring_prep_writev(request->sqe, fd, transfer->iov, transfer->iovcnt,
                             transfer->offset);
    } else {
        io_uring_prep_readv(request->sqe, fd, transfer->iov, transfer->iovcnt,
                            transfer->offset);
    }
}

static void aio_uring_fill_entry(AioUring *uring, UringRequest *request)
{
    if (aio_uring_has_registered(uring, request->transfer)) {
        aio_uring_fill_registered(uring, request);
    } else {
        aio_uring_fill_plain(uring, request);
    }
    io_uring_sqe_set_flags(request->sqe,
                           request->needs_worker ? IOSQE_ASYNC : 0);
    io_uring_sqe_set_data(request->sqe, request);
}

static bool aio_uring_has_room(AioUring *uring)
{
    return uring->in_flight + g_queue_get_length(&uring->queued) <
           AIO_URING_QUEUE;
}

/*
 * Move what fits into the submission ring. Returns whether there is something
 * to submit: requests, or the no-ops that are in their way.
 */
static bool aio_uring_queue_pending(AioUring *uring)
{
    while (!g_queue_is_empty(&uring->pending) && aio_uring_has_room(uring)) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
        GList *link;

        if (!sqe) {
            g_assert(uring->no_ops > 0);
            return true;
        }
        link = g_queue_pop_head_link(&uring->pending);
        ((UringRequest *)link->data)->sqe = sqe;
        aio_uring_fill_entry(uring, link->data);
        g_queue_push_tail_link(&uring->queued, link);
    }
    return !g_queue_is_empty(&uring->queued);
}

static void aio_uring_accept(AioUring *uring, unsigned count)
{
    unsigned no_ops = MIN(count, uring->no_ops);

    uring->no_ops -= no_ops;
    for (count -= no_ops; count > 0; count--) {
        g_queue_pop_head_link(&uring->queued);
        uring->in_flight++;
    }
    g_assert(uring->in_flight <= AIO_URING_QUEUE);
}

/* The kernel will not take the first request, and nothing changes that. */
static void aio_uring_fail_first(AioUring *uring, int error)
{
    GList *link = g_queue_pop_head_link(&uring->queued);
    UringRequest *request;

    if (link) {
        request = link->data;
        io_uring_prep_nop(request->sqe);
        io_uring_sqe_set_data(request->sqe, NULL);
        uring->no_ops++;
    } else {
        /* The ring is full of no-ops. */
        request = g_queue_pop_head_link(&uring->pending)->data;
    }
    uring_request_complete(request, error);
}

/*
 * EINTR: a worker of the kernel was disturbed; nothing has been done. EAGAIN:
 * waiting would be needed where it is not possible. A worker can wait, so it
 * is asked once; if it says the same, that is the answer.
 */
static void aio_uring_handle_result(AioUring *uring, UringRequest *request,
                                    int result)
{
    if (result == -EINTR || (result == -EAGAIN && !request->needs_worker)) {
        request->needs_worker |= result == -EAGAIN;
        g_queue_push_tail_link(&uring->pending, &request->link);
    } else {
        uring_request_complete(request, result);
    }
}

/* Takes no system call but the one that reset the eventfd. */
static void aio_uring_notified(void *opaque)
{
    AioUring *uring = opaque;
    struct io_uring_cqe *completions[AIO_URING_QUEUE];
    unsigned count;

    while ((count = io_uring_peek_batch_cqe(&uring->ring, completions,
                                            G_N_ELEMENTS(completions))) > 0) {
        for (unsigned i = 0; i < count; i++) {
            UringRequest *request = io_uring_cqe_get_data(completions[i]);

            /* A no-op has none. */
            if (request) {
                g_assert(uring->in_flight > 0);
                uring->in_flight--;
                aio_uring_handle_result(uring, request, completions[i]->res);
            }
        }
        io_uring_cq_advance(&uring->ring, count);
    }
}

/*
 * Does the kernel want the same requests again, later? EAGAIN: it has no memory
 * for them now. EBUSY: the completion ring is full.
 */
static bool aio_uring_is_busy(int accepted)
{
    return accepted == 0 || accepted == -EAGAIN || accepted == -EBUSY;
}

/* Returns whether a coroutine was woken. */
static bool aio_uring_submit(AioUring *uring)
{
    bool woken = false;

    while (aio_uring_queue_pending(uring)) {
        int accepted = io_uring_submit(&uring->ring);

        if (accepted > 0) {
            /* All, or some: why not more is the answer to the next call. */
            aio_uring_accept(uring, accepted);
        } else if (accepted == -EINTR) {
            continue;
        } else if (aio_uring_is_busy(accepted) && uring->in_flight > 0) {
            /* Taking a completion gives back what is missing. */
            break;
        } else {
            aio_uring_fail_first(uring, accepted == 0 ? -EAGAIN : accepted);
            woken = true;
        }
    }
    return woken;
}

static bool aio_uring_prepare(void *opaque)
{
    /* The loop may have looked at its ready queue before: do not sleep now. */
    return aio_uring_submit(opaque);
}

static const EventNotifierCallbacks aio_uring_callbacks = {
    .prepare = aio_uring_prepare,
    .notified = aio_uring_notified,
};

static ssize_t coroutine_fn aio_uring_transfer(AioEngine *engine,
                                               const AioTransfer *transfer)
{
    AioUring *uring = (AioUring *)engine;
    UringRequest request = {
        .transfer = transfer,
        .link.data = &request,
        .coroutine = coroutine_self(),
    };

    g_queue_push_tail_link(&uring->pending, &request.link);
    coroutine_yield();
    return request.result;
}

static int aio_uring_register_buffers(AioEngine *engine, void *memory,
                                      size_t bytes)
{
    AioUring *uring = (AioUring *)engine;
    struct iovec buffers = { .iov_base = memory, .iov_len = bytes };
    int ret;

    g_assert(uring->buffers.iov_len == 0);
    if (bytes > AIO_URING_BUFFER_MAX) {
        return -E2BIG;
    }
    ret = io_uring_register_buffers(&uring->ring, &buffers, 1);
    if (ret < 0) {
        return ret;
    }
    uring->buffers = buffers;
    return 0;
}

static void aio_uring_unregister_buffers(AioEngine *engine)
{
    AioUring *uring = (AioUring *)engine;

    if (uring->buffers.iov_len > 0) {
        /* Fails only where there is nothing to unregister. */
        io_uring_unregister_buffers(&uring->ring);
        uring->buffers.iov_len = 0;
    }
}

/* The kernel takes the ring apart in the background, which costs us nothing. */
static void aio_uring_close(AioEngine *engine)
{
    AioUring *uring = (AioUring *)engine;

    g_assert(uring->in_flight == 0 && g_queue_is_empty(&uring->pending) &&
             g_queue_is_empty(&uring->queued));
    io_uring_queue_exit(&uring->ring);
    event_notifier_free(uring->notifier);
    g_free(uring);
}

static const AioEngineOps aio_uring_ops = {
    .transfer = aio_uring_transfer,
    .register_buffers = aio_uring_register_buffers,
    .unregister_buffers = aio_uring_unregister_buffers,
    .close = aio_uring_close,
};

/* Returns 0 or a negative errno, with no ring left. */
static int aio_uring_init_ring(AioUring *uring)
{
    int ret = io_uring_queue_init(AIO_URING_QUEUE, &uring->ring, 0);

    if (ret < 0) {
        return ret;
    }
    ret = io_uring_register_eventfd(&uring->ring,
                                    event_notifier_fd(uring->notifier));
    if (ret < 0) {
        io_uring_queue_exit(&uring->ring);
        return ret;
    }
    return 0;
}

int aio_uring_new(int fd, AioEngine **engine)
{
    AioUring *uring = g_new0(AioUring, 1);
    int ret;

    uring->engine.ops = &aio_uring_ops;
    uring->engine.fd = fd;
    ret = event_notifier_new(&aio_uring_callbacks, uring, &uring->notifier);
    if (ret < 0) {
        g_free(uring);
        return ret;
    }
    ret = aio_uring_init_ring(uring);
    if (ret < 0) {
        event_notifier_free(uring->notifier);
        g_free(uring);
        return ret;
    }
    *engine = &uring->engine;
    return 0;
}
