/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Coroutines on top of ucontext, each with a stack of its own.
 *
 * One mapping holds everything a coroutine has, from low to high addresses:
 * a guard page that turns an overflow into SIGSEGV instead of silent damage,
 * the stack, and the Coroutine itself. Only the pages that are touched cost
 * memory.
 *
 * Coroutines are entered from outside coroutines only, so there are exactly
 * two parties to a switch: the thread's own stack and one coroutine. That is
 * why a coroutine has no pointer to whoever entered it: the way out is always
 * the thread's.
 *
 * States of a coroutine: new -> running -> (suspended -> running)* -> over.
 * Its memory goes back to the cache when it is over and control has left its
 * stack, that is in coroutine_enter().
 *
 * swapcontext() also saves and restores the signal mask: a mask changed while
 * coroutines exist would come and go with every switch.
 */
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <glib.h>

#include "checked.h"
#include "coroutine-internal.h"
#include "stack-annotations.h"

#define COROUTINE_STACK_BYTES (256 * 1024)

/* Of the Coroutine above the stack: more than any of its members asks for. */
#define COROUTINE_ALIGNMENT 64

/*
 * Stacks kept for the next coroutine of the same thread: enough for all the
 * requests that an engine has in flight, as each of them may have its own.
 */
#define COROUTINE_CACHE_MAX 128

struct Coroutine {
    ucontext_t context; /* where to go on; valid while not running */
    CoroutineFunc *func;
    void *opaque;
    bool over;  /* @func has returned */
    bool woken; /* see coroutine_mark_woken() */

    /* Constant from mapping to unmapping, but for what stack-annotations.h
     * keeps in @stack. */
    void *mapping;
    size_t mapping_bytes;
    StackArea stack;
};

typedef struct CoroutineThread {
    Coroutine *current; /* running now, NULL outside coroutines */
    ucontext_t context; /* where coroutine_enter() goes on */
    StackArea stack;    /* the thread's own */
    GPtrArray *cache;   /* of Coroutine that are over */
} CoroutineThread;

static void coroutine_unmap(Coroutine *co)
{
    stack_area_deregister(&co->stack);
    munmap(co->mapping, co->mapping_bytes);
}

static void coroutine_thread_free(void *opaque)
{
    CoroutineThread *thread = opaque;

    for (guint i = 0; i < thread->cache->len; i++) {
        coroutine_unmap(thread->cache->pdata[i]);
    }
    g_ptr_array_free(thread->cache, TRUE);
    g_free(thread);
}

/*
 * State of the thread, the only kind that is not passed around; the event loop
 * keeps its own likewise. Which coroutine runs is a property of the thread, and
 * coroutine_self() has nobody else to ask. All there is beside that is stacks
 * that nobody uses.
 */
static GPrivate coroutine_thread_key = G_PRIVATE_INIT(coroutine_thread_free);

static CoroutineThread *coroutine_thread(void)
{
    CoroutineThread *thread = g_private_get(&coroutine_thread_key);

    if (!thread) {
        thread = g_new0(CoroutineThread, 1);
        thread->cache = g_ptr_array_new();
        g_private_set(&coroutine_thread_key, thread);
    }
    return thread;
}

/* Aborts when there is no memory, as GLib's allocators do. */
static Coroutine *coroutine_map(void)
{
    size_t page = sysconf(_SC_PAGESIZE);
    size_t bytes = page + COROUTINE_STACK_BYTES;
    char *mapping;
    Coroutine *co;

    mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1,
                   0);
    if (mapping == MAP_FAILED || mprotect(mapping, page, PROT_NONE) < 0) {
        g_error("no memory for the stack of a coroutine");
    }
    co = (Coroutine *)(mapping + bytes -
                       round_up(sizeof(Coroutine), COROUTINE_ALIGNMENT));
    co->mapping = mapping;
    co->mapping_bytes = bytes;
    co->stack.lowest = mapping + page;
    co->stack.bytes = (char *)co - mapping - page;
    stack_area_register(&co->stack);
    return co;
}

/* The bottom of every coroutine's stack. */
static void coroutine_trampoline(void)
{
    CoroutineThread *thread = coroutine_thread();
    Coroutine *co = thread->current;

    stack_switch_finish(&co->stack, &thread->stack);
    co->func(co->opaque);
    co->over = true;
    stack_switch_start(NULL, &thread->stack);
    setcontext(&thread->context);
    g_assert_not_reached();
}

/*
 * Not inlined, because getcontext() returns twice as far as the compiler knows,
 * and it would fear for the variables of the caller.
 */
static void G_GNUC_NO_INLINE coroutine_prepare_context(Coroutine *co)
{
    getcontext(&co->context);
    co->context.uc_stack.ss_sp = (void *)co->stack.lowest;
    co->context.uc_stack.ss_size = co->stack.bytes;
    co->context.uc_link = NULL;
    makecontext(&co->context, coroutine_trampoline, 0);
}

Coroutine *coroutine_new(CoroutineFunc *func, void *opaque)
{
    GPtrArray *cache = coroutine_thread()->cache;
    Coroutine *co;

    if (cache->len > 0) {
        co = g_ptr_array_steal_index_fast(cache, cache->len - 1);
    } else {
        co = coroutine_map();
    }
    co->func = func;
    co->opaque = opaque;
    co->over = false;
    co->woken = false;
    coroutine_prepare_context(co);
    return co;
}

static void coroutine_recycle(CoroutineThread *thread, Coroutine *co)
{
    stack_area_reset(&co->stack);
    if (thread->cache->len < COROUTINE_CACHE_MAX) {
        g_ptr_array_add(thread->cache, co);
    } else {
        coroutine_unmap(co);
    }
}

void coroutine_enter(Coroutine *co)
{
    CoroutineThread *thread = coroutine_thread();

    g_assert(!thread->current);
    g_assert(!co->over);
    co->woken = false;
    thread->current = co;
    stack_switch_start(&thread->stack, &co->stack);
    stack_switch(&thread->context, &co->context);
    stack_switch_finish(&thread->stack, NULL);
    thread->current = NULL;
    if (co->over) {
        coroutine_recycle(thread, co);
    }
}

void coroutine_fn coroutine_yield(void)
{
    CoroutineThread *thread = coroutine_thread();
    Coroutine *co = thread->current;

    g_assert(co);
    stack_switch_start(&co->stack, &thread->stack);
    stack_switch(&co->context, &thread->context);
    stack_switch_finish(&co->stack, &thread->stack);
}

Coroutine *coroutine_self(void)
{
    return coroutine_thread()->current;
}

void coroutine_mark_woken(Coroutine *co)
{
    g_assert(!co->woken && !co->over);
    co->woken = true;
}
