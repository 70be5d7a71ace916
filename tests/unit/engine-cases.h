/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the tests of AIO engines share: an engine on a fresh file, and requests
 * that each of them must be able to do.
 *
 * Whether there is io_uring depends on where the tests run. They find that out
 * by themselves and expect the answer that goes with it.
 */
#ifndef ENGINE_CASES_H
#define ENGINE_CASES_H

#include "scratch.h"
#include "../../block/aio-engine.h"

#define BLOCK        4096
#define BUFFER_BYTES (64 * BLOCK)

typedef enum EngineKind {
    ENGINE_THREADS,      /* buffered */
    ENGINE_NATIVE,       /* O_DIRECT */
    ENGINE_URING,        /* buffered */
    ENGINE_URING_DIRECT, /* O_DIRECT */
    /* The same with the buffer registered. */
    ENGINE_URING_REGISTERED,
    ENGINE_URING_REGISTERED_DIRECT,
    ENGINES,
} EngineKind;

typedef struct EngineTest {
    Scratch *scratch;
    ThreadPool *pool;
    AioEngine *engine;
    int fd;
    size_t alignment; /* of the requests of engine_check_whole_requests() */
    uint8_t *buffer;  /* aligned, BUFFER_BYTES, no two blocks alike */
    unsigned left;    /* coroutines that are not done */
} EngineTest;

/* What the kernel says to io_uring: 0 or a negative errno. */
int engine_uring_refusal(void);

/*
 * Returns false, with nothing open, where there is no io_uring, or no memory
 * may be registered.
 */
bool engine_test_open(EngineTest *test, EngineKind kind);
void engine_test_close(EngineTest *test);

/* Run @func with an EngineTest that is opened and closed around it. */
void engine_run_case(EngineKind kind, CoroutineFunc *func);

/* What others see of the file. */
void engine_assert_file(EngineTest *test, off_t offset, const void *expected,
                        size_t bytes);

/* Point to successive pieces of the buffer, of @bytes each. */
void engine_fill_vector(EngineTest *test, struct iovec *iov, unsigned count,
                        size_t bytes);

/*
 * For engine_run_case(): writes and reads, across the end of the file too, of
 * several elements each or of a single one.
 */
void coroutine_fn engine_check_whole_requests(void *opaque);

/* One block each of the file and of the buffer, for many at once. */
typedef struct BlockRequest {
    EngineTest *test;
    unsigned block;
    bool is_read;
    int expected;
} BlockRequest;

/* @opaque: a BlockRequest. */
void coroutine_fn engine_do_block_request(void *opaque);
void coroutine_fn engine_run_block_requests(BlockRequest *requests,
                                            unsigned count);

/* Write so many blocks at once, and look at the file. */
void coroutine_fn engine_write_blocks(EngineTest *test, unsigned count);

#endif /* ENGINE_CASES_H */
