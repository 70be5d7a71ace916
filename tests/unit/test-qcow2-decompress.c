/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Compressed clusters: of both kinds, of all sizes, with anything behind them;
 * and what is none. Then VM state that consists of such.
 */
#include <check.h>
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"
#include "../../qcow2/decompress.h"

#define DEFLATE 0
#define ZSTD    1

/* Half of it can be packed. */
static uint8_t *make_cluster(size_t bytes)
{
    uint8_t *cluster = g_malloc0(bytes);

    qcow2_fixture_fill(bytes, 0, cluster, bytes / 2);
    return cluster;
}

static GByteArray *deflate_with(const uint8_t *data, size_t bytes,
                                int window_bits)
{
    GByteArray *packed = g_byte_array_new();
    z_stream stream = { .next_in = (Bytef *)data, .avail_in = bytes };

    g_byte_array_set_size(packed, 2 * bytes + 100);
    stream.next_out = packed->data;
    stream.avail_out = packed->len;
    ck_assert_int_eq(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 9,
                                  Z_DEFAULT_STRATEGY),
                     Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    g_byte_array_set_size(packed, stream.total_out);
    deflateEnd(&stream);
    return packed;
}

static void add_frame(GByteArray *packed, const uint8_t *data, size_t bytes)
{
    size_t before = packed->len;
    size_t ret;

    g_byte_array_set_size(packed, before + ZSTD_compressBound(bytes));
    ret = ZSTD_compress(packed->data + before, ZSTD_compressBound(bytes), data,
                        bytes, 3);
    ck_assert(!ZSTD_isError(ret));
    g_byte_array_set_size(packed, before + ret);
}

static GByteArray *pack(unsigned type, const uint8_t *data, size_t bytes)
{
    GByteArray *packed;

    if (type == DEFLATE) {
        return deflate_with(data, bytes, -12);
    }
    packed = g_byte_array_new();
    add_frame(packed, data, bytes);
    return packed;
}

/*
 * Of exactly these lengths, so that a sanitizer sees what goes beyond. Returns
 * what qcow2_decompress() does.
 */
static int decompress(unsigned type, const GByteArray *packed,
                      size_t packed_bytes, uint8_t *cluster, size_t bytes)
{
    g_autofree uint8_t *from = g_malloc(packed_bytes + 1);
    g_autofree uint8_t *to = g_malloc(bytes);
    int ret;

    memcpy(from + 1, packed->data, packed_bytes);
    ret = qcow2_decompress(type, from + 1, packed_bytes, to, bytes);
    memcpy(cluster, to, bytes);
    return ret;
}

static void assert_decompresses(unsigned type, const GByteArray *packed,
                                const uint8_t *expected, size_t bytes)
{
    g_autofree uint8_t *cluster = g_malloc(bytes);

    ck_assert_int_eq(decompress(type, packed, packed->len, cluster, bytes), 0);
    ck_assert_mem_eq(cluster, expected, bytes);
}

START_TEST(every_cluster_size)
{
    size_t bytes = 1u << _i;
    g_autofree uint8_t *cluster = make_cluster(bytes);
    unsigned type;

    for (type = DEFLATE; type <= ZSTD; type++) {
        g_autoptr(GByteArray) packed = pack(type, cluster, bytes);

        assert_decompresses(type, packed, cluster, bytes);
        g_byte_array_append(packed, cluster, bytes / 2);
        assert_decompresses(type, packed, cluster, bytes);
    }
}
END_TEST

/* Other programs than QEMU may use more of the cluster to refer to. */
START_TEST(every_window)
{
    g_autofree uint8_t *cluster = make_cluster(65536);
    int bits;

    memcpy(cluster + 40000, cluster, 20000);
    for (bits = 9; bits <= 15; bits++) {
        g_autoptr(GByteArray) packed = deflate_with(cluster, 65536, -bits);

        assert_decompresses(DEFLATE, packed, cluster, 65536);
    }
}
END_TEST

START_TEST(several_frames)
{
    static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0,
                                         0,    0,    1,    2,    3 };
    g_autofree uint8_t *cluster = make_cluster(4096);
    g_autoptr(GByteArray) packed = g_byte_array_new();

    add_frame(packed, cluster, 1000);
    add_frame(packed, cluster, 0);
    g_byte_array_append(packed, skippable, sizeof(skippable));
    add_frame(packed, cluster + 1000, 3096);
    assert_decompresses(ZSTD, packed, cluster, 4096);
}
END_TEST

/* What ends too early does not fill the cluster. */
START_TEST(cut_at_every_length)
{
    g_autofree uint8_t *cluster = make_cluster(4096);
    g_autofree uint8_t *out = g_malloc(4096);
    g_autoptr(GByteArray) packed = pack(_i, cluster, 4096);
    g_autoptr(GByteArray) half = pack(_i, cluster, 2048);
    size_t bytes;

    for (bytes = 0; bytes < packed->len; bytes++) {
        int ret = decompress(_i, packed, bytes, out, 4096);

        /* Of deflate's last bytes some say only that it ends. */
        if (_i == ZSTD || bytes + 8 < packed->len) {
            ck_assert_int_eq(ret, -EINVAL);
        }
    }
    ck_assert_int_eq(decompress(_i, half, half->len, out, 4096), -EINVAL);
}
END_TEST

/* What could be more than a cluster stays a cluster. */
START_TEST(more_than_a_cluster)
{
    g_autofree uint8_t *cluster = g_malloc0(1 << 20);
    g_autofree uint8_t *out = g_malloc(512);
    g_autoptr(GByteArray) packed = pack(_i, cluster, 1 << 20);

    ck_assert_uint_lt(packed->len, 2048);
    ck_assert_int_eq(decompress(_i, packed, packed->len, out, 512),
                     _i == DEFLATE ? 0 : -EINVAL);
}
END_TEST

/* A frame that says it needs a window of 2^41 bytes gets none. */
START_TEST(absurd_window)
{
    static const uint8_t frame[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, /* no size, window 2^41 */
        0x03, 0x10, 0x00, 0x77,             /* 512 times 0x77, the last block */
    };
    g_autoptr(GByteArray) packed = g_byte_array_new();
    uint8_t out[512];

    g_byte_array_append(packed, frame, sizeof(frame));
    /* It may be refused, but not fill the memory. */
    (void)decompress(ZSTD, packed, packed->len, out, sizeof(out));
}
END_TEST

START_TEST(noise)
{
    g_autofree uint8_t *cluster = make_cluster(4096);
    g_autofree uint8_t *out = g_malloc(4096);
    g_autoptr(GByteArray) whole = pack(_i, cluster, 4096);
    GRand *rand = g_rand_new_with_seed(7);
    unsigned i;

    for (i = 0; i < 5000; i++) {
        g_autoptr(GByteArray) packed = qcow2_fixture_copy(whole);
        unsigned flips = g_rand_int_range(rand, 1, 5);

        while (flips-- > 0) {
            size_t most = g_rand_boolean(rand) ? 16 : packed->len;

            packed->data[g_rand_int_range(rand, 0, most)] =
                g_rand_int_range(rand, 0, 256);
        }
        (void)decompress(_i, packed, packed->len, out, 4096);
    }
    g_rand_free(rand);
}
END_TEST

#define KINDS   "ccdczZcc"
#define CLUSTER 512

/*
 * A snapshot of which the second half of the disk is called VM state. The disk
 * keeps its size, so the snapshot's L1 is looked at with its own.
 */
static GByteArray *build_vmstate(uint64_t vm_bytes)
{
    static const Qcow2FixtureOptions options = {
        .cluster_bits = 9,
        .disk_size = 2 * 32768,
        .l2 = { "d", KINDS },
    };
    g_autoptr(GByteArray) built = qcow2_fixture_build(&options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(built);
    g_auto(Qcow2FixtureEntry) entry = { 0 };
    GByteArray *image;

    qcow2_fixture_must_create(file, "s", 1);
    image = qcow2_fixture_content(file);
    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.at + 40, 8, vm_bytes);
    qcow2_fixture_poke(image, entry.at + 48, 8, 32768);
    return image;
}

START_TEST(vm_state)
{
    uint64_t vm_bytes = strlen(KINDS) * CLUSTER - 100;
    g_autoptr(GByteArray) image = build_vmstate(vm_bytes);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    uint8_t expected[sizeof(KINDS) * CLUSTER] = { 0 };
    uint8_t buffer[sizeof(KINDS) * CLUSTER];
    GRand *rand = g_rand_new_with_seed(1);
    unsigned i;

    for (i = 0; KINDS[i]; i++) {
        if (strchr("cd", KINDS[i])) {
            qcow2_fixture_fill_cluster(64 + i, KINDS[i], expected + i * CLUSTER,
                                       CLUSTER);
        }
    }
    for (i = 0; i < 300; i++) {
        uint64_t position = g_rand_int_range(rand, 0, vm_bytes);
        size_t bytes = g_rand_int_range(rand, 0, vm_bytes - position + 1);

        memset(buffer, 0x77, sizeof(buffer));
        ck_assert(qcow2_fixture_load(file, "s", position, buffer, bytes, NULL));
        ck_assert_mem_eq(buffer, expected + position, bytes);
        ck_assert_int_eq(buffer[bytes], 0x77);
    }
    g_rand_free(rand);
}
END_TEST

/* The error says where; what is whole can be read. */
START_TEST(damaged_vm_state)
{
    uint64_t vm_bytes = strlen(KINDS) * CLUSTER;
    g_autoptr(GByteArray) image = build_vmstate(vm_bytes);
    uint64_t entry = qcow2_fixture_peek(
        image, qcow2_fixture_vmstate_entry_at(image, 0, CLUSTER), 8);
    uint64_t data = entry & ((1ULL << 61) - 1);
    g_autoptr(BlockFile) file = NULL;
    g_autofree char *text = g_strdup_printf(
        "VM state position 600: the compressed cluster at 0x%" PRIx64, data);
    uint8_t buffer[8 * CLUSTER];
    GError *error = NULL;

    memset(image->data + data, 0xff, 8);
    file = qcow2_fixture_file(image);
    ck_assert(!qcow2_fixture_load(file, "s", 600, buffer, 1, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_DAMAGED, text);
    ck_assert(qcow2_fixture_load(file, "s", 0, buffer, CLUSTER, NULL));
    ck_assert(
        qcow2_fixture_load(file, "s", 2 * CLUSTER, buffer, 6 * CLUSTER, NULL));
}
END_TEST

static Suite *decompress_suite(void)
{
    Suite *suite = suite_create("qcow2-decompress");
    TCase *tcase = tcase_create("qcow2-decompress");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_cluster_size, 9, 22);
    tcase_add_test(tcase, every_window);
    tcase_add_test(tcase, several_frames);
    tcase_add_loop_test(tcase, cut_at_every_length, DEFLATE, ZSTD + 1);
    tcase_add_loop_test(tcase, more_than_a_cluster, DEFLATE, ZSTD + 1);
    tcase_add_test(tcase, absurd_window);
    tcase_add_loop_test(tcase, noise, DEFLATE, ZSTD + 1);
    tcase_add_test(tcase, vm_state);
    tcase_add_test(tcase, damaged_vm_state);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(decompress_suite());
}
