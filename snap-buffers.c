/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The AioBufferPool ring.
 *
 * A buffer is in one of four places: free, lent to the user, in flight, or
 * done and waiting for its turn. Invariants:
 *   1. The four add up to all that there are; those that are not free are no
 *      more than the depth, unless the depth has just become smaller.
 *   2. A buffer counts as in flight before its function is started, because a
 *      function may be done before starting it returns.
 *   3. After the first failure nothing is lent out any more: the user finds
 *      NULL, stops, drains, and gets that first failure. What was in flight is
 *      always waited for, because the device still writes to its memory.
 *   4. The buffer that became free last is used next. So a buffer beyond the
 *      depth is never touched and has no memory.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "checked.h"
#include "event-loop.h"
#include "snap-buffers.h"
#include "snap-depth.h"
#include "snap-error.h"

typedef struct AioTask {
    AioBuffer buffer; /* first: the user's view */
    AioBufferPool *pool;
    AioBufferFunc *func;
    void *opaque;
    bool in_order;
    bool done; /* in order only: may be handed on */
} AioTask;

struct AioBufferPool {
    /* Constant after _new(). */
    size_t buffer_bytes;
    unsigned buffers;
    void *mapping; /* with room for alignment... */
    size_t mapping_bytes;
    uint8_t *memory; /* ...of this */
    AioTask *tasks;

    GQueue free;    /* of AioTask */
    GQueue ordered; /* of AioTask: started in order, not yet handed on */
    unsigned in_flight;
    SnapDepth depth;
    bool waited;            /* for a buffer, since the last one was started */
    GError *error;          /* the first failure */
    CoroutineQueue changed; /* somebody waits for any of the above */

    /* See aio_buffer_pool_can_renew(). */
    bool huge;
    unsigned renewed; /* since the page faults were looked at */
    long faults;      /* of the process, at that time */
};

static long minor_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : usage.ru_minflt;
}

/*
 * Memory for all buffers, aligned so that huge pages fit. They make every copy
 * and every request cheaper: the kernel handles one page instead of 512.
 */
static bool allocate(AioBufferPool *pool)
{
    size_t bytes = pool->buffer_bytes * pool->buffers;

    pool->mapping_bytes = bytes + SNAP_HUGE_BYTES;
    pool->mapping = mmap(NULL, pool->mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->mapping == MAP_FAILED) {
        return false;
    }
    pool->memory =
        (uint8_t *)round_up((uintptr_t)pool->mapping, SNAP_HUGE_BYTES);
    pool->huge = madvise(pool->memory, bytes, MADV_HUGEPAGE) == 0 &&
                 pool->buffer_bytes == SNAP_HUGE_BYTES;
    pool->faults = minor_faults();
    return true;
}

AioBufferPool *aio_buffer_pool_new(size_t buffer_bytes, unsigned start,
                                   unsigned most, GError **errp)
{
    AioBufferPool *pool = g_new0(AioBufferPool, 1);
    unsigned i;

    pool->buffer_bytes = buffer_bytes;
    pool->buffers = most;
    pool->depth = snap_depth_init(start, most);
    if (!allocate(pool)) {
        snap_error_set_errno(errp, -errno, "%u buffers of %zu bytes", most,
                             buffer_bytes);
        g_free(pool);
        return NULL;
    }
    pool->tasks = g_new0(AioTask, most);
    for (i = 0; i < most; i++) {
        pool->tasks[i].buffer.data = pool->memory + i * buffer_bytes;
        pool->tasks[i].pool = pool;
        g_queue_push_tail(&pool->free, &pool->tasks[i]);
    }
    return pool;
}

void aio_buffer_pool_free(AioBufferPool *pool)
{
    if (!pool) {
        return;
    }
    g_assert(pool->in_flight == 0);
    g_assert(pool->free.length == pool->buffers);
    munmap(pool->mapping, pool->mapping_bytes);
    g_queue_clear(&pool->free);
    g_clear_error(&pool->error);
    g_free(pool->tasks);
    g_free(pool);
}

size_t aio_buffer_pool_buffer_bytes(const AioBufferPool *pool)
{
    return pool->buffer_bytes;
}

unsigned aio_buffer_pool_depth(const AioBufferPool *pool)
{
    return pool->depth.now;
}

void *aio_buffer_pool_memory(const AioBufferPool *pool)
{
    return pool->memory;
}

static bool has_free(const AioBufferPool *pool)
{
    return pool->buffers - pool->free.length < pool->depth.now;
}

AioBuffer *aio_buffer_pool_try_get(AioBufferPool *pool)
{
    AioTask *task;

    if (pool->error || !has_free(pool)) {
        return NULL;
    }
    task = g_queue_pop_head(&pool->free);
    return &task->buffer;
}

AioBuffer *coroutine_fn aio_buffer_pool_get(AioBufferPool *pool)
{
    while (!pool->error && !has_free(pool)) {
        pool->waited = true;
        coroutine_queue_wait(&pool->changed);
    }
    return aio_buffer_pool_try_get(pool);
}

void aio_buffer_pool_put(AioBufferPool *pool, AioBuffer *buffer)
{
    g_assert(pool->free.length < pool->buffers);
    g_queue_push_head(&pool->free, buffer);
    coroutine_queue_wake_all(&pool->changed);
}

/* Far fewer page faults than a huge page has small ones. */
#define HUGE_PAGE_FAULTS 64

/* Looked at again after so many. */
#define RENEWED_AT_ONCE 16

bool aio_buffer_pool_can_renew(AioBufferPool *pool)
{
    long faults;

    if (pool->huge && pool->renewed >= RENEWED_AT_ONCE) {
        /*
         * The kernel may have no huge pages to give: switched off, or memory
         * is in pieces. A fault for every 4 KiB costs more than a copy.
         */
        faults = minor_faults();
        pool->huge = faults - pool->faults < pool->renewed * HUGE_PAGE_FAULTS;
        pool->renewed = 0;
        pool->faults = faults;
    }
    return pool->huge;
}

void aio_buffer_pool_renew(AioBufferPool *pool, AioBuffer *buffer)
{
    void *replaced = NULL;

    if (madvise(buffer->data, pool->buffer_bytes, MADV_DONTNEED) < 0) {
        /* Never on such memory; but the pages must not be ours any more. */
        replaced = mmap(buffer->data, pool->buffer_bytes,
                        PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    g_assert(replaced != MAP_FAILED);
    pool->renewed++;
}

bool aio_buffer_pool_fail(AioBufferPool *pool, GError *error)
{
    bool first = !pool->error;

    if (first) {
        pool->error = error;
    } else {
        g_error_free(error);
    }
    coroutine_queue_wake_all(&pool->changed);
    return first;
}

static void coroutine_fn aio_task_entry(void *opaque)
{
    AioTask *task = opaque;
    AioBufferPool *pool = task->pool;
    GError *error = NULL;

    if (!task->func(&task->buffer, task->opaque, &error)) {
        aio_buffer_pool_fail(pool, error);
    }
    pool->in_flight--;
    if (task->in_order) {
        task->done = true;
        coroutine_queue_wake_all(&pool->changed);
    } else {
        aio_buffer_pool_put(pool, &task->buffer);
    }
}

static void start(AioBufferPool *pool, AioBuffer *buffer, AioBufferFunc *func,
                  void *opaque, bool in_order)
{
    AioTask *task = (AioTask *)buffer;

    task->func = func;
    task->opaque = opaque;
    task->in_order = in_order;
    task->done = false;
    pool->in_flight++;
    g_assert(pool->in_flight <= pool->buffers);
    snap_depth_note(&pool->depth, buffer->bytes, pool->waited,
                    g_get_monotonic_time());
    pool->waited = false;
    event_loop_start(aio_task_entry, task);
}

void aio_buffer_pool_start(AioBufferPool *pool, AioBuffer *buffer,
                           AioBufferFunc *func, void *opaque)
{
    start(pool, buffer, func, opaque, false);
}

void aio_buffer_pool_start_in_order(AioBufferPool *pool, AioBuffer *buffer,
                                    AioBufferFunc *func, void *opaque)
{
    g_queue_push_tail(&pool->ordered, buffer);
    start(pool, buffer, func, opaque, true);
}

AioBuffer *coroutine_fn aio_buffer_pool_next(AioBufferPool *pool)
{
    AioTask *oldest = g_queue_peek_head(&pool->ordered);

    g_assert(oldest);
    while (!pool->error && !oldest->done) {
        pool->waited = true;
        coroutine_queue_wait(&pool->changed);
    }
    if (pool->error) {
        return NULL;
    }
    g_queue_pop_head(&pool->ordered);
    return &oldest->buffer;
}

bool coroutine_fn aio_buffer_pool_drain(AioBufferPool *pool, GError **errp)
{
    AioTask *task;

    while (pool->in_flight > 0) {
        coroutine_queue_wait(&pool->changed);
    }
    /* Nobody will ask for these any more. */
    while ((task = g_queue_pop_head(&pool->ordered))) {
        aio_buffer_pool_put(pool, &task->buffer);
    }
    if (pool->error) {
        g_propagate_error(errp, g_steal_pointer(&pool->error));
        return false;
    }
    return true;
}
