/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The snapshot table. The input is the number of entries, two bytes, and the
 * table. What can be read is also written anew, as all changes do it: with one
 * entry more, one less, and with another name.
 */
#include <string.h>

#include "bytes.h"
#include "event-loop.h"
#include "fuzz.h"
#include "memory-file.h"
#include "../../qcow2/internal.h"

#define TABLE_OFFSET 512

static Qcow2Image image_of(BlockFile *file, unsigned count)
{
    return (Qcow2Image){
        .file = file,
        .header = { .version = 3,
                    .cluster_bits = 9,
                    .size = 12345,
                    .refcount_order = 4,
                    .snapshot_count = count,
                    .snapshots_offset = TABLE_OFFSET },
        .file_size = block_file_size(file),
    };
}

static GPtrArray *coroutine_fn read_table(const uint8_t *table, size_t bytes,
                                          unsigned count, GError **errp)
{
    g_autoptr(BlockFile) file = memory_file_new();
    Qcow2Image image;
    GPtrArray *snapshots;

    /* That the table begins inside the file has been checked before. */
    fuzz_assert(block_file_truncate(file, TABLE_OFFSET + bytes) == 0 &&
                    block_file_pwrite(file, TABLE_OFFSET, table, bytes) == 0,
                "memory file");
    image = image_of(file, count);
    snapshots = qcow2_snapshot_table_read(&image, image.file_size, errp);
    return snapshots;
}

/* The written table says what it shall; @skipped and @renamed may be none. */
static void coroutine_fn check_written(const GByteArray *table,
                                       const GPtrArray *old, int skipped,
                                       int renamed, unsigned count)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) new =
        read_table(table->data, table->len, count, &error);
    guint at = 0;

    fuzz_assert(new, "%s", error->message);
    fuzz_assert(new->len == count, "%u entries", new->len);
    for (int i = 0; i < (int)old->len; i++) {
        const Qcow2Snapshot *before = g_ptr_array_index(old, i);
        const Qcow2Snapshot *after;

        if (i == skipped) {
            continue;
        }
        after = g_ptr_array_index(new, at++);
        if (i == renamed) {
            fuzz_assert(!strcmp(after->name, "renamed"), "%s", after->name);
            fuzz_assert(!strcmp(after->id, before->id), "%s", after->id);
        } else {
            fuzz_assert(g_bytes_equal(after->entry, before->entry),
                        "entry %d has changed", i);
        }
    }
}

static void coroutine_fn append(const GPtrArray *snapshots, int left_out)
{
    const Qcow2Snapshot *old =
        left_out < 0 ? NULL : g_ptr_array_index(snapshots, left_out);
    g_autofree char *id = qcow2_snapshot_new_id(snapshots, old);
    Qcow2Snapshot added = { .id = id, .name = (char *)"new", .l1_size = 1 };
    g_autoptr(GBytes) entry = qcow2_snapshot_encode(&added);
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray)
        table = qcow2_snapshot_table_append(snapshots, old, entry, &error);

    fuzz_assert_error(table, error);
    if (table) {
        check_written(table, snapshots, left_out, -1,
                      snapshots->len + (left_out < 0));
    }
}

static void coroutine_fn rewrite(const GPtrArray *snapshots, int which)
{
    const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, which);
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray)
        less = qcow2_snapshot_table_remove(snapshots, snapshot);
    g_autoptr(GByteArray) renamed =
        qcow2_snapshot_table_rename(snapshots, snapshot, "renamed", &error);

    check_written(less, snapshots, which, -1, snapshots->len - 1);
    fuzz_assert_error(renamed, error);
    if (renamed) {
        check_written(renamed, snapshots, -1, which, snapshots->len);
    }
    append(snapshots, which);
}

static void coroutine_fn run_entry(void *opaque)
{
    FuzzInput *input = opaque;
    unsigned count = fuzz_take(input, 2);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray)
        snapshots = read_table(input->data, input->bytes, count, &error);

    fuzz_assert_error(snapshots, error);
    if (!snapshots) {
        return;
    }
    fuzz_assert(snapshots->len == count, "%u entries", snapshots->len);
    append(snapshots, -1);
    if (count > 0) {
        rewrite(snapshots, 0);
        rewrite(snapshots, count - 1);
    }
}

static void run(const uint8_t *data, size_t bytes)
{
    FuzzInput input = { data, bytes };

    event_loop_run(run_entry, &input);
}

/* Where the entry @number begins, or the last one that is whole. */
static size_t find_entry(const uint8_t *data, size_t bytes, unsigned number)
{
    size_t at = 2;

    while (number-- > 0) {
        uint64_t length;

        if (at + 40 > bytes) {
            break;
        }
        length = 40ULL + load_be32(data + at + 36) + load_be16(data + at + 12) +
                 load_be16(data + at + 14);
        length = round_up(length, 8);
        if (at + length + 40 > bytes) {
            break;
        }
        at += length;
    }
    return at;
}

/* A length or a count of another value, or an entry twice. */
static size_t mutate(uint8_t *data, size_t bytes, size_t most, GRand *rand)
{
    size_t at = find_entry(data, bytes, g_rand_int_range(rand, 0, 8));
    uint32_t value = g_rand_boolean(rand)
                         ? (uint32_t)g_rand_int_range(rand, 0, 64)
                         : (1u << g_rand_int_range(rand, 0, 32)) - 1;

    if (at + 48 > bytes) {
        return bytes;
    }
    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        store_be16(data + at + 12, value);
        break;
    case 1:
        store_be16(data + at + 14, value);
        break;
    case 2:
        store_be32(data + at + 36, value);
        break;
    case 3:
        store_be16(data, value);
        break;
    case 4:
        store_be32(data + at + 8, value);
        break;
    default:
        if (bytes + 80 <= most) {
            memmove(data + at + 80, data + at, bytes - at);
            store_be16(data, load_be16(data) + 1);
            return bytes + 80;
        }
        break;
    }
    return bytes;
}

const FuzzTarget fuzz_snapshot_table = { "snapshot-table", run, mutate };
