/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Damage for check-matches-qemu-img.sh: changes one number in the metadata of
 * a qcow2 image, chosen by a seed, and says which.
 *
 *     damage-image IMAGE SEED
 *
 * Shares no code with the program under test. The image is sound, so it is
 * read without looking left or right.
 */
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OFFSET_MASK 0x00fffffffffffe00ULL
#define COPIED      (1ULL << 63)
#define COMPRESSED  (1ULL << 62)
#define MAX_SLOTS   65536

enum {
    L1,
    L2,
    REFCOUNT_TABLE,
    REFCOUNTS,
    SNAPSHOTS,
    BITMAPS,
    HEADER,
    KINDS
};

static const char *const kind_names[KINDS] = {
    "L1", "L2", "refcount table", "refcounts", "snapshots", "bitmaps", "header",
};

typedef struct Slots {
    uint64_t offset[MAX_SLOTS];
    unsigned count;
} Slots;

static uint8_t *image;
static uint64_t image_bytes;
static uint64_t cluster_size;
static Slots slots[KINDS];
static uint64_t state;

static uint64_t random_number(uint64_t limit)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % limit;
}

static uint64_t get(uint64_t offset, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes--) {
        value = value << 8 | (offset < image_bytes ? image[offset] : 0);
        offset++;
    }
    return value;
}

static void put(uint64_t offset, uint64_t value)
{
    value = htobe64(value);
    memcpy(image + offset, &value, sizeof(value));
}

/* Zeros are many and alike: a few of them are enough. */
static void add_slots(int kind, uint64_t offset, uint64_t bytes)
{
    uint64_t at;

    for (at = offset; at + 8 <= offset + bytes && at + 8 <= image_bytes;
         at += 8) {
        if (slots[kind].count < MAX_SLOTS &&
            (get(at, 8) || random_number(64) == 0)) {
            slots[kind].offset[slots[kind].count++] = at;
        }
    }
}

static void add_l1(uint64_t offset, uint64_t entries)
{
    uint64_t i;

    add_slots(L1, offset, entries * 8);
    for (i = 0; i < entries; i++) {
        uint64_t l2 = get(offset + i * 8, 8) & OFFSET_MASK;

        if (l2) {
            add_slots(L2, l2, cluster_size);
        }
    }
}

static void add_snapshots(uint64_t at, uint64_t count)
{
    while (count--) {
        uint64_t bytes = 40 + get(at + 36, 4) + get(at + 12, 2) +
                         get(at + 14, 2);

        add_slots(SNAPSHOTS, at, 64);
        add_l1(get(at, 8), get(at + 8, 4));
        at += (bytes + 7) / 8 * 8;
    }
}

static void add_refcounts(uint64_t offset, uint64_t bytes)
{
    uint64_t at;

    add_slots(REFCOUNT_TABLE, offset, bytes);
    for (at = offset; at < offset + bytes; at += 8) {
        if (get(at, 8)) {
            add_slots(REFCOUNTS, get(at, 8), cluster_size);
        }
    }
}

static void add_bitmaps(uint64_t at, uint64_t count)
{
    while (count--) {
        uint64_t bytes = 24 + get(at + 20, 4) + get(at + 18, 2);

        add_slots(BITMAPS, at, 24);
        add_slots(BITMAPS, get(at, 8), get(at + 8, 4) * 8);
        at += (bytes + 7) / 8 * 8;
    }
}

static void add_extensions(void)
{
    uint64_t at = get(4, 4) == 2 ? 72 : get(100, 4);

    while (get(at, 4) && at < cluster_size) {
        if (get(at, 4) == 0x23852875) {
            add_bitmaps(get(at + 24, 8), get(at + 8, 4));
        }
        at += 8 + (get(at + 4, 4) + 7) / 8 * 8;
    }
}

static void find_slots(void)
{
    cluster_size = 1ULL << get(20, 4);
    add_slots(HEADER, 24, 48);
    add_l1(get(40, 8), get(36, 4));
    add_snapshots(get(64, 8), get(60, 4));
    add_refcounts(get(48, 8), get(56, 4) * cluster_size);
    add_extensions();
}

static uint64_t damaged(uint64_t value, const Slots *others)
{
    switch (random_number(10)) {
    case 0:
        return 0;
    case 1:
        return value + 512;
    case 2:
        return value + cluster_size;
    case 3:
        return value ^ COPIED;
    case 4:
        return value ^ COMPRESSED;
    case 5:
        return get(others->offset[random_number(others->count)], 8);
    case 6:
        return value + (1ULL << 56);
    case 7:
        return value + image_bytes / cluster_size * cluster_size;
    default:
        return value ^ 1ULL << random_number(64);
    }
}

static void damage(void)
{
    const Slots *kind;
    uint64_t offset;
    uint64_t value;

    do {
        kind = &slots[random_number(KINDS)];
    } while (kind->count == 0);
    offset = kind->offset[random_number(kind->count)];
    do {
        value = damaged(get(offset, 8), kind);
    } while (value == get(offset, 8));
    printf("%s at 0x%" PRIx64 ": 0x%016" PRIx64 " became 0x%016" PRIx64 "\n",
           kind_names[kind - slots], offset, get(offset, 8), value);
    put(offset, value);
}

int main(int argc, char **argv)
{
    int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0) {
        perror("damage-image");
        return EXIT_FAILURE;
    }
    image_bytes = status.st_size;
    image = mmap(NULL, image_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (image == MAP_FAILED) {
        perror("damage-image");
        return EXIT_FAILURE;
    }
    state = strtoull(argv[2], NULL, 0) * 2 + 1;
    random_number(2);
    find_slots();
    damage();
    return EXIT_SUCCESS;
}
