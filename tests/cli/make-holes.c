/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * make-holes IMAGE SIZE: clusters of the VM state of an image's first snapshot
 * that are full of zeros become holes, and its recorded size SIZE, as after a
 * QEMU with mapped RAM has written it. The clusters leak.
 */
#define _FILE_OFFSET_BITS 64
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fd;

static uint64_t load(uint64_t offset, unsigned bytes)
{
    uint64_t value = 0;

    if (pread(fd, (uint8_t *)&value + 8 - bytes, bytes, offset) < 0) {
        err(1, "read");
    }
    return be64toh(value);
}

static void store(uint64_t offset, unsigned bytes, uint64_t value)
{
    value = htobe64(value);
    if (pwrite(fd, (uint8_t *)&value + 8 - bytes, bytes, offset) < 0) {
        err(1, "write");
    }
}

int main(int argc, char **argv)
{
    const uint64_t mask = 0x00fffffffffffe00;
    uint64_t cluster_size, entries, table, l1, l1_size, disk_size, index, j;
    unsigned holes = 0;
    uint8_t *data;

    fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
    if (fd < 0) {
        err(1, "usage: make-holes IMAGE SIZE");
    }
    cluster_size = (uint64_t)1 << load(20, 4);
    entries = cluster_size / 8;
    data = malloc(cluster_size);
    table = load(64, 8);
    l1 = load(table, 8);
    l1_size = load(table + 8, 4);
    disk_size = load(table + 48, 8);
    store(table + 32, 4, 0);
    store(table + 40, 8, strtoull(argv[2], NULL, 0));
    index = (disk_size + cluster_size * entries - 1) / (cluster_size * entries);
    for (; index < l1_size; index++) {
        uint64_t l2 = load(l1 + index * 8, 8) & mask;

        for (j = 0; l2 && j < entries; j++) {
            uint64_t cluster = load(l2 + j * 8, 8) & mask;

            memset(data, 0, cluster_size);
            if (cluster && pread(fd, data, cluster_size, cluster) >= 0 &&
                data[0] == 0 && !memcmp(data, data + 1, cluster_size - 1)) {
                store(l2 + j * 8, 8, 0);
                holes++;
            }
        }
    }
    printf("%u\n", holes);
    return close(fd) < 0;
}
