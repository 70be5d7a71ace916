/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A judge of images: every reference is counted from the header down and
 * compared with what is stored. It holds nothing back: leaks are findings, too,
 * unless they are what the test is about.
 */
#include <check.h>

#include "qcow2-fixture.h"
#include "scratch.h"

#define COPIED      (1ULL << 63)
#define COMPRESSED  (1ULL << 62)
#define OFFSET_MASK 0x00fffffffffffe00ULL
#define L1_RESERVED 0x7f000000000001ffULL
#define L2_RESERVED 0x3f000000000001feULL

typedef struct Judge {
    const GByteArray *image;
    Qcow2FixtureHeader header;
    uint64_t clusters; /* in the file; the last may be partly missing */
    uint64_t *counted;
    bool leaks_allowed;
    char *finding; /* the first one */
} Judge;

static void found(Judge *judge, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void found(Judge *judge, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!judge->finding) {
        judge->finding = g_strdup_vprintf(format, args);
    }
    va_end(args);
}

/* One reference for each cluster that the bytes touch. */
static void count(Judge *judge, const char *what, uint64_t offset,
                  uint64_t bytes)
{
    uint64_t size = judge->header.cluster_size;
    uint64_t i;

    for (i = offset / size; bytes && i <= (offset + bytes - 1) / size; i++) {
        if (i >= judge->clusters) {
            found(judge, "%s at %#" PRIx64 " is outside the file", what,
                  offset);
            return;
        }
        judge->counted[i]++;
    }
}

/* The same for what must lie at a cluster boundary, and not at 0. */
static void count_aligned(Judge *judge, const char *what, uint64_t offset,
                          uint64_t bytes)
{
    if (bytes && (offset == 0 || offset % judge->header.cluster_size)) {
        found(judge, "%s at %#" PRIx64 " is misplaced", what, offset);
    }
    count(judge, what, offset, bytes);
}

static void judge_copied(Judge *judge, const char *what, uint64_t entry)
{
    uint64_t cluster = (entry & OFFSET_MASK) / judge->header.cluster_size;
    bool alone =
        qcow2_fixture_refcount_at(judge->image, &judge->header, cluster) == 1;

    if (alone != !!(entry & COPIED)) {
        found(judge, "%s 0x%016" PRIx64 ": COPIED is wrong", what, entry);
    }
}

/* The second number of an extended L2 entry. */
static void judge_subclusters(Judge *judge, uint64_t entry, uint64_t bitmap)
{
    uint32_t data = bitmap;
    uint32_t zeros = bitmap >> 32;

    if ((data & zeros) || (data && !(entry & OFFSET_MASK)) ||
        (bitmap && (entry & COMPRESSED)) || (entry & 1)) {
        found(judge, "impossible L2 entry 0x%016" PRIx64 ", 0x%016" PRIx64,
              entry, bitmap);
    }
}

static void judge_l2_entry(Judge *judge, uint64_t at, bool active)
{
    unsigned split = 62 - (judge->header.cluster_bits - 8);
    uint64_t entry = qcow2_fixture_peek(judge->image, at, 8);
    uint64_t host = entry & ((1ULL << split) - 1);

    if (judge->header.extended_l2) {
        judge_subclusters(judge, entry,
                          qcow2_fixture_peek(judge->image, at + 8, 8));
    }
    if (entry & COMPRESSED) {
        if (entry & COPIED) {
            found(judge, "compressed and COPIED: 0x%016" PRIx64, entry);
        }
        count(judge, "compressed data", host / 512 * 512,
              (((entry & (COMPRESSED - 1)) >> split) + 1) * 512);
        return;
    }
    if ((entry & L2_RESERVED) || ((entry & 1) && judge->header.version < 3)) {
        found(judge, "impossible L2 entry 0x%016" PRIx64, entry);
    }
    if (entry & OFFSET_MASK) {
        count_aligned(judge, "data", entry & OFFSET_MASK,
                      judge->header.cluster_size);
        if (active) {
            judge_copied(judge, "L2 entry", entry);
        }
    }
}

static void judge_l1(Judge *judge, uint64_t l1, uint64_t entries, bool active)
{
    uint64_t i;
    uint64_t j;

    count_aligned(judge, "L1 table", l1, entries * 8);
    for (i = 0; i < entries && !judge->finding; i++) {
        uint64_t entry = qcow2_fixture_peek(judge->image, l1 + i * 8, 8);
        uint64_t table = entry & OFFSET_MASK;

        if (entry & L1_RESERVED) {
            found(judge, "impossible L1 entry 0x%016" PRIx64, entry);
        }
        if (table == 0) {
            continue;
        }
        count_aligned(judge, "L2 table", table, judge->header.cluster_size);
        if (active) {
            judge_copied(judge, "L1 entry", entry);
        }
        for (j = 0; j < judge->header.l2_entries; j++) {
            judge_l2_entry(judge, table + j * judge->header.l2_entry_bytes,
                           active);
        }
    }
}

static void judge_snapshots(Judge *judge)
{
    uint64_t start = judge->header.snapshots_offset;
    uint64_t end = start;
    unsigned i;

    for (i = 0; i < judge->header.snapshot_count && !judge->finding; i++) {
        g_auto(Qcow2FixtureEntry) entry = { 0 };

        qcow2_fixture_entry(judge->image, i, &entry);
        end = entry.at + entry.bytes;
        judge_l1(judge, entry.l1_offset, entry.l1_size, false);
    }
    if (end > judge->image->len) {
        found(judge, "the snapshot table ends outside the file");
    }
    count_aligned(judge, "snapshot table", start, end - start);
}

static void judge_refcount_structures(Judge *judge)
{
    const Qcow2FixtureHeader *header = &judge->header;
    uint64_t i;

    count_aligned(judge, "refcount table", header->refcount_table_offset,
                  header->refcount_table_entries * 8);
    for (i = 0; i < header->refcount_table_entries; i++) {
        uint64_t block = qcow2_fixture_peek(
            judge->image, header->refcount_table_offset + i * 8, 8);

        if (block) {
            count_aligned(judge, "refcount block", block, header->cluster_size);
        }
    }
}

/* Also behind the end of the file, as far as there are blocks. */
static void compare_refcounts(Judge *judge)
{
    const Qcow2FixtureHeader *header = &judge->header;
    uint64_t i;
    uint64_t j;

    for (i = 0; i < header->refcount_table_entries; i++) {
        bool stored = qcow2_fixture_peek(
            judge->image, header->refcount_table_offset + i * 8, 8);
        uint64_t first = i * header->refcounts_per_block;

        if (!stored && first >= judge->clusters) {
            continue;
        }
        for (j = first; j < first + header->refcounts_per_block; j++) {
            uint64_t has = qcow2_fixture_refcount_at(judge->image, header, j);
            uint64_t needs = j < judge->clusters ? judge->counted[j] : 0;

            if (has < needs || (has > needs && !judge->leaks_allowed)) {
                found(judge,
                      "cluster %" PRIu64 ": refcount %" PRIu64
                      ", references %" PRIu64,
                      j, has, needs);
                return;
            }
        }
    }
    for (j = i * header->refcounts_per_block; j < judge->clusters; j++) {
        if (judge->counted[j]) {
            found(judge, "cluster %" PRIu64 " cannot have a refcount", j);
            return;
        }
    }
}

static char *check(const GByteArray *image, bool leaks_allowed)
{
    Judge judge = { .image = image, .leaks_allowed = leaks_allowed };
    uint64_t size;

    qcow2_fixture_header(image, &judge.header);
    size = judge.header.cluster_size;
    judge.clusters = (image->len + size - 1) / size;
    judge.counted = g_new0(uint64_t, judge.clusters);
    count(&judge, "header", 0, size);
    judge_refcount_structures(&judge);
    judge_l1(&judge, judge.header.l1_offset, judge.header.l1_size, true);
    judge_snapshots(&judge);
    if (!judge.finding) {
        compare_refcounts(&judge);
    }
    g_free(judge.counted);
    return judge.finding;
}

char *qcow2_fixture_check(const GByteArray *image)
{
    return check(image, false);
}

void qcow2_fixture_assert_only_leaks(const GByteArray *image)
{
    g_autofree char *finding = check(image, true);

    ck_assert_msg(!finding, "not only leaks: %s", finding);
}

void qcow2_fixture_assert_sound(const GByteArray *image)
{
    g_autofree char *finding = qcow2_fixture_check(image);

    ck_assert_msg(!finding, "the image is not sound: %s", finding);
}

/* Run qemu-img on a file of the image; returns its exit status. */
static int run_qemu_img(const GByteArray *image, const char *const *options)
{
    Scratch *scratch = scratch_new();
    const char *path =
        scratch_write(scratch, "image.qcow2", image->data, image->len);
    g_autoptr(GPtrArray) command = g_ptr_array_new();
    GError *error = NULL;
    int status;

    g_ptr_array_add(command, (char *)"qemu-img");
    for (; *options; options++) {
        g_ptr_array_add(command, (char *)*options);
    }
    g_ptr_array_add(command, (char *)path);
    g_ptr_array_add(command, NULL);
    ck_assert_msg(g_spawn_sync(NULL, (char **)command->pdata, NULL,
                               G_SPAWN_SEARCH_PATH |
                                   G_SPAWN_STDOUT_TO_DEV_NULL |
                                   G_SPAWN_STDERR_TO_DEV_NULL,
                               NULL, NULL, NULL, NULL, &status, &error),
                  "%s", error ? error->message : "");
    scratch_free(scratch);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

int qcow2_fixture_qemu_img_check(const GByteArray *image)
{
    const char *const options[] = { "check", "-q", "-f", "qcow2", NULL };

    return run_qemu_img(image, options);
}

int qcow2_fixture_qemu_img_apply(const GByteArray *image, const char *snapshot)
{
    const char *const options[] = { "snapshot", "-q", "-a", snapshot, NULL };

    return run_qemu_img(image, options);
}
