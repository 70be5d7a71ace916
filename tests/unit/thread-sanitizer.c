/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Tells ThreadSanitizer what GLib's mutexes and thread pools order. GLib is not
 * built with it and makes both of atomics and futexes, of which nothing is
 * seen: all that a mutex protects would be a race. These definitions stand in
 * front of GLib's. Nothing of it is left in other builds.
 */
#include <glib.h>

#ifdef __has_feature
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_THREAD__
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#define REAL(function) ((typeof(function) *)dlsym(RTLD_NEXT, #function))

/*
 * The address of a member stands for an order: of @func, each push before the
 * work; of @opaque, all work before the end of the pool.
 */
typedef struct Work {
    GFunc func;
    void *opaque;
} Work;

/* Not looked at: the last worker frees @pool, and GLib knows when it may. */
__attribute__((noinline, no_sanitize_thread)) static Work *work_of(
    const GThreadPool *pool)
{
    return pool->user_data;
}

void g_mutex_lock(GMutex *mutex)
{
    REAL(g_mutex_lock)(mutex);
    __tsan_acquire(mutex);
}

void g_mutex_unlock(GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(g_mutex_unlock)(mutex);
}

static void do_work(void *data, void *opaque)
{
    Work *work = opaque;

    __tsan_acquire(&work->func);
    work->func(data, work->opaque);
    __tsan_release(&work->opaque);
}

GThreadPool *g_thread_pool_new(GFunc func, gpointer opaque, gint max_threads,
                               gboolean exclusive, GError **errp)
{
    Work *work = g_new(Work, 1);

    *work = (Work){ func, opaque };
    return REAL(g_thread_pool_new)(do_work, work, max_threads, exclusive, errp);
}

gboolean g_thread_pool_push(GThreadPool *pool, gpointer data, GError **errp)
{
    __tsan_release(&work_of(pool)->func);
    return REAL(g_thread_pool_push)(pool, data, errp);
}

void g_thread_pool_free(GThreadPool *pool, gboolean immediate, gboolean wait)
{
    Work *work = work_of(pool);

    /* Else nobody would know when @work is not needed any more. */
    g_assert(wait);
    REAL(g_thread_pool_free)(pool, immediate, wait);
    __tsan_acquire(&work->opaque);
    g_free(work);
}
#endif
