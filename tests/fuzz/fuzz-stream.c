/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The reader of migration streams. The input is a stream, or, when it does not
 * begin like one, how to build one. Whatever the pieces in which it is fed, all
 * that the reader has to say must be the same. One with mapped RAM is made into a
 * classic one besides, which must be complete and have as many pages.
 */
#include <string.h>

#include "event-loop.h"
#include "fuzz.h"
#include "snap-classic.h"
#include "../unit/stream-builder.h"

/* Feeding byte by byte what is longer shows nothing more. */
#define MAX_BYTES_ONE_BY_ONE (64 * 1024)

/* Of a stream that is built: a few bytes must not describe a slow one. */
#define MAX_BUILT_BYTES (128 * 1024)

static const char *const names[] = {
    "ram", "timer", "slirp", "pc.ram", "0000:00:02.0/vga", "", "cpu", "block",
};

static const char *take_name(FuzzInput *input)
{
    return names[fuzz_take(input, 1) % G_N_ELEMENTS(names)];
}

/* Pages are stored as the bits of the input say, again and again. */
static void build_mapped(StreamBuilder *builder, FuzzInput *input)
{
    const char *name = take_name(input);
    uint32_t page_size = 1024 << fuzz_take(input, 1) % 4;
    uint32_t pages = fuzz_take(input, 1) % 100;
    uint64_t bits = fuzz_take(input, 3);
    uint8_t stored[100];

    for (unsigned i = 0; i < sizeof(stored); i++) {
        stored[i] = bits >> i % 24 & 1;
    }
    stream_builder_mapped_block(builder, name, page_size, pages, stored, NULL,
                                1 << fuzz_take(input, 1) % 14);
}

/* What is taken from the input is taken in an order that compilers share. */
static void build_ram(StreamBuilder *builder, FuzzInput *input, unsigned what)
{
    const char *name;
    uint64_t number;

    switch (what % 8) {
    case 0:
        stream_builder_ram_start(builder, fuzz_take(input, 3) * 4096);
        break;
    case 1:
        name = take_name(input);
        stream_builder_block(builder, name, fuzz_take(input, 3) * 4096);
        break;
    case 2:
        number = fuzz_take(input, 8);
        stream_builder_record(
            builder, number, fuzz_take(input, 1) % 2 ? take_name(input) : NULL);
        break;
    case 3:
        name = take_name(input);
        number = fuzz_take(input, 2) * 4096;
        stream_builder_page(builder, name, number, 7,
                            fuzz_take(input, 1) % 4 ? 4096 : 65536);
        break;
    case 4:
        name = take_name(input);
        stream_builder_zero(builder, name, fuzz_take(input, 2) * 4096);
        break;
    case 5:
        stream_builder_ram_stop(builder);
        break;
    case 6:
        stream_builder_begin_ram(builder);
        break;
    default:
        stream_builder_all_ram(builder);
        break;
    }
}

static void build_end(StreamBuilder *builder, FuzzInput *input, unsigned what)
{
    switch (what % 4) {
    case 0:
        stream_builder_eof(builder);
        break;
    case 1:
        stream_builder_description(builder);
        break;
    case 2:
        stream_builder_end_stream(builder);
        break;
    default:
        stream_builder_bogus_header(builder, fuzz_take(input, 1));
        break;
    }
}

static void build_section(StreamBuilder *builder, FuzzInput *input,
                          unsigned what)
{
    unsigned id = fuzz_take(input, 1) % 8;
    const char *name;

    switch (what % 8) {
    case 0:
        name = take_name(input);
        stream_builder_start(builder, id, name, fuzz_take(input, 1));
        break;
    case 1:
        stream_builder_part(builder, id);
        break;
    case 2:
        stream_builder_end(builder, id);
        break;
    case 3:
        stream_builder_footer(builder, id);
        break;
    case 4:
        stream_builder_full(builder, id, take_name(input), 0);
        break;
    case 5:
        name = take_name(input);
        stream_builder_device(builder, id, name, fuzz_take(input, 2));
        break;
    case 6:
        stream_builder_timer(builder, id, fuzz_take(input, 8));
        break;
    default:
        stream_builder_bogus_full(builder, id, take_name(input));
        break;
    }
}

static void build_frame(StreamBuilder *builder, FuzzInput *input, unsigned what)
{
    uint64_t number;

    switch (what % 8) {
    case 0:
        stream_builder_header(builder);
        break;
    case 1:
        stream_builder_configuration(builder, take_name(input));
        break;
    case 2:
        stream_builder_subsection(builder, take_name(input));
        break;
    case 3:
        stream_builder_capability(
            builder, fuzz_take(input, 1) % 2 ? "mapped-ram" : take_name(input));
        break;
    case 4:
        number = fuzz_take(input, 1) % 16;
        stream_builder_command(builder, number, fuzz_take(input, 1));
        break;
    case 5:
        stream_builder_be64(builder, fuzz_take(input, 8));
        break;
    case 6:
        number = fuzz_take(input, 1);
        stream_builder_fill(builder, number, fuzz_take(input, 2));
        break;
    default:
        stream_builder_u8(builder, fuzz_take(input, 1));
        break;
    }
}

/* Then some bytes are changed. */
static void damage(StreamBuilder *builder, FuzzInput *input)
{
    while (input->bytes > 0 && builder->bytes->len > 0) {
        uint64_t at = fuzz_take(input, 3);

        builder->bytes->data[at % builder->bytes->len] = fuzz_take(input, 1);
    }
}

static void build(StreamBuilder *builder, FuzzInput *input)
{
    unsigned steps = fuzz_take(input, 1);

    stream_builder_header(builder);
    while (steps-- > 0 && input->bytes > 0 &&
           builder->bytes->len < MAX_BUILT_BYTES) {
        unsigned what = fuzz_take(input, 1);

        if (what == 0xbf) {
            build_mapped(builder, input);
            continue;
        }
        switch (what >> 6) {
        case 0:
            build_frame(builder, input, what);
            break;
        case 1:
            build_section(builder, input, what);
            break;
        case 2:
            build_ram(builder, input, what);
            break;
        default:
            build_end(builder, input, what);
            break;
        }
    }
    damage(builder, input);
}

static void compare(const uint8_t *data, size_t bytes, const char *whole,
                    size_t piece)
{
    g_autofree char *cut = stream_builder_outcome(data, bytes, piece);

    fuzz_assert(!strcmp(whole, cut), "in one piece:\n%s\nin pieces of %zu:\n%s",
                whole, piece, cut);
}

typedef struct Conversion {
    const uint8_t *data; /* the stream */
    size_t bytes;
    GByteArray *classic;
} Conversion;

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    const Conversion *conversion = opaque;

    fuzz_assert(position <= conversion->bytes &&
                    bytes <= conversion->bytes - position,
                "%zu bytes at %llu of %zu", bytes, (unsigned long long)position,
                conversion->bytes);
    memcpy(data, conversion->data + position, bytes);
    return true;
}

static void coroutine_fn convert(void *opaque)
{
    Conversion *conversion = opaque;
    SnapSource source = {
        .fetch = fetch,
        .bytes = conversion->bytes,
        .opaque = conversion,
    };
    g_autoptr(SnapClassic) classic = snap_classic_open(&source, NULL);

    if (classic && snap_classic_bytes(classic) < 2 * conversion->bytes) {
        conversion->classic = g_byte_array_new();
        g_byte_array_set_size(conversion->classic, snap_classic_bytes(classic));
        fuzz_assert(snap_classic_read(classic, 0, conversion->classic->data,
                                      conversion->classic->len, NULL),
                    "cannot be read");
    }
}

static void convert_stream(const uint8_t *data, size_t bytes)
{
    g_autoptr(MigrationReader) before = migration_reader_new();
    g_autoptr(MigrationReader) after = migration_reader_new();
    const MigrationInfo *info = migration_reader_info(before);
    Conversion conversion = { .data = data, .bytes = bytes };
    g_autoptr(GByteArray) classic = NULL;
    g_autoptr(GError) error = NULL;

    if (!migration_reader_feed(before, data, bytes, NULL) ||
        !migration_reader_finish(before, NULL)) {
        return;
    }
    event_loop_run(convert, &conversion);
    classic = conversion.classic;
    fuzz_assert(classic || !info->mapped_ram || info->capabilities->len > 1 ||
                    info->page_size == 0,
                "not converted");
    if (!classic) {
        return;
    }
    fuzz_assert(
        migration_reader_feed(after, classic->data, classic->len, &error) &&
            migration_reader_finish(after, &error),
        "not complete: %s", error ? error->message : "");
    fuzz_assert(migration_reader_info(after)->data_pages == info->data_pages &&
                    migration_reader_info(after)->zero_pages ==
                        info->zero_pages,
                "other pages");
}

static void read_stream(const uint8_t *data, size_t bytes)
{
    g_autofree char *whole = stream_builder_outcome(data, bytes, 0);
    size_t piece = 2;

    convert_stream(data, bytes);

    /* Sizes that depend on the input, but on nothing else. */
    for (size_t i = 0; i < MIN(bytes, 64); i++) {
        piece = (piece * 31 + data[bytes - 1 - i]) % 5000 + 2;
    }
    compare(data, bytes, whole, piece);
    if (bytes <= MAX_BYTES_ONE_BY_ONE) {
        compare(data, bytes, whole, 1);
    }
}

static void run(const uint8_t *data, size_t bytes)
{
    g_autoptr(StreamBuilder) builder = NULL;
    FuzzInput input = { data, bytes };

    if (bytes >= 4 && !memcmp(data, "QEVM", 4)) {
        read_stream(data, bytes);
        return;
    }
    builder = stream_builder_new();
    build(builder, &input);
    read_stream(builder->bytes->data, builder->bytes->len);
}

const FuzzTarget fuzz_stream = { "stream", run };
