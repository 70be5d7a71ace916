/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Linux native AIO.
 *
 * A request lies on the stack of the coroutine that waits for it and goes
 * through: `pending', in order of arrival -> accepted by the kernel -> result
 * there, coroutine woken. One that a signal has disturbed, which some file
 * systems (FUSE) allow, goes back to `pending'. Invariants:
 *
 * 1. Requests are submitted once in each turn of the event loop, right before
 *    it may sleep. So all that came up in one turn go out in one system call.
 * 2. `in_flight' counts what the kernel has or is just being given; it is
 *    raised before io_submit() and never exceeds AIO_NATIVE_QUEUE.
 * 3. While something is pending, either something is in flight, whose
 *    completion brings the next attempt, or the attempt is made in this turn.
 */
#include <errno.h>
#include <libaio.h>
#include <glib.h>

#include "aio-engine.h"
#include "event-loop.h"
#include "event-notifier.h"

/*
 * Several times what a device or a ring of buffers has use for. It counts
 * against fs.aio-max-nr, 65536 for all processes together.
 */
#define AIO_NATIVE_QUEUE 128

typedef struct AioNative {
    AioEngine engine;
    io_context_t context;
    EventNotifier *notifier;
    GQueue pending; /* of NativeRequest */
    unsigned in_flight;
} AioNative;

typedef struct NativeRequest {
    struct iocb iocb;
    GList link; /* in @pending */
    Coroutine *coroutine;
    ssize_t result;
} NativeRequest;

static void native_request_complete(NativeRequest *request, ssize_t result)
{
    request->result = result;
    event_loop_wake(request->coroutine);
}

static void aio_native_pop_pending(AioNative *native, unsigned count)
{
    while (count-- > 0) {
        g_queue_pop_head_link(&native->pending);
    }
}

/* The first pending request is one that the kernel will never take. */
static void aio_native_fail_first(AioNative *native, int error)
{
    NativeRequest *request = g_queue_peek_head(&native->pending);

    aio_native_pop_pending(native, 1);
    native_request_complete(request, error);
}

/* Returns what io_submit() says about as many requests as fit. */
static int aio_native_submit_batch(AioNative *native)
{
    struct iocb *batch[AIO_NATIVE_QUEUE];
    unsigned count = 0;
    int accepted;

    for (GList *link = native->pending.head;
         link && native->in_flight + count < AIO_NATIVE_QUEUE;
         link = link->next) {
        batch[count++] = &((NativeRequest *)link->data)->iocb;
    }
    native->in_flight += count;
    g_assert(native->in_flight <= AIO_NATIVE_QUEUE);
    accepted = io_submit(native->context, count, batch);
    native->in_flight -= count - MAX(accepted, 0);
    return accepted;
}

/* Returns whether a coroutine was woken. */
static bool aio_native_submit(AioNative *native)
{
    bool woken = false;

    while (!g_queue_is_empty(&native->pending) &&
           native->in_flight < AIO_NATIVE_QUEUE) {
        int accepted = aio_native_submit_batch(native);

        if (accepted > 0) {
            /* All, or some: why not more is the answer to the next call. */
            aio_native_pop_pending(native, accepted);
        } else if (accepted == -EINTR) {
            continue;
        } else if ((accepted == -EAGAIN || accepted == 0) &&
                   native->in_flight > 0) {
            /* The kernel's queue is full; a completion makes room. */
            break;
        } else {
            /*
             * This is about the first one: those before it have been accepted.
             * With nothing in flight it is not the queue that is full, and
             * nothing would ever bring us back here.
             */
            aio_native_fail_first(native, accepted == 0 ? -EAGAIN : accepted);
            woken = true;
        }
    }
    return woken;
}

static bool aio_native_prepare(void *opaque)
{
    /* The loop may have looked at its ready queue before: do not sleep now. */
    return aio_native_submit(opaque);
}

static void aio_native_notified(void *opaque)
{
    AioNative *native = opaque;
    struct io_event events[AIO_NATIVE_QUEUE];
    struct timespec no_wait = { 0 };
    int count;

    /* Never more than are in flight, so one call gets them all. */
    do {
        count = io_getevents(native->context, 0, G_N_ELEMENTS(events), events,
                             &no_wait);
    } while (count == -EINTR);
    g_assert(count >= 0 && (unsigned)count <= native->in_flight);
    for (int i = 0; i < count; i++) {
        NativeRequest *request = events[i].data;
        ssize_t result = (long)events[i].res;

        native->in_flight--;
        if (result == -EINTR) {
            g_queue_push_tail_link(&native->pending, &request->link);
        } else {
            native_request_complete(request, result);
        }
    }
}

static const EventNotifierCallbacks aio_native_callbacks = {
    .prepare = aio_native_prepare,
    .notified = aio_native_notified,
};

static ssize_t coroutine_fn aio_native_transfer(AioEngine *engine,
                                                const AioTransfer *transfer)
{
    AioNative *native = (AioNative *)engine;
    NativeRequest request = { .coroutine = coroutine_self() };

    if (transfer->is_write) {
        io_prep_pwritev(&request.iocb, engine->fd, transfer->iov,
                        transfer->iovcnt, transfer->offset);
    } else {
        io_prep_preadv(&request.iocb, engine->fd, transfer->iov,
                       transfer->iovcnt, transfer->offset);
    }
    io_set_eventfd(&request.iocb, event_notifier_fd(native->notifier));
    request.iocb.data = &request;
    request.link.data = &request;
    g_queue_push_tail_link(&native->pending, &request.link);
    coroutine_yield();
    return request.result;
}

static void *aio_native_destroy(void *opaque)
{
    io_destroy(opaque);
    return NULL;
}

/*
 * The kernel takes some 30 ms to destroy even an idle context, while others
 * have nothing to wait for. So that is left to a thread of its own, which
 * needs nothing of ours. A process that exits meanwhile is held up by it.
 */
static void aio_native_close(AioEngine *engine)
{
    AioNative *native = (AioNative *)engine;
    GThread *thread;

    g_assert(native->in_flight == 0 && g_queue_is_empty(&native->pending));
    event_notifier_free(native->notifier);
    thread = g_thread_try_new("aio-destroy", aio_native_destroy,
                              native->context, NULL);
    if (thread) {
        g_thread_unref(thread);
    } else {
        io_destroy(native->context);
    }
    g_free(native);
}

static const AioEngineOps aio_native_ops = {
    .transfer = aio_native_transfer,
    .close = aio_native_close,
};

int aio_native_new(int fd, AioEngine **engine)
{
    AioNative *native = g_new0(AioNative, 1);
    int ret;

    native->engine.ops = &aio_native_ops;
    native->engine.fd = fd;
    ret = event_notifier_new(&aio_native_callbacks, native, &native->notifier);
    if (ret < 0) {
        g_free(native);
        return ret;
    }
    ret = io_setup(AIO_NATIVE_QUEUE, &native->context);
    if (ret < 0) {
        event_notifier_free(native->notifier);
        g_free(native);
        return ret;
    }
    *engine = &native->engine;
    return 0;
}
