/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Unaligned requests on an engine that is as strict as a device: it is in
 * memory, takes nothing unaligned, and every transfer takes a while, so that
 * requests which must not meet get every chance to.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "checked.h"
#include "event-loop.h"
#include "../../block/bounce.h"
#include "../../block/io-vector.h"
#include "run-suite.h"

#define STRICT_BYTES (4 * 1024 * 1024)

typedef struct StrictEngine {
    AioEngine engine;
    size_t alignment;
    size_t size;
    uint8_t *content;
    GRand *random;
    unsigned slowest; /* turns of the loop for one transfer */
    unsigned reads;   /* transfers since they were last set to 0 */
    unsigned writes;
    size_t longest;   /* bytes */
    int fail_read_in; /* 1: the next one */
    int fail_write_in;
} StrictEngine;

static ssize_t coroutine_fn strict_engine_transfer(AioEngine *engine,
                                                   const AioTransfer *transfer)
{
    StrictEngine *strict = (StrictEngine *)engine;
    const struct iovec *iov = transfer->iov;
    int *fail_in = transfer->is_write ? &strict->fail_write_in
                                      : &strict->fail_read_in;
    unsigned turns = g_rand_int_range(strict->random, 0, strict->slowest + 1);
    uint8_t *at = strict->content + transfer->offset;
    size_t bytes;

    ck_assert(is_aligned(transfer->offset, strict->alignment));
    ck_assert(io_vector_is_aligned(iov, transfer->iovcnt, strict->alignment));
    ck_assert_int_eq(transfer->iovcnt, 1);
    ck_assert_uint_le(transfer->offset + iov->iov_len, STRICT_BYTES);
    strict->longest = MAX(strict->longest, iov->iov_len);
    if (*fail_in > 0 && --*fail_in == 0) {
        return -EIO;
    }
    while (turns-- > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    if (transfer->is_write) {
        strict->writes++;
        memcpy(at, iov->iov_base, iov->iov_len);
        strict->size = MAX(strict->size, transfer->offset + iov->iov_len);
        return iov->iov_len;
    }
    strict->reads++;
    if ((size_t)transfer->offset >= strict->size) {
        return 0;
    }
    bytes = MIN(iov->iov_len, strict->size - transfer->offset);
    memcpy(iov->iov_base, at, bytes);
    return bytes;
}

static const AioEngineOps strict_engine_ops = {
    .transfer = strict_engine_transfer,
};

typedef struct BounceTest {
    StrictEngine strict;
    CoroutineMutex edges;
    uint8_t *model; /* what the content should be */
    unsigned left;
} BounceTest;

static void run_with(size_t alignment, CoroutineFunc *func)
{
    BounceTest test = {
        .strict = {
            .engine.ops = &strict_engine_ops,
            .alignment = alignment,
            .content = g_malloc0(STRICT_BYTES),
            .random = g_rand_new_with_seed(alignment),
        },
        .model = g_malloc0(STRICT_BYTES),
    };

    event_loop_run(func, &test);
    ck_assert(!test.edges.locked);
    ck_assert_mem_eq(test.strict.content, test.model, STRICT_BYTES);
    g_rand_free(test.strict.random);
    g_free(test.strict.content);
    g_free(test.model);
}

/* Also notes in the model what is to be there. */
static int coroutine_fn write_bytes(BounceTest *test, int64_t offset,
                                    const void *bytes, size_t count)
{
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = count };
    int ret;

    ret = bounce_pwritev(&test->strict.engine, test->strict.alignment,
                         &test->edges, offset, &iov, 1);
    if (ret == 0) {
        memcpy(test->model + offset, bytes, count);
    }
    return ret;
}

static int coroutine_fn read_bytes(BounceTest *test, int64_t offset,
                                   void *bytes, size_t count)
{
    struct iovec iov = { .iov_base = bytes, .iov_len = count };

    return bounce_preadv(&test->strict.engine, test->strict.alignment, offset,
                         &iov, 1);
}

static void assert_transfers(BounceTest *test, unsigned reads, unsigned writes)
{
    ck_assert_uint_eq(test->strict.reads, reads);
    ck_assert_uint_eq(test->strict.writes, writes);
    test->strict.reads = 0;
    test->strict.writes = 0;
}

static void coroutine_fn check_edges(void *opaque)
{
    BounceTest *test = opaque;
    uint8_t bytes[3 * 512];
    uint8_t back[3 * 512];

    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i * 7 + 1;
    }
    /* Whole blocks from unaligned memory: nothing to read. */
    ck_assert_int_eq(write_bytes(test, 0, bytes + 1, 1024), 0);
    assert_transfers(test, 0, 1);
    /* Within one block; both edges are the same block. */
    ck_assert_int_eq(write_bytes(test, 100, bytes, 50), 0);
    assert_transfers(test, 1, 1);
    /* Head only, tail only, both. */
    ck_assert_int_eq(write_bytes(test, 700, bytes, 324), 0);
    assert_transfers(test, 1, 1);
    ck_assert_int_eq(write_bytes(test, 512, bytes, 600), 0);
    assert_transfers(test, 1, 1);
    ck_assert_int_eq(write_bytes(test, 2000, bytes, 1500), 0);
    assert_transfers(test, 2, 1);
    ck_assert_uint_eq(test->strict.size, 3584);
    /* Reads are of whole blocks and never more than one transfer. */
    ck_assert_int_eq(read_bytes(test, 2001, back, 1400), 0);
    ck_assert_mem_eq(back, test->model + 2001, 1400);
    assert_transfers(test, 1, 0);
}

START_TEST(edges_are_read_and_written_back)
{
    run_with(512, check_edges);
}
END_TEST

static void coroutine_fn check_end_of_file(void *opaque)
{
    BounceTest *test = opaque;
    char back[20];

    ck_assert_int_eq(write_bytes(test, 0, "0123456789", 10), 0);
    /* A file of others, whose size is nobody's multiple. */
    test->strict.size = 10;
    memset(back, 'x', sizeof(back));
    ck_assert_int_eq(read_bytes(test, 5, back, 10), 0);
    ck_assert_mem_eq(back, "56789\0\0\0\0\0xxxxx", 15);
    ck_assert_int_eq(read_bytes(test, 5000, back, 2), 0);
    ck_assert_mem_eq(back,
                     "\0\0"
                     "789",
                     5);
    ck_assert_int_eq(write_bytes(test, 8, "abcd", 4), 0);
    ck_assert_uint_eq(test->strict.size, 4096);
    ck_assert_int_eq(read_bytes(test, 5, back, 10), 0);
    ck_assert_mem_eq(back, "567abcd\0\0\0", 10);
}

START_TEST(end_of_file)
{
    run_with(4096, check_end_of_file);
}
END_TEST

/* More than the buffer holds goes in pieces; only the very ends are read. */
static void coroutine_fn check_long_requests(void *opaque)
{
    BounceTest *test = opaque;
    size_t count = 3 * 1024 * 1024 + 1000;
    g_autofree uint8_t *bytes = g_malloc(count);
    g_autofree uint8_t *back = g_malloc(count);

    for (size_t i = 0; i < count; i++) {
        bytes[i] = i % 251;
    }
    ck_assert_int_eq(write_bytes(test, 5, bytes, count), 0);
    assert_transfers(test, 2, 4);
    ck_assert_uint_le(test->strict.longest, 1024 * 1024);
    ck_assert_int_eq(read_bytes(test, 5, back, count), 0);
    ck_assert_mem_eq(back, bytes, count);
    ck_assert_uint_le(test->strict.longest, 1024 * 1024);
}

START_TEST(long_requests_go_in_pieces)
{
    run_with(512, check_long_requests);
}
END_TEST

static void coroutine_fn check_vectors(void *opaque)
{
    BounceTest *test = opaque;
    char a[3], b[2000], c[1];
    struct iovec out[] = {
        { (void *)"abc", 3 },
        { NULL, 0 },
        { b, sizeof(b) },
        { (void *)"z", 1 },
    };
    struct iovec in[] = { { a, 3 }, { b, sizeof(b) }, { NULL, 0 }, { c, 1 } };

    memset(b, 'b', sizeof(b));
    ck_assert_int_eq(bounce_pwritev(&test->strict.engine, 512, &test->edges,
                                    700, out, G_N_ELEMENTS(out)),
                     0);
    memcpy(test->model + 700, "abc", 3);
    memset(test->model + 703, 'b', sizeof(b));
    memcpy(test->model + 703 + sizeof(b), "z", 1);
    memset(b, 0, sizeof(b));
    ck_assert_int_eq(
        bounce_preadv(&test->strict.engine, 512, 700, in, G_N_ELEMENTS(in)), 0);
    ck_assert_mem_eq(a, "abc", 3);
    ck_assert_mem_eq(b, test->model + 703, sizeof(b));
    ck_assert_int_eq(c[0], 'z');
}

START_TEST(vectors)
{
    run_with(512, check_vectors);
}
END_TEST

static void coroutine_fn check_errors(void *opaque)
{
    BounceTest *test = opaque;
    char bytes[2048] = "";

    test->strict.fail_read_in = 1;
    ck_assert_int_eq(write_bytes(test, 100, bytes, 1000), -EIO);
    test->strict.fail_read_in = 2;
    ck_assert_int_eq(write_bytes(test, 100, bytes, 1000), -EIO);
    assert_transfers(test, 1, 0);
    test->strict.fail_write_in = 1;
    ck_assert_int_eq(write_bytes(test, 100, bytes, 1000), -EIO);
    test->strict.fail_read_in = 1;
    ck_assert_int_eq(read_bytes(test, 100, bytes, 1000), -EIO);
    /* The mutex was let go each time. */
    ck_assert_int_eq(write_bytes(test, 100, bytes, 1000), 0);
}

START_TEST(errors_leave_the_file_usable)
{
    run_with(512, check_errors);
}
END_TEST

/*
 * Each worker owns every WORKERS-th slot. A slot is no multiple of anything,
 * so that each block belongs to several workers.
 */
enum {
    WORKERS = 64,
    SLOT = 333,
    SLOTS = 8192,
    ROUNDS = 60
};

typedef struct Worker {
    BounceTest *test;
    unsigned id;
    GRand *random;
} Worker;

static void coroutine_fn worker_round(Worker *worker)
{
    BounceTest *test = worker->test;
    unsigned slot = g_rand_int_range(worker->random, 0, SLOTS / WORKERS);
    int64_t slot_start = ((int64_t)slot * WORKERS + worker->id) * SLOT;
    unsigned start = g_rand_int_range(worker->random, 0, SLOT);
    unsigned count = g_rand_int_range(worker->random, 1, SLOT - start + 1);
    uint8_t bytes[SLOT];

    if (g_rand_boolean(worker->random)) {
        memset(bytes, g_rand_int_range(worker->random, 0, 256), count);
        ck_assert_int_eq(write_bytes(test, slot_start + start, bytes, count),
                         0);
    } else {
        ck_assert_int_eq(read_bytes(test, slot_start + start, bytes, count), 0);
        ck_assert_mem_eq(bytes, test->model + slot_start + start, count);
    }
}

static void coroutine_fn run_worker(void *opaque)
{
    Worker *worker = opaque;

    for (unsigned round = 0; round < ROUNDS; round++) {
        worker_round(worker);
    }
    g_rand_free(worker->random);
    worker->test->left--;
}

static void coroutine_fn check_neighbours(void *opaque)
{
    BounceTest *test = opaque;
    Worker workers[WORKERS];

    test->strict.slowest = 5;
    test->left = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (Worker){ test, i, g_rand_new_with_seed(i) };
        event_loop_start(run_worker, &workers[i]);
    }
    while (test->left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
}

START_TEST(neighbours_do_not_undo_each_other)
{
    run_with(_i ? 4096 : 512, check_neighbours);
}
END_TEST

static Suite *bounce_suite(void)
{
    Suite *suite = suite_create("bounce");
    TCase *tcase = tcase_create("bounce");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, edges_are_read_and_written_back);
    tcase_add_test(tcase, end_of_file);
    tcase_add_test(tcase, long_requests_go_in_pieces);
    tcase_add_test(tcase, vectors);
    tcase_add_test(tcase, errors_leave_the_file_usable);
    tcase_add_loop_test(tcase, neighbours_do_not_undo_each_other, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(bounce_suite());
}
