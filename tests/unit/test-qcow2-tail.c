/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A snapshot whose VM state gets another end. Nothing else changes: not what
 * stays of it, no other snapshot, no disk; nothing leaks, and QEMU finds nothing
 * to complain of.
 */
#include <check.h>

#include "memory-file.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "snap-error.h"

typedef struct Shape {
    Qcow2FixtureOptions options;
    uint64_t cluster_size;
    uint64_t table_bytes; /* of VM state that one L2 table maps */
} Shape;

static const Shape shapes[] = {
    { { .cluster_bits = 9, .disk_size = 65536, .l2 = { "dcczZ.d", "Zc" } },
      512,
      32768 },
    { { .version = 2,
        .cluster_bits = 9,
        .disk_size = 200000,
        .l2 = { "d.c", NULL, "dd", "c" } },
      512,
      32768 },
    { { .cluster_bits = 9,
        .disk_size = 65536,
        .refcount_bits = 64,
        .free_clusters = 40,
        .l2 = { "ddd", "dcZ" } },
      512,
      32768 },
    { { .cluster_bits = 10, .disk_size = 33333, .refcount_bits = 2 },
      1024,
      131072 },
    { { .cluster_bits = 16, .disk_size = 1 << 20, .l2 = { "dcZd" } },
      65536,
      0 },
    { { .cluster_bits = 14,
        .extended_l2 = true,
        .disk_size = 1 << 20,
        .spare_l1_entries = 1,
        .l2 = { "pqd.Zzcp", "dp" } },
      16384,
      0 },
    { { .cluster_bits = 21, .disk_size = 1 << 20, .l2 = { "d" } }, 2 << 20, 0 },
};

#define SHAPES ((int)G_N_ELEMENTS(shapes))

/* But for the last one, whose clusters take their time. */
#define SMALL_SHAPES (SHAPES - 1)

/* A third of many cases, other ones in each test; with ROUNDS all of them. */
static unsigned stride(void)
{
    return g_getenv("ROUNDS") ? 1 : 3;
}

static uint64_t round_to(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static GByteArray *load(BlockFile *file, const char *name, uint64_t bytes)
{
    GByteArray *content = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    g_byte_array_set_size(content, bytes);
    ck_assert_msg(
        qcow2_fixture_load(file, name, 0, content->data, bytes, &error), "%s",
        error ? error->message : "failed without an error");
    return content;
}

/* "'name' N bytes DIGEST," as it is in a description. */
static char *part_of_line(const char *name, const GByteArray *vmstate)
{
    g_autofree char *digest = g_compute_checksum_for_data(
        G_CHECKSUM_SHA1, vmstate->data, vmstate->len);

    return g_strdup_printf("'%s' %u bytes %s,", name, vmstate->len, digest);
}

static char *replace_once(const char *text, const char *part, const char *with)
{
    const char *at = strstr(text, part);

    ck_assert_msg(at != NULL, "no %s in\n%s", part, text);
    return g_strdup_printf("%.*s%s%s", (int)(at - text), text, with,
                           at + strlen(part));
}

static uint64_t vmstate_size(BlockFile *file, unsigned index)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, index, &entry);
    return entry.vm_state_size;
}

/*
 * Replace the tail of the first snapshot, called "old". The image is then what
 * it was, but for that; a second reader agrees.
 */
static void replace_and_judge(BlockFile *file, uint64_t cluster_size,
                              uint64_t kept, uint64_t bytes, uint64_t seed)
{
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE_TAIL,
        .name = "old",
        .seed = seed,
        .kept = kept,
        .bytes = bytes,
    };
    g_autofree char *old_text = qcow2_fixture_describe_sound(file);
    g_autoptr(GByteArray) old = load(file, "old", vmstate_size(file, 0));
    g_autofree char *old_part = part_of_line("old", old);
    uint64_t position = bytes ? round_to(kept, cluster_size) : kept;
    g_autoptr(GByteArray) now = NULL;
    g_autofree char *new_part = NULL;
    g_autofree char *new_text = NULL;
    g_autofree char *expected = NULL;
    g_autofree uint8_t *data = g_malloc(bytes + 1);
    g_autoptr(GError) error = NULL;

    ck_assert_msg(qcow2_fixture_change(file, &change, &error), "%s",
                  error ? error->message : "failed without an error");
    ck_assert_uint_eq(vmstate_size(file, 0), position + bytes);
    now = load(file, "old", position + bytes);
    qcow2_fixture_fill(seed, 0, data, bytes);
    ck_assert_mem_eq(now->data, old->data, kept);
    ck_assert_mem_eq(now->data + position, data, bytes);
    new_part = part_of_line("old", now);
    expected = replace_once(old_text, old_part, new_part);
    new_text = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(new_text, expected);
}

/* A snapshot with so much VM state, and one behind it that shares the disk. */
static BlockFile *build(const Qcow2FixtureOptions *options, uint64_t vm_bytes)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(options);
    BlockFile *file = qcow2_fixture_file(image);
    Qcow2FixtureSave save = { .name = "old", .seed = 1, .bytes = vm_bytes };

    qcow2_fixture_must_save(file, &save);
    qcow2_fixture_must_create(file, "later", 2);
    return file;
}

static void assert_accepted_by_qemu(BlockFile *file)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(file);

    ck_assert_int_eq(qcow2_fixture_qemu_img_check(image), 0);
    ck_assert_int_eq(qcow2_fixture_qemu_img_apply(image, "old"), 0);
}

/*
 * VM state and data that end before, at and behind the ends of clusters and L2
 * tables. At last the data goes again, and all is what it was.
 */
static void append_to(const Shape *shape, uint64_t vm_bytes, uint64_t bytes)
{
    g_autoptr(BlockFile) file = build(&shape->options, vm_bytes);
    g_autofree char *before = qcow2_fixture_describe_sound(file);
    g_autofree char *after = NULL;

    replace_and_judge(file, shape->cluster_size, vm_bytes, bytes, 3);
    replace_and_judge(file, shape->cluster_size, vm_bytes, bytes / 2, 4);
    replace_and_judge(file, shape->cluster_size, vm_bytes, 0, 0);
    after = qcow2_fixture_describe_sound(file);
    ck_assert_str_eq(after, before);
    qcow2_fixture_must_delete(file, "old");
    g_free(qcow2_fixture_describe_sound(file));
}

START_TEST(data_is_appended)
{
    const Shape *shape = &shapes[_i];
    const uint64_t cluster = shape->cluster_size;
    const uint64_t table = shape->table_bytes;
    const uint64_t sizes[] = {
        1,         cluster - 1, cluster,   cluster + 1,         table - cluster,
        table - 1, table,       table + 1, 2 * table + cluster,
    };
    const unsigned count = table ? G_N_ELEMENTS(sizes) : 4;
    unsigned i;

    for (i = _i % stride(); i < 2 * count; i += stride()) {
        append_to(shape, sizes[i / 2], sizes[(i / 2 + 1 + i % 2 * 2) % count]);
    }
}
END_TEST

START_TEST(qemu_accepts_it)
{
    const Shape *shape = &shapes[_i];
    const uint64_t cluster = shape->cluster_size;
    g_autoptr(BlockFile) file = build(&shape->options, cluster * 3 + 17);

    replace_and_judge(file, cluster, cluster * 3 + 17, cluster + 1, 3);
    assert_accepted_by_qemu(file);
    replace_and_judge(file, cluster, cluster + 5, 2 * cluster, 4);
    replace_and_judge(file, cluster, cluster + 1, 0, 0);
    assert_accepted_by_qemu(file);
}
END_TEST

/* Other VM state before and behind stays, wherever the tail begins. */
START_TEST(anything_is_kept)
{
    g_autoptr(BlockFile) file = build(&shapes[_i].options, 70001);
    Qcow2FixtureSave save = { .name = "last", .seed = 5, .bytes = 40000 };
    GRand *rand = g_rand_new_with_seed(_i);
    unsigned i;

    qcow2_fixture_must_save(file, &save);
    for (i = 0; i < 12 / stride(); i++) {
        uint64_t kept = g_rand_int_range(rand, 1, vmstate_size(file, 0) + 1);
        uint64_t bytes = g_rand_int_range(rand, 0, 100000);

        replace_and_judge(file, shapes[_i].cluster_size, kept, bytes, i);
    }
    g_rand_free(rand);
}
END_TEST

/*
 * An image after QEMU has loaded "old": the active L1 has its VM state, too,
 * and so has "later", a disk-only snapshot made then. All of that was disk,
 * which is made to end after its first L2 table. The VM state may have any kind
 * of cluster.
 */
static GByteArray *build_loaded(const Qcow2FixtureOptions *options,
                                uint64_t table_bytes, uint64_t vm_bytes)
{
    g_autoptr(GByteArray) built = qcow2_fixture_build(options);
    g_autoptr(BlockFile) file = qcow2_fixture_file(built);
    g_autoptr(GByteArray) image = NULL;
    unsigned i;

    qcow2_fixture_must_create(file, "old", 1);
    qcow2_fixture_must_create(file, "later", 2);
    image = qcow2_fixture_content(file);
    qcow2_fixture_poke(image, 24, 8, table_bytes);
    for (i = 0; i < 2; i++) {
        g_auto(Qcow2FixtureEntry) entry = { 0 };

        qcow2_fixture_entry(image, i, &entry);
        qcow2_fixture_poke(image, entry.at + 32, 4, i ? 0 : vm_bytes);
        qcow2_fixture_poke(image, entry.at + 40, 8, i ? 0 : vm_bytes);
        qcow2_fixture_poke(image, entry.at + 48, 8, table_bytes);
    }
    qcow2_fixture_assert_sound(image);
    return g_steal_pointer(&image);
}

#define EIGHT(kinds)      kinds kinds kinds kinds kinds kinds kinds kinds
#define LOADED_BYTES      (2 * 32768 + 5 * 512 + 100)
#define LOADED_TABLE      32768
#define EXTENDED_CLUSTER  16384
#define EXTENDED_TABLE    (EXTENDED_CLUSTER * 1024)
#define EXTENDED_CLUSTERS 6

static const Qcow2FixtureOptions loaded = {
    .cluster_bits = 9,
    .disk_size = 5 * LOADED_TABLE,
    .l2 = { "dd", EIGHT("ddcczZdc"), EIGHT("dddddddd"), "cZdzccd", "dd" },
};

static void assert_stale(BlockFile *file)
{
    Qcow2StaleVmstate stale;

    qcow2_fixture_look_at_stale(file, &stale);
    ck_assert(stale.present);
}

/* Then the other owners go, one by one, and what they shared with it. */
static void assert_others_can_go(BlockFile *file)
{
    qcow2_fixture_must_delete(file, "later");
    g_free(qcow2_fixture_describe_sound(file));
    qcow2_fixture_must_change(file, QCOW2_FIXTURE_FREE_STALE, NULL, NULL);
    g_free(qcow2_fixture_describe_sound(file));
    qcow2_fixture_must_delete(file, "old");
    g_free(qcow2_fixture_describe_sound(file));
}

START_TEST(shared_vmstate)
{
    static const uint64_t kept[] = {
        1,     512,   513,   1025,  1536,  2048,  2500,  3072,         3500,
        32255, 32256, 32257, 32767, 32768, 32769, 65535, 65536,        65537,
        66048, 66049, 66560, 67000, 67584, 67600, 68000, LOADED_BYTES,
    };
    g_autoptr(GByteArray)
        image = build_loaded(&loaded, LOADED_TABLE, LOADED_BYTES);
    unsigned i;

    for (i = _i; i < G_N_ELEMENTS(kept); i += 4) {
        g_autoptr(BlockFile) file = qcow2_fixture_file(image);

        replace_and_judge(file, 512, kept[i], i % 2 ? 30000 : 300, 3);
        assert_stale(file);
        replace_and_judge(file, 512, MIN(kept[i], 1000), i % 3 ? 2000 : 0, 4);
        if (i == (unsigned)_i) {
            assert_accepted_by_qemu(file);
        }
        assert_others_can_go(file);
    }
}
END_TEST

/* The only other owner of a table or a cluster gets COPIED in the same write. */
START_TEST(copied_where_one_owner_is_left)
{
    g_autoptr(GByteArray)
        image = build_loaded(&loaded, LOADED_TABLE, LOADED_BYTES);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    uint64_t at;

    qcow2_fixture_must_delete(file, "later");
    replace_and_judge(file, 512, 512, 1, 3);
    after = qcow2_fixture_content(file);
    at = qcow2_fixture_peek(after, 40, 8) + 8;
    ck_assert_uint_eq(qcow2_fixture_peek(after, at, 8) >> 63, 1);
    at = qcow2_fixture_l2_entry_at(after, qcow2_fixture_peek(after, 40, 8), 64);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at, 8) >> 63, 0);
    ck_assert_uint_eq(qcow2_fixture_peek(after, at + 8, 8) >> 63, 1);
}
END_TEST

/* More L2 tables and data than the size says go, too. */
START_TEST(what_lies_behind_the_size)
{
    g_autoptr(GByteArray) image = build_loaded(&loaded, LOADED_TABLE, 1000);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    replace_and_judge(file, 512, 1000, 700, 3);
    after = qcow2_fixture_content(file);
    qcow2_fixture_entry(after, 0, &entry);
    ck_assert_uint_eq(entry.l1_size, 2);
    assert_others_can_go(file);
}
END_TEST

static const Qcow2FixtureOptions extended = {
    .cluster_bits = 14,
    .extended_l2 = true,
    .disk_size = 2 * (uint64_t)EXTENDED_TABLE,
    .l2 = { "d", "dzcZdpq" },
};

/* Subclusters that nobody has written come inside the VM state as zeros. */
START_TEST(unwritten_subclusters)
{
    static const uint64_t kept[] = { 1, 512, 513, 4095, 4096 };
    const uint64_t before = 5ULL * EXTENDED_CLUSTER;
    g_autoptr(GByteArray)
        image = build_loaded(&extended, EXTENDED_TABLE, before + kept[_i]);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    uint8_t zeros[512] = { 0 };

    replace_and_judge(file, EXTENDED_CLUSTER, before + kept[_i], 20000, 3);
    after = load(file, "old", EXTENDED_CLUSTERS * EXTENDED_CLUSTER);
    ck_assert_mem_eq(after->data + before + 8 * 512, zeros, 512);
    ck_assert_mem_eq(after->data + before + 12 * 512, zeros, 512);
    assert_others_can_go(file);
}
END_TEST

/* Replacing must be refused, and nothing be written. */
static void assert_refused(const GByteArray *image, uint64_t kept, int code,
                           const char *text)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE_TAIL,
        .name = "old",
        .kept = kept,
        .bytes = 3000,
    };
    GError *error = NULL;

    ck_assert(!qcow2_fixture_change(file, &change, &error));
    qcow2_fixture_assert_error(&error, code, text);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_WRITE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_TRUNCATE), 0);
    ck_assert_uint_eq(memory_file_count(file, MEMORY_FILE_FLUSH), 0);
}

/* A hole where data is to follow, in the last subcluster and in others. */
START_TEST(holes)
{
    g_autoptr(GByteArray) image =
        build_loaded(&extended, EXTENDED_TABLE, 9ULL * EXTENDED_CLUSTER);

    assert_refused(image, 5 * EXTENDED_CLUSTER + 4097, SNAP_ERROR_DAMAGED,
                   "a hole before position 86017");
    assert_refused(image, 6 * EXTENDED_CLUSTER, SNAP_ERROR_DAMAGED, "a hole");
    assert_refused(image, 6 * EXTENDED_CLUSTER + 1, SNAP_ERROR_DAMAGED,
                   "a hole");
    assert_refused(image, 8 * EXTENDED_CLUSTER, SNAP_ERROR_DAMAGED, "a hole");
}
END_TEST

static GByteArray *build_damaged(void)
{
    return build_loaded(&loaded, LOADED_TABLE, LOADED_BYTES);
}

/* Entry @index of the L1 table of the first snapshot. */
static uint64_t l1_entry_at(const GByteArray *image, unsigned index)
{
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    return entry.l1_offset + index * 8;
}

static uint64_t offset_in(const GByteArray *image, uint64_t at)
{
    return qcow2_fixture_peek(image, at, 8) & 0x00fffffffffffe00ULL;
}

START_TEST(entry_that_cannot_be)
{
    static const struct {
        uint64_t size;
        uint32_t l1_size;
        int code;
        const char *text;
    } cases[] = {
        { 0, 5, SNAP_ERROR_INVALID, "holds no VM state" },
        { UINT64_MAX, 5, SNAP_ERROR_DAMAGED, "cannot map" },
        { 4 * LOADED_TABLE + 1, 5, SNAP_ERROR_DAMAGED, "cannot map" },
        { LOADED_BYTES, 3, SNAP_ERROR_DAMAGED, "cannot map" },
        { LOADED_BYTES, 5000000, SNAP_ERROR_DAMAGED, "impossible L1 table" },
    };
    g_autoptr(GByteArray) image = build_damaged();
    g_auto(Qcow2FixtureEntry) entry = { 0 };

    qcow2_fixture_entry(image, 0, &entry);
    qcow2_fixture_poke(image, entry.at + 8, 4, cases[_i].l1_size);
    qcow2_fixture_poke(image, entry.at + 40, 8, cases[_i].size);
    assert_refused(image, 1000, cases[_i].code, cases[_i].text);
}
END_TEST

START_TEST(dirty_image)
{
    g_autoptr(GByteArray) image = build_damaged();

    qcow2_fixture_poke(image, 72, 8, 1);
    assert_refused(image, 1000, SNAP_ERROR_DAMAGED, "not closed properly");
}
END_TEST

/* No table at all, one that cannot be, and impossible entries, kept or not. */
START_TEST(damaged_tables)
{
    static const struct {
        unsigned l1; /* which of its entries, */
        int l2;      /* which of that table's, or none */
        uint64_t value;
        const char *text;
    } cases[] = {
        { 1, -1, 0, "a hole before position" },
        { 1, -1, 513, "impossible L1 entry" },
        { 3, -1, 1ULL << 40, "impossible L1 entry" },
        { 1, 0, 1ULL << 60, "impossible L2 entry" },
        { 1, 1, 1ULL << 60 | 512, "impossible L2 entry" },
        { 1, 1, 0, "a hole before position" },
        { 1, 9, 1ULL << 40, "impossible L2 entry" },
        { 2, 63, 1ULL << 60 | 512, "impossible L2 entry" },
        { 4, 0, 2, "impossible L2 entry" },
    };
    g_autoptr(GByteArray) image = build_damaged();
    uint64_t at = l1_entry_at(image, cases[_i].l1);

    if (cases[_i].l2 >= 0) {
        at = offset_in(image, at) + (unsigned)cases[_i].l2 * 8;
    }
    qcow2_fixture_poke(image, at, 8, cases[_i].value);
    assert_refused(image, 1000, SNAP_ERROR_DAMAGED, cases[_i].text);
}
END_TEST

/* What stays has no reference, or would lose its last one to what goes. */
START_TEST(kept_without_a_reference)
{
    g_autoptr(GByteArray) image = build_damaged();
    g_autoptr(GByteArray) table = qcow2_fixture_copy(image);
    g_autoptr(GByteArray) twice = qcow2_fixture_copy(image);
    uint64_t l2 = offset_in(image, l1_entry_at(image, 1));
    uint64_t last = offset_in(image, l1_entry_at(image, 4));
    uint64_t data = offset_in(image, l2);
    unsigned i;

    qcow2_fixture_set_refcount(image, data / 512, 0);
    assert_refused(image, 1000, SNAP_ERROR_DAMAGED, "VM state at");
    qcow2_fixture_set_refcount(table, l2 / 512, 0);
    assert_refused(table, 33000, SNAP_ERROR_DAMAGED,
                   "an L2 table of the snapshot at");
    for (i = 0; i < 3; i++) {
        qcow2_fixture_poke(twice, last + i * 8, 8, data);
    }
    assert_refused(twice, 1000, SNAP_ERROR_DAMAGED, "VM state at");
}
END_TEST

/* The tail names what is not its own. */
START_TEST(tail_that_is_metadata)
{
    g_autoptr(GByteArray) image = build_damaged();
    g_auto(Qcow2FixtureEntry) other = { 0 };
    Qcow2FixtureHeader header;
    uint64_t victims[6];

    qcow2_fixture_header(image, &header);
    qcow2_fixture_entry(image, 1, &other);
    victims[0] = header.l1_offset;
    victims[1] = header.refcount_table_offset;
    victims[2] = offset_in(image, header.refcount_table_offset);
    victims[3] = header.snapshots_offset;
    victims[4] = other.l1_offset;
    victims[5] = l1_entry_at(image, 0) / 512 * 512;
    qcow2_fixture_poke(image, offset_in(image, l1_entry_at(image, 2)) + 8, 8,
                       victims[_i]);
    assert_refused(image, 1000, SNAP_ERROR_DAMAGED, "refcount is 0");
}
END_TEST

static GByteArray *without_later(BlockFile *file)
{
    qcow2_fixture_must_delete(file, "later");
    return qcow2_fixture_content(file);
}

/* The active disk, or VM state that QEMU left in its L1, would lose its own. */
START_TEST(tail_that_is_the_active_disks)
{
    g_autoptr(GByteArray) built = build_damaged();
    g_autoptr(BlockFile) file = qcow2_fixture_file(built);
    g_autoptr(GByteArray) image = without_later(file);
    uint64_t l2 = offset_in(image, l1_entry_at(image, 2));
    uint64_t at = qcow2_fixture_l2_entry_at(
        image, qcow2_fixture_peek(image, 40, 8), _i ? 3 * 64 + 2 : 0);
    uint64_t cluster = offset_in(image, at) / 512;
    uint64_t refcount = qcow2_fixture_refcount(image, cluster);
    unsigned i;

    for (i = 0; i + _i < refcount; i++) {
        qcow2_fixture_poke(image, l2 + i * 8, 8, cluster * 512);
    }
    assert_refused(image, 1000, SNAP_ERROR_DAMAGED, "would have refcount 0");
}
END_TEST

/* On a full disk nothing happens, and what is freed at the end may be cut. */
START_TEST(full_disk)
{
    g_autoptr(BlockFile) built = build(&shapes[0].options, 70001);
    g_autoptr(GByteArray) image = qcow2_fixture_content(built);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_autoptr(GByteArray) after = NULL;
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE_TAIL,
        .name = "old",
        .bytes = 100000,
    };
    GError *error = NULL;

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, 0, 0);
    memory_file_limit(file, image->len + 50000);
    ck_assert(!qcow2_fixture_change(file, &change, &error));
    qcow2_fixture_assert_error(&error, SNAP_ERROR_NO_SPACE, "");
    after = qcow2_fixture_content(file);
    ck_assert_uint_eq(after->len, image->len);
    ck_assert_mem_eq(after->data, image->data, image->len);
}
END_TEST

static size_t count_discards(bool keeps_freed)
{
    g_autoptr(BlockFile) file = build(&shapes[0].options, 300000);
    Qcow2FixtureSave save = { .name = "last", .seed = 5, .bytes = 512 };
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE_TAIL,
        .name = "old",
        .kept = 1000,
        .keeps_freed = keeps_freed,
    };

    qcow2_fixture_must_save(file, &save);
    memory_file_reset_records(file);
    ck_assert(qcow2_fixture_change(file, &change, NULL));
    return memory_file_count(file, MEMORY_FILE_DISCARD);
}

START_TEST(freed_space_is_given_back)
{
    ck_assert_uint_gt(count_discards(false), 0);
    ck_assert_uint_eq(count_discards(true), 0);
}
END_TEST

static Suite *tail_suite(void)
{
    Suite *suite = suite_create("qcow2-tail");
    TCase *tcase = tcase_create("qcow2-tail");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, data_is_appended, 0, SMALL_SHAPES);
    tcase_add_loop_test(tcase, qemu_accepts_it, 0, SHAPES);
    tcase_add_loop_test(tcase, anything_is_kept, 0, SMALL_SHAPES);
    tcase_add_loop_test(tcase, shared_vmstate, 0, 4);
    tcase_add_test(tcase, copied_where_one_owner_is_left);
    tcase_add_test(tcase, what_lies_behind_the_size);
    tcase_add_loop_test(tcase, unwritten_subclusters, 0, 5);
    tcase_add_test(tcase, holes);
    tcase_add_loop_test(tcase, entry_that_cannot_be, 0, 5);
    tcase_add_test(tcase, dirty_image);
    tcase_add_loop_test(tcase, damaged_tables, 0, 9);
    tcase_add_test(tcase, kept_without_a_reference);
    tcase_add_loop_test(tcase, tail_that_is_metadata, 0, 6);
    tcase_add_loop_test(tcase, tail_that_is_the_active_disks, 0, 2);
    tcase_add_test(tcase, full_disk);
    tcase_add_test(tcase, freed_space_is_given_back);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(tail_suite());
}
