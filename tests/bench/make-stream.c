/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Writes a complete migration stream of so many MiB of RAM to standard output,
 * faster than any disk takes it: for sizes that would take a guest long to
 * fill. All pages carry data, and no two are the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "../unit/stream-builder.h"

#define PAGES_PER_PART 256 /* 1 MiB */
#define BLOCK_NAME     "pc.ram"

/* Without its block's name, which the part's first one has. */
#define LATER_PAGE_BYTES (8 + STREAM_BUILDER_PAGE)

static void put(const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(STDOUT_FILENO, data, bytes);

        if (written < 0) {
            fprintf(stderr, "make-stream: %s\n", strerror(errno));
            exit(EXIT_FAILURE);
        }
        data += written;
        bytes -= written;
    }
}

static void put_built(StreamBuilder *builder)
{
    put(builder->bytes->data, builder->bytes->len);
    g_byte_array_set_size(builder->bytes, 0);
}

static void build_part(StreamBuilder *builder)
{
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    for (unsigned i = 0; i < PAGES_PER_PART; i++) {
        stream_builder_page(builder, i == 0 ? BLOCK_NAME : NULL, 0, 0x80 + i,
                            STREAM_BUILDER_PAGE);
    }
    stream_builder_ram_stop(builder);
}

/*
 * Every part has the same bytes but for the offsets of its pages and a mark in
 * each, so one is built, and these are exchanged.
 */
static void put_parts(StreamBuilder *builder, uint64_t parts)
{
    size_t first = 5;
    size_t second = first + LATER_PAGE_BYTES + 1 + strlen(BLOCK_NAME);

    build_part(builder);
    for (uint64_t part = 0; part < parts; part++) {
        uint64_t page = part * PAGES_PER_PART;

        for (unsigned i = 0; i < PAGES_PER_PART; i++, page++) {
            size_t at = i == 0 ? first : second + (i - 1) * LATER_PAGE_BYTES;
            uint8_t *word = builder->bytes->data + at;
            uint8_t *data = word +
                            (i == 0 ? second - first : LATER_PAGE_BYTES) -
                            STREAM_BUILDER_PAGE;

            store_be64(word,
                       page * STREAM_BUILDER_PAGE | 0x8 | (i == 0 ? 0 : 0x20));
            store_be64(data, page);
        }
        put(builder->bytes->data, builder->bytes->len);
    }
    g_byte_array_set_size(builder->bytes, 0);
}

int main(int argc, char **argv)
{
    g_autoptr(StreamBuilder) builder = stream_builder_new();
    uint64_t mib;

    if (argc != 2) {
        fprintf(stderr, "usage: make-stream MIB > PIPE\n");
        return EXIT_FAILURE;
    }
    mib = strtoull(argv[1], NULL, 10);
    /* What is not a pipe, or must stay small, works as well. */
    (void)fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1024 * 1024);
    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc-i440fx-7.2");
    stream_builder_ram_start(builder, mib << 20);
    stream_builder_block(builder, BLOCK_NAME, mib << 20);
    stream_builder_ram_stop(builder);
    put_built(builder);
    put_parts(builder, mib);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_ram_stop(builder);
    stream_builder_timer(builder, 0, 1);
    stream_builder_end_stream(builder);
    put_built(builder);
    return EXIT_SUCCESS;
}
