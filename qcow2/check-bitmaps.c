/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Persistent dirty bitmaps: their directory, their tables and the clusters
 * with their bits. A directory that makes no sense cannot be counted, so it
 * ends the check.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"

enum {
    ENTRY_FIXED_BYTES = 24,
    FLAG_IN_USE = 1,
    FLAGS_RESERVED = ~3u,
    TYPE_DIRTY_TRACKING = 1,
    MIN_GRANULARITY_BITS = 9,
    MAX_GRANULARITY_BITS = 31,
    MAX_NAME_BYTES = 1023,
};

#define MAX_BITMAPS             65535u
#define MAX_DIRECTORY_BYTES     (1024ULL * MAX_BITMAPS)
#define MAX_TABLE_ENTRIES       0x8000000u
#define MAX_BITMAP_BYTES        0x20000000ULL
#define TABLE_ENTRY_OFFSET_MASK 0x00fffffffffffe00ULL
#define TABLE_ENTRY_RESERVED    0xff000000000001feULL
#define TABLE_ENTRY_ALL_ONES    1ULL

typedef struct Bitmap {
    uint64_t table_offset;
    uint32_t table_entries;
    uint32_t flags;
    uint8_t granularity_bits;
} Bitmap;

static bool damaged(uint64_t offset, const char *what, GError **errp)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                "dirty bitmap, at 0x%" PRIx64 ": %s", offset, what);
    return false;
}

static bool check_directory(const Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;

    if (header->bitmap_count > MAX_BITMAPS ||
        header->bitmap_directory_bytes == 0 ||
        header->bitmap_directory_bytes > MAX_DIRECTORY_BYTES ||
        header->bitmap_directory_offset == 0 ||
        !is_aligned(header->bitmap_directory_offset, check->cluster_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible bitmap directory: %u bitmaps, %" PRIu64
                    " bytes at 0x%" PRIx64,
                    header->bitmap_count, header->bitmap_directory_bytes,
                    header->bitmap_directory_offset);
        return false;
    }
    return true;
}

/* Has the table one bit for each piece of the disk, and no more? */
static bool table_fits(const Qcow2Check *check, const Bitmap *bitmap)
{
    uint64_t size = check->image->header.size;
    uint64_t bits = div_round_up(size, 1ULL << bitmap->granularity_bits);
    uint64_t clusters =
        div_round_up(div_round_up(bits, 8), check->cluster_size);

    /* One that was not closed may be of another size. */
    return (bitmap->flags & FLAG_IN_USE) || bitmap->table_entries >= clusters;
}

static bool check_bitmap(const Qcow2Check *check, const Bitmap *bitmap,
                         uint64_t at, GError **errp)
{
    if (bitmap->table_entries == 0 ||
        bitmap->table_entries > MAX_TABLE_ENTRIES ||
        bitmap->table_entries > MAX_BITMAP_BYTES / check->cluster_size ||
        bitmap->table_offset == 0 ||
        !is_aligned(bitmap->table_offset, check->cluster_size)) {
        return damaged(at, "impossible table", errp);
    }
    if (bitmap->flags & FLAGS_RESERVED) {
        return damaged(at, "unknown flags", errp);
    }
    if (bitmap->granularity_bits < MIN_GRANULARITY_BITS ||
        bitmap->granularity_bits > MAX_GRANULARITY_BITS) {
        return damaged(at, "impossible granularity", errp);
    }
    if (!table_fits(check, bitmap)) {
        return damaged(at, "the table is too small for the disk", errp);
    }
    return true;
}

/*
 * Decode the entry at @entry, of which @available bytes are in the directory,
 * and find its length. @at is for errors.
 */
static bool decode_bitmap(const Qcow2Check *check, const uint8_t *entry,
                          uint64_t available, uint64_t at, Bitmap *bitmap,
                          uint64_t *bytes, GError **errp)
{
    uint16_t name_bytes;

    if (available < ENTRY_FIXED_BYTES) {
        return damaged(at, "cut off", errp);
    }
    name_bytes = load_be16(entry + 18);
    if (name_bytes == 0 || name_bytes > MAX_NAME_BYTES) {
        return damaged(at, "impossible length of the name", errp);
    }
    if (load_be32(entry + 20) != 0) {
        return damaged(at, "extra data", errp);
    }
    if (entry[16] != TYPE_DIRTY_TRACKING) {
        return damaged(at, "unknown type", errp);
    }
    *bytes = round_up(ENTRY_FIXED_BYTES + name_bytes, 8);
    if (*bytes > available) {
        return damaged(at, "cut off", errp);
    }
    *bitmap = (Bitmap){
        .table_offset = load_be64(entry),
        .table_entries = load_be32(entry + 8),
        .flags = load_be32(entry + 12),
        .granularity_bits = entry[17],
    };
    return check_bitmap(check, bitmap, at, errp);
}

static bool table_entry_possible(const Qcow2Check *check, uint64_t entry)
{
    uint64_t offset = entry & TABLE_ENTRY_OFFSET_MASK;

    return !(entry & TABLE_ENTRY_RESERVED) &&
           is_aligned(offset, check->cluster_size) &&
           (offset == 0 || !(entry & TABLE_ENTRY_ALL_ONES));
}

static bool coroutine_fn count_bitmap(Qcow2Check *check, const Bitmap *bitmap,
                                      GError **errp)
{
    uint64_t *table;
    uint64_t present;
    uint64_t i;
    bool counted = true;

    if (!qcow2_check_count(check, bitmap->table_offset,
                           bitmap->table_entries * sizeof(uint64_t), 1, errp)) {
        return false;
    }
    table = qcow2_check_read_table(check, bitmap->table_offset,
                                   bitmap->table_entries, "bitmap table",
                                   &present, errp);
    if (!table) {
        return false;
    }
    for (i = 0; i < present && counted; i++) {
        uint64_t offset = table[i] & TABLE_ENTRY_OFFSET_MASK;

        if (!table_entry_possible(check, table[i]) &&
            !(bitmap->flags & FLAG_IN_USE)) {
            /* Whoever opens the image stumbles over it. */
            counted = damaged(bitmap->table_offset + i * sizeof(uint64_t),
                              "impossible table entry", errp);
        } else if (!table_entry_possible(check, table[i])) {
            qcow2_check_corruption(check, 1,
                                   "ERROR bitmap table entry 0x%" PRIx64
                                   " is impossible",
                                   table[i]);
        } else if (offset) {
            counted =
                qcow2_check_count(check, offset, check->cluster_size, 1, errp);
        }
    }
    free(table);
    return counted;
}

static bool coroutine_fn count_directory(Qcow2Check *check,
                                         const uint8_t *directory,
                                         GError **errp)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t left = header->bitmap_directory_bytes;
    uint64_t at = 0;
    uint32_t i;

    for (i = 0; i < header->bitmap_count; i++) {
        Bitmap bitmap;
        uint64_t bytes;

        if (!decode_bitmap(check, directory + at, left,
                           header->bitmap_directory_offset + at, &bitmap,
                           &bytes, errp) ||
            !count_bitmap(check, &bitmap, errp)) {
            return false;
        }
        at += bytes;
        left -= bytes;
    }
    if (left) {
        return damaged(header->bitmap_directory_offset + at,
                       "more than the header says", errp);
    }
    return true;
}

bool coroutine_fn qcow2_check_count_bitmaps(Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t offset = header->bitmap_directory_offset;
    uint64_t bytes = header->bitmap_directory_bytes;
    uint8_t *directory;
    bool counted;
    int ret;

    if (header->bitmap_count == 0) {
        return true;
    }
    if (!check_directory(check, errp) ||
        !qcow2_check_count(check, offset, bytes, 1, errp)) {
        return false;
    }
    if (qcow2_check_present(check, offset, bytes) < bytes) {
        return damaged(offset, "behind the end of the file", errp);
    }
    directory = block_file_alloc_buffer(bytes);
    ret = directory
              ? block_file_pread(check->image->file, offset, directory, bytes)
              : -ENOMEM;
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the bitmap directory at "
                             "0x%" PRIx64,
                             offset);
        free(directory);
        return false;
    }
    counted = count_directory(check, directory, errp);
    free(directory);
    return counted;
}
