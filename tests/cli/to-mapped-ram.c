/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * to-mapped-ram CLASSIC MAPPED: writes the stream of a machine with pages of
 * 4 KiB as one with mapped RAM, with holes where there is nothing, as a QEMU with
 * that capability does. It shares no code with what it tests.
 */
#define _FILE_OFFSET_BITS 64
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE       4096
#define ALIGNMENT  0x100000
#define MAX_BLOCKS 64

typedef struct Block {
    char name[256];
    uint64_t bytes;
    uint8_t *ram;
    uint8_t *stored;
} Block;

static const uint8_t *in;
static Block blocks[MAX_BLOCKS];
static unsigned block_count;
static int out;
static off_t at;

static uint64_t take(unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0) {
        value = value << 8 | *in++;
    }
    return value;
}

static void take_name(char name[256])
{
    unsigned bytes = take(1);

    memcpy(name, in, bytes);
    name[bytes] = '\0';
    in += bytes;
}

static void put(const void *data, size_t bytes)
{
    if (pwrite(out, data, bytes, at) != (ssize_t)bytes) {
        err(1, "write");
    }
    at += bytes;
}

static void put_number(uint64_t value, unsigned bytes)
{
    value = htobe64(value);
    put((uint8_t *)&value + 8 - bytes, bytes);
}

static void put_name(const char *name)
{
    put_number(strlen(name), 1);
    put(name, strlen(name));
}

static Block *find_block(const char *name)
{
    for (unsigned i = 0; i < block_count; i++) {
        if (!strcmp(blocks[i].name, name)) {
            return &blocks[i];
        }
    }
    errx(1, "no block %s", name);
}

static void take_list(uint64_t total)
{
    while (total > 0) {
        Block *block = &blocks[block_count++];

        take_name(block->name);
        block->bytes = take(8);
        block->ram = calloc(1, block->bytes);
        total -= block->bytes;
    }
}

/* Records up to the end of a piece of the section. */
static void take_records(void)
{
    static Block *block;

    while (1) {
        uint64_t word = take(8);
        uint64_t offset = word & ~(uint64_t)(PAGE - 1);
        char name[256];

        if ((word & 0x10) || (word & 0x4)) {
            if (word & 0x10) {
                return;
            }
            take_list(offset);
            continue;
        }
        if (!(word & 0x20)) {
            take_name(name);
            block = find_block(name);
        }
        if (word & 0x8) {
            memcpy(block->ram + offset, in, PAGE);
            in += PAGE;
        } else if (word & 0x2) {
            memset(block->ram + offset, take(1), PAGE);
        } else {
            errx(1, "record 0x%llx", (unsigned long long)word);
        }
    }
}

static void take_footer(uint32_t id)
{
    if (take(1) != 0x7e || take(4) != id) {
        errx(1, "no footer");
    }
}

static int is_zero(const uint8_t *page)
{
    return page[0] == 0 && !memcmp(page, page + 1, PAGE - 1);
}

static void put_block(const Block *block)
{
    uint64_t pages = block->bytes / PAGE;
    size_t bitmap_bytes = (pages + 63) / 64 * 8;
    uint64_t *bitmap = calloc(1, bitmap_bytes);
    off_t bitmap_offset;
    off_t pages_offset;

    put_name(block->name);
    put_number(block->bytes, 8);
    bitmap_offset = at + 28;
    pages_offset = (bitmap_offset + bitmap_bytes + ALIGNMENT - 1) / ALIGNMENT *
                   ALIGNMENT;
    put_number(1, 4);
    put_number(PAGE, 8);
    put_number(bitmap_offset, 8);
    put_number(pages_offset, 8);
    for (uint64_t page = 0; page < pages; page++) {
        if (!is_zero(block->ram + page * PAGE)) {
            bitmap[page / 64] |= (uint64_t)1 << page % 64;
        }
    }
    put(bitmap, bitmap_bytes);
    for (uint64_t page = 0; page < pages; page++) {
        if (!is_zero(block->ram + page * PAGE)) {
            at = pages_offset + page * PAGE;
            put(block->ram + page * PAGE, PAGE);
        }
    }
    at = pages_offset + block->bytes;
    free(bitmap);
}

static const uint8_t *map_file(const char *path, size_t *bytes)
{
    int fd = open(path, O_RDONLY);
    struct stat status;
    void *data;

    if (fd < 0 || fstat(fd, &status) < 0) {
        err(1, "%s", path);
    }
    *bytes = status.st_size;
    data = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        err(1, "%s", path);
    }
    return data;
}

int main(int argc, char **argv)
{
    const uint8_t *start;
    const uint8_t *section;
    uint64_t total;
    size_t bytes;
    uint32_t id;
    unsigned type;

    if (argc != 3) {
        errx(1, "usage: to-mapped-ram CLASSIC MAPPED");
    }
    in = start = map_file(argv[1], &bytes);
    out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (out < 0) {
        err(1, "%s", argv[2]);
    }

    in += 9;
    in += take(4);
    put(start, in - start);
    put_number(5, 1);
    put_name("configuration/capabilities");
    put_number(1, 4);
    put_number(1, 4);
    put_name("mapped-ram");

    section = in;
    if (take(1) != 1) {
        errx(1, "no section begins");
    }
    id = take(4);
    in += 1 + strlen("ram") + 8;
    put(section, in - section);
    total = 0;
    take_records();
    for (unsigned i = 0; i < block_count; i++) {
        total += blocks[i].bytes;
    }
    take_footer(id);
    do {
        type = take(1);
        if ((type != 2 && type != 3) || take(4) != id) {
            errx(1, "another section at %td", in - start);
        }
        take_records();
        take_footer(id);
    } while (type != 3);

    put_number(total | 4, 8);
    for (unsigned i = 0; i < block_count; i++) {
        put_block(&blocks[i]);
    }
    put_number(0x10, 8);
    put_number(0x7e, 1);
    put_number(id, 4);
    put_number(3, 1);
    put_number(id, 4);
    put_number(0x10, 8);
    put_number(0x7e, 1);
    put_number(id, 4);
    put(in, start + bytes - in);
    return close(out) < 0;
}
