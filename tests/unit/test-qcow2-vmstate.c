/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reading and writing VM state anywhere and by many at once, through L2 tables
 * that lie next to each other and others that do not.
 */
#include <check.h>
#include <stdlib.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"

#define SEED 3

static GByteArray *build(unsigned cluster_bits, uint64_t vm_bytes)
{
    Qcow2FixtureOptions options = { .cluster_bits = cluster_bits };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = vm_bytes };

    qcow2_fixture_must_save(file, &save);
    return qcow2_fixture_content(file);
}

/* Readers in one coroutine each, which share what is left to do. */
typedef struct Readers {
    BlockFile *file;
    Qcow2VmstateReader *reader;
    uint64_t vm_bytes;
    GRand *rand;
    unsigned left;    /* reads that nobody has begun */
    unsigned running; /* coroutines */
    size_t reads;     /* of the file, once the reader is open */
} Readers;

static void coroutine_fn read_somewhere(void *opaque)
{
    Readers *readers = opaque;

    while (readers->left > 0) {
        uint64_t position =
            g_rand_int_range(readers->rand, 0, readers->vm_bytes);
        uint64_t rest = readers->vm_bytes - position;
        size_t bytes = g_rand_int_range(readers->rand, 0, MIN(rest, 30000) + 1);
        g_autofree uint8_t *expected = g_malloc(bytes + 1);
        g_autofree uint8_t *buffer = g_malloc(bytes + 1);
        g_autoptr(GError) error = NULL;

        readers->left--;
        qcow2_fixture_fill(SEED, position, expected, bytes);
        expected[bytes] = 0x77;
        memset(buffer, 0x77, bytes + 1);
        ck_assert_msg(qcow2_vmstate_pread(readers->reader, position, buffer,
                                          bytes, &error),
                      "%s", error ? error->message : "");
        ck_assert_mem_eq(buffer, expected, bytes + 1);
    }
    readers->running--;
}

static void coroutine_fn readers_entry(void *opaque)
{
    Readers *readers = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(readers->file, NULL);
    unsigned depth = readers->running;
    unsigned i;

    ck_assert_ptr_nonnull(image);
    readers->reader =
        qcow2_vmstate_reader_open(image, qcow2_find_snapshot(image, "s"), NULL);
    ck_assert_ptr_nonnull(readers->reader);
    memory_file_reset_records(readers->file);
    for (i = 0; i < depth; i++) {
        event_loop_start(read_somewhere, readers);
    }
    while (readers->running > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
    qcow2_vmstate_reader_close(readers->reader);
}

static void read_at_random(const GByteArray *image, uint64_t vm_bytes,
                           unsigned depth, unsigned reads)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Readers readers = {
        .file = file,
        .vm_bytes = vm_bytes,
        .rand = g_rand_new_with_seed(depth),
        .left = reads,
        .running = depth,
    };

    memory_file_shuffle(file, depth);
    event_loop_run(readers_entry, &readers);
    ck_assert_uint_eq(readers.left, 0);
    g_rand_free(readers.rand);
}

START_TEST(random_reads)
{
    static const struct {
        unsigned cluster_bits;
        uint64_t vm_bytes;
    } shapes[] = { { 9, 100001 },
                   { 9, 5000000 },
                   { 12, 3000000 },
                   { 16, 3000000 },
                   { 21, 2500000 } };
    g_autoptr(GByteArray)
        image = build(shapes[_i].cluster_bits, shapes[_i].vm_bytes);

    read_at_random(image, shapes[_i].vm_bytes, 1, 200);
    read_at_random(image, shapes[_i].vm_bytes, 2, 200);
    read_at_random(image, shapes[_i].vm_bytes, 16, 400);
}
END_TEST

/* Move one L2 table of the VM state to the end of the file. */
static void move_table(GByteArray *image, unsigned index)
{
    g_auto(Qcow2FixtureEntry) snapshot = { 0 };
    uint64_t end = (image->len + 511) / 512 * 512;
    uint64_t at;
    uint64_t table;

    qcow2_fixture_entry(image, 0, &snapshot);
    at = snapshot.l1_offset + (snapshot.vm_index + index) * 8;
    table = qcow2_fixture_peek(image, at, 8);
    g_byte_array_set_size(image, end + 512);
    memcpy(image->data + end, image->data + table, 512);
    memset(image->data + table, 0xff, 512);
    qcow2_fixture_poke(image, at, 8, end);
}

/* How often the file is read to load everything. */
static size_t reads_to_load(const GByteArray *image, uint64_t vm_bytes)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autofree uint8_t *expected = g_malloc(vm_bytes);
    g_autofree uint8_t *buffer = g_malloc(vm_bytes);

    qcow2_fixture_fill(SEED, 0, expected, vm_bytes);
    ck_assert(qcow2_fixture_load(file, "s", 0, buffer, vm_bytes, NULL));
    ck_assert_mem_eq(buffer, expected, vm_bytes);
    return memory_file_count(file, MEMORY_FILE_READ);
}

/*
 * 20 tables of 32 KiB of VM state each, all read at once; every one that is
 * elsewhere costs two reads more, one for itself and one for those behind it.
 * The data is asked for in one piece whatever the tables do.
 */
START_TEST(tables_that_are_not_adjacent)
{
    uint64_t vm_bytes = 20 * 32768 - 100;
    g_autoptr(GByteArray) image = build(9, vm_bytes);
    size_t reads = reads_to_load(image, vm_bytes);

    /* First 4096 bytes, first cluster, snapshot table, L1, L2, data. */
    ck_assert_uint_eq(reads, 6);
    move_table(image, 7);
    ck_assert_uint_eq(reads_to_load(image, vm_bytes), reads + 2);
    move_table(image, 12);
    ck_assert_uint_eq(reads_to_load(image, vm_bytes), reads + 4);
    move_table(image, 0);
    ck_assert_uint_eq(reads_to_load(image, vm_bytes), reads + 5);
    move_table(image, 19);
    ck_assert_uint_eq(reads_to_load(image, vm_bytes), reads + 6);
    read_at_random(image, vm_bytes, 5, 300);
}
END_TEST

/*
 * A window holds 128 tables of 512 bytes, which map 4 MiB. Of the data each
 * MiB is a read.
 */
START_TEST(more_tables_than_the_window_holds)
{
    uint64_t mapped = 4 << 20;
    g_autoptr(GByteArray) one = build(9, mapped);
    g_autoptr(GByteArray) two = build(9, mapped + 1);

    ck_assert_uint_eq(reads_to_load(one, mapped), 4 + 1 + 4);
    ck_assert_uint_eq(reads_to_load(two, mapped + 1), 4 + 2 + 5);
}
END_TEST

/* Exchange two clusters of VM state and their entries: the same content. */
static void exchange(GByteArray *image, uint64_t a, uint64_t b)
{
    uint64_t at_a = qcow2_fixture_vmstate_entry_at(image, 0, a * 512);
    uint64_t at_b = qcow2_fixture_vmstate_entry_at(image, 0, b * 512);
    uint64_t data_a = qcow2_fixture_peek(image, at_a, 8);
    uint64_t data_b = qcow2_fixture_peek(image, at_b, 8);
    uint8_t cluster[512];

    memcpy(cluster, image->data + data_a, 512);
    memcpy(image->data + data_a, image->data + data_b, 512);
    memcpy(image->data + data_b, cluster, 512);
    qcow2_fixture_poke(image, at_a, 8, data_b);
    qcow2_fixture_poke(image, at_b, 8, data_a);
}

/* As QEMU leaves it when free clusters are scarce. */
START_TEST(scattered_clusters)
{
    g_autoptr(GByteArray) image = build(9, 100352);
    GRand *rand = g_rand_new_with_seed(1);
    unsigned i;

    for (i = 0; i < 150; i++) {
        exchange(image, g_rand_int_range(rand, 0, 196),
                 g_rand_int_range(rand, 0, 196));
    }
    qcow2_fixture_assert_sound(image);
    ck_assert_uint_gt(reads_to_load(image, 100352), 50);
    read_at_random(image, 100352, 7, 300);
    g_rand_free(rand);
}
END_TEST

/* The disk has grown since: the snapshot goes by its own disk size. */
START_TEST(disk_was_resized)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 2 * 32768,
        .spare_l1_entries = 5,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "s", .seed = SEED, .bytes = 50000 };
    g_autoptr(GByteArray) saved = NULL;

    qcow2_fixture_must_save(file, &save);
    saved = qcow2_fixture_content(file);
    qcow2_fixture_poke(saved, 24, 8, 6 * 32768 + 1);
    reads_to_load(saved, 50000);
    qcow2_fixture_poke(saved, 24, 8, 512);
    reads_to_load(saved, 50000);
}
END_TEST

/* Whatever the order of completion, all bytes are where they belong. */
START_TEST(many_writers)
{
    Qcow2FixtureOptions options = {
        .cluster_bits = 9 + _i,
        .disk_size = 30000,
        .free_clusters = 5000 >> _i,
        .l2 = { "d" },
    };
    g_autoptr(GByteArray) image = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = {
        .name = "s",
        .seed = SEED,
        .bytes = 2900001,
        .piece = 512 * 37,
        .writers = 8,
    };
    g_autoptr(GByteArray) saved = NULL;

    memory_file_shuffle(file, 8);
    qcow2_fixture_must_save(file, &save);
    saved = qcow2_fixture_content(file);
    qcow2_fixture_assert_sound(saved);
    reads_to_load(saved, save.bytes);
}
END_TEST

static Suite *vmstate_suite(void)
{
    Suite *suite = suite_create("qcow2-vmstate");
    TCase *tcase = tcase_create("qcow2-vmstate");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, random_reads, 0, 5);
    tcase_add_test(tcase, tables_that_are_not_adjacent);
    tcase_add_test(tcase, more_tables_than_the_window_holds);
    tcase_add_test(tcase, scattered_clusters);
    tcase_add_test(tcase, disk_was_resized);
    tcase_add_loop_test(tcase, many_writers, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(vmstate_suite());
}
