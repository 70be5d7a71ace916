/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Writes migration streams piece by piece, right or wrong as a test wants
 * them, and feeds them to a reader in pieces of different sizes, which must
 * make no difference.
 */
#ifndef STREAM_BUILDER_H
#define STREAM_BUILDER_H

#include "migration-reader.h"
#include "snap-error.h"

#define STREAM_BUILDER_RAM_ID 2
#define STREAM_BUILDER_PAGE   4096

typedef struct StreamBuilder {
    GByteArray *bytes;
    GString *devices; /* what the description will list */
} StreamBuilder;

StreamBuilder *stream_builder_new(void);
void stream_builder_free(StreamBuilder *builder);

/* Plain fields. */
void stream_builder_u8(StreamBuilder *builder, uint8_t value);
void stream_builder_be16(StreamBuilder *builder, uint16_t value);
void stream_builder_be32(StreamBuilder *builder, uint32_t value);
void stream_builder_be64(StreamBuilder *builder, uint64_t value);
void stream_builder_text(StreamBuilder *builder, const char *text);
void stream_builder_name(StreamBuilder *builder, const char *name);
void stream_builder_fill(StreamBuilder *builder, uint8_t value, size_t bytes);

/* The frame. */
void stream_builder_header(StreamBuilder *builder);
void stream_builder_configuration(StreamBuilder *builder, const char *machine);
void stream_builder_subsection(StreamBuilder *builder, const char *name);
void stream_builder_capability(StreamBuilder *builder, const char *name);
void stream_builder_command(StreamBuilder *builder, uint16_t command,
                            uint16_t bytes);
void stream_builder_start(StreamBuilder *builder, uint32_t id, const char *name,
                          uint32_t version);
void stream_builder_part(StreamBuilder *builder, uint32_t id);
void stream_builder_end(StreamBuilder *builder, uint32_t id);
void stream_builder_footer(StreamBuilder *builder, uint32_t id);

/* A FULL, which the description will list. */
void stream_builder_full(StreamBuilder *builder, uint32_t id, const char *name,
                         uint32_t instance);

/* The same with a header that it will not list. */
void stream_builder_bogus_full(StreamBuilder *builder, uint32_t id,
                               const char *name);

/* A FULL with a payload of @bytes zeros, and its footer. */
void stream_builder_device(StreamBuilder *builder, uint32_t id,
                           const char *name, size_t bytes);

/* The clock, with footer. */
void stream_builder_timer(StreamBuilder *builder, uint32_t id, int64_t clock);

/* Section `ram': START with the word that opens a list of @total bytes. */
void stream_builder_ram_start(StreamBuilder *builder, uint64_t total);
void stream_builder_block(StreamBuilder *builder, const char *name,
                          uint64_t bytes);

/* @word: offset and flags. @block NULL: it is not named. */
void stream_builder_record(StreamBuilder *builder, uint64_t word,
                           const char *block);

/* A PAGE of @page_size bytes @fill. */
void stream_builder_page(StreamBuilder *builder, const char *block,
                         uint64_t offset, uint8_t fill, size_t page_size);
void stream_builder_zero(StreamBuilder *builder, const char *block,
                         uint64_t offset);

/*
 * A block of @pages pages of mapped RAM: entry, bitmap, and from the next
 * multiple of @alignment on the pages, of which page i is stored where @stored[i]
 * is not 0. Then it is what is at its place in @content, or else full of 0xcd.
 */
void stream_builder_mapped_block(StreamBuilder *builder, const char *name,
                                 uint32_t page_size, uint32_t pages,
                                 const uint8_t *stored, const uint8_t *content,
                                 size_t alignment);

/* EOS and footer of `ram'. */
void stream_builder_ram_stop(StreamBuilder *builder);

/* The end marker, and the description of the devices so far, or any text. */
void stream_builder_eof(StreamBuilder *builder);
void stream_builder_description(StreamBuilder *builder);
void stream_builder_description_text(StreamBuilder *builder, const char *text);

/* Both of them. */
void stream_builder_end_stream(StreamBuilder *builder);

/* In the payload of section @id: footer, and the header of no real section */
void stream_builder_bogus_header(StreamBuilder *builder, uint32_t id);

/* Header, configuration and a `ram' section of one block of 64 KiB, begun. */
void stream_builder_begin_ram(StreamBuilder *builder);

/* The same, and some pages of it, up to its END. */
void stream_builder_all_ram(StreamBuilder *builder);

/* A stream with a bit of everything that an ordinary one has. */
StreamBuilder *stream_builder_ordinary(void);

/*
 * What a reader makes of @data in pieces of @piece bytes (0: all at once), up
 * to the last detail, as text. Caller frees.
 */
char *stream_builder_outcome(const uint8_t *data, size_t bytes, size_t piece);

/*
 * Read the stream in different pieces and see that the outcome is the same.
 * Returns a reader that has got it and was told that the input has ended;
 * *error is set, or NULL.
 */
MigrationReader *stream_builder_read(const StreamBuilder *builder,
                                     GError **error);

/* It must be complete, and accounted for byte by byte. Returns the reader. */
MigrationReader *stream_builder_expect_complete(const StreamBuilder *builder);

/* It must be complete, with so many devices. */
void stream_builder_expect_devices(const StreamBuilder *builder,
                                   unsigned devices);

/* It must fail with that code and a text that has @part in it. */
void stream_builder_expect_error(const StreamBuilder *builder, SnapError code,
                                 const char *part);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(StreamBuilder, stream_builder_free)

#endif /* STREAM_BUILDER_H */
