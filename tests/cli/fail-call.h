/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the two halves of the operating system that fails once share: system
 * calls (fail-call.c) and requests to the kernel's engines (fail-request.c).
 */
#ifndef FAIL_CALL_H
#define FAIL_CALL_H

#include <sys/uio.h>

enum {
    OPEN,
    STATUS,
    LOCK,
    READ,
    WRITE,
    FLUSH,
    ALLOCATE,
    DISCARD,
    TRUNCATE,
    CLONE,
    NAME,   /* that a temporary file gets */
    INPUT,  /* of a stream */
    OUTPUT, /* the same */
    MEMORY, /* 1 MiB or more */
    KINDS,
};

/* Of no concern to the program that they are preloaded into. */
#pragma GCC visibility push(hidden)

/* Is it this call's turn to fail? Counts it. */
int fails(int kind);

/* The errno that it shall have; 0: it shall be short. */
int failure(void);

#pragma GCC visibility pop

/* The function that is hidden by this one. */
#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

#endif /* FAIL_CALL_H */
