/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Tells AddressSanitizer, ThreadSanitizer and valgrind which stack the thread
 * is on. Without that they take a switch of stacks for a wild jump. In a plain
 * build without valgrind's header nothing of it is left.
 */
#ifndef STACK_ANNOTATIONS_H
#define STACK_ANNOTATIONS_H

#include <stddef.h>
#include <ucontext.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#ifdef __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

typedef struct StackArea {
    const void *lowest;
    size_t bytes;
    void *fake_stack; /* AddressSanitizer's, while nobody runs on this one */
    void *fiber;      /* what ThreadSanitizer knows about it */
    unsigned valgrind_id;
} StackArea;

/* After a stack was mapped, and before it is unmapped. */
static inline void stack_area_register(StackArea *area)
{
#ifdef VALGRIND_STACK_REGISTER
    area->valgrind_id = VALGRIND_STACK_REGISTER(
        area->lowest, (const char *)area->lowest + area->bytes);
#endif
#ifdef __SANITIZE_THREAD__
    area->fiber = __tsan_create_fiber(0);
#endif
}

static inline void stack_area_deregister(StackArea *area)
{
#ifdef VALGRIND_STACK_DEREGISTER
    VALGRIND_STACK_DEREGISTER(area->valgrind_id);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(area->fiber);
#endif
}

/* Forget the frames of the function that ran on @area and is over. */
static inline void stack_area_reset(StackArea *area)
{
    area->fake_stack = NULL;
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(area->lowest, area->bytes);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(area->fiber);
    area->fiber = __tsan_create_fiber(0);
#endif
}

/*
 * The running stack is @from, or one that is never used again (NULL). Never a
 * function of its own: it would be entered on one of ThreadSanitizer's fibers
 * and left on another.
 */
static inline __attribute__((always_inline)) void stack_switch_start(
    StackArea *from, const StackArea *to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(from ? &from->fake_stack : NULL, to->lowest,
                                   to->bytes);
#endif
#ifdef __SANITIZE_THREAD__
    if (from) {
        from->fiber = __tsan_get_current_fiber();
    }
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

/*
 * The running stack is @to again, or for the first time. @from, unless NULL,
 * learns where the stack lies that control came from.
 */
static inline void stack_switch_finish(StackArea *to, StackArea *from)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(to->fake_stack, from ? &from->lowest : NULL,
                                    from ? &from->bytes : NULL);
#endif
}

/*
 * swapcontext(). AddressSanitizer's version of that function warns on standard
 * error that it does not know what the annotations above have just told it, so
 * there it is put together from its parts.
 */
static inline void stack_switch(ucontext_t *from, const ucontext_t *to)
{
#ifdef __SANITIZE_ADDRESS__
    volatile int resumed = 0;

    getcontext(from);
    if (!resumed) {
        resumed = 1;
        setcontext(to);
    }
#else
    swapcontext(from, to);
#endif
}

#endif /* STACK_ANNOTATIONS_H */
