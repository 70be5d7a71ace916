/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the stream reader makes of a stream in a file, as lines for scripts
 * that compare them with what QEMU says:
 *
 *     machine NAME, page-size BYTES, pages DATA FILLED, clock NANOSECONDS
 *     block NAME BYTES               each RAM block
 *     section NAME INSTANCE VERSION  each section, as they begin
 *     device NAME INSTANCE BYTES     each device; bytes between header and
 *                                    footer, or - if they are not known
 *     description OFFSET             of the JSON text; 0: there is none
 *     bytes TOTAL UNACCOUNTED        UNACCOUNTED are in no section, no part
 *                                    of the frame, and not the description
 *
 * The stream is fed in pieces of different sizes, down to single bytes, and
 * whatever the reader says must be the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/stream-builder.h"

static bool same_in_pieces(const uint8_t *data, size_t bytes)
{
    static const size_t pieces[] = { 1, 7, 4099, 65536 };
    g_autofree char *whole = stream_builder_outcome(data, bytes, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autofree char *cut = stream_builder_outcome(data, bytes, pieces[i]);

        if (strcmp(whole, cut) != 0) {
            fprintf(stderr, "in one piece:\n%s\nin pieces of %zu:\n%s\n", whole,
                    pieces[i], cut);
            return false;
        }
    }
    return true;
}

static void print_blocks(const MigrationInfo *info)
{
    for (guint i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);

        printf("block %s %" G_GUINT64_FORMAT "\n", block->name, block->bytes);
    }
}

/* Returns how many bytes the sections have. */
static uint64_t print_sections(const MigrationInfo *info)
{
    uint64_t bytes = 0;

    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        bytes += section->bytes;
        printf("section %s %u %u\n", section->name, section->instance,
               section->version);
        if (!section->device) {
            continue;
        }
        printf("device %s %u ", section->name, section->instance);
        if (section->delimited) {
            printf("%" G_GUINT64_FORMAT "\n", section->payload_bytes);
        } else {
            printf("-\n");
        }
    }
    return bytes;
}

static void print_account(const MigrationInfo *info)
{
    uint64_t bytes;

    printf("machine %s\n", info->machine ? info->machine : "-");
    printf("page-size %u\n", info->page_size);
    printf("pages %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n",
           info->data_pages, info->zero_pages);
    if (info->vm_clock_known) {
        printf("clock %" G_GINT64_FORMAT "\n", info->vm_clock_ns);
    }
    print_blocks(info);
    bytes = print_sections(info);
    bytes += info->framing_bytes + info->description_bytes;
    printf("description %" G_GUINT64_FORMAT "\n", info->description_offset);
    printf("bytes %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n",
           info->stream_bytes, info->stream_bytes - bytes);
}

int main(int argc, char **argv)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *data = NULL;
    gsize bytes;

    if (argc != 2) {
        fprintf(stderr, "usage: account STREAM\n");
        return EXIT_FAILURE;
    }
    if (!g_file_get_contents(argv[1], &data, &bytes, &error) ||
        !migration_reader_feed(reader, data, bytes, &error) ||
        !migration_reader_finish(reader, &error)) {
        fprintf(stderr, "account: %s\n", error->message);
        return EXIT_FAILURE;
    }
    print_account(migration_reader_info(reader));
    return same_in_pieces((const uint8_t *)data, bytes) ? EXIT_SUCCESS
                                                        : EXIT_FAILURE;
}
