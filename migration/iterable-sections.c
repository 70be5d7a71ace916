/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Iterable sections other than `ram' whose payload shows where it ends. They
 * stand between parts of RAM and can be large, so that it pays to pass over
 * them instead of searching for their end.
 */
#include <string.h>

#include "reader-internal.h"

enum DirtyBitmapFlags {
    DIRTY_BITMAP_EOS = 0x01,
    DIRTY_BITMAP_ZEROES = 0x02,
    DIRTY_BITMAP_BITMAP_NAME = 0x04,
    DIRTY_BITMAP_DEVICE_NAME = 0x08,
    DIRTY_BITMAP_START = 0x10,
    DIRTY_BITMAP_COMPLETE = 0x20,
    DIRTY_BITMAP_BITS = 0x40,
    DIRTY_BITMAP_EXTRA_FLAGS = 0x80,
};

enum BlockFlags {
    BLOCK_DEVICE_BLOCK = 0x01,
    BLOCK_EOS = 0x02,
    BLOCK_PROGRESS = 0x04,
    BLOCK_ZERO_BLOCK = 0x08,
};

#define BLOCK_FLAGS UINT64_C(0x1ff)
#define BLOCK_BYTES (1024 * 1024)

enum StorageAttributesFlags {
    ATTRIBUTES_EOS = 0x01,
    ATTRIBUTES_MORE = 0x02,
    ATTRIBUTES_DONE = 0x08,
};

#define ATTRIBUTES_FLAGS UINT64_C(0xfff)

/* Of each entry that is valid in a record of the hash page table */
#define HASH_ENTRY_BYTES 16

#define VFIO_TAG UINT64_C(0xffffffffef100000)

enum VfioTags {
    VFIO_END_OF_STATE = 1,
    VFIO_DEV_SETUP_STATE = 3,
    VFIO_DEV_DATA_STATE = 4,
    VFIO_INIT_DATA_SENT = 5,
};

static StepResult iterable_failed(MigrationReader *reader,
                                  const StreamCursor *cursor, uint64_t found)
{
    g_autofree char *section =
        section_describe(reader->section->name, reader->section->id);

    return stream_error(&reader->error, SNAP_ERROR_STREAM,
                        reader_item_offset(reader, cursor),
                        "%s cannot hold a record that begins with "
                        "0x%" G_GINT64_MODIFIER "x",
                        section, found);
}

/* Up to the payload of a chunk of bits. */
static bool dirty_bitmap_chunk_take(StreamCursor *cursor, uint8_t flags,
                                    uint64_t *payload)
{
    StreamName name;

    *payload = 0;
    return (!(flags & DIRTY_BITMAP_DEVICE_NAME) ||
            stream_cursor_name(cursor, &name)) &&
           (!(flags & DIRTY_BITMAP_BITMAP_NAME) ||
            stream_cursor_name(cursor, &name)) &&
           /* granularity and flags */
           (!(flags & DIRTY_BITMAP_START) || stream_cursor_take(cursor, 5)) &&
           /* first sector and number of sectors */
           (!(flags & DIRTY_BITMAP_BITS) || stream_cursor_take(cursor, 12)) &&
           (!(flags & DIRTY_BITMAP_BITS) || (flags & DIRTY_BITMAP_ZEROES) ||
            stream_cursor_be64(cursor, payload));
}

static StepResult dirty_bitmap_step(MigrationReader *reader,
                                    StreamCursor *cursor)
{
    uint64_t payload;
    uint8_t flags;
    unsigned kinds;

    if (!stream_cursor_u8(cursor, &flags)) {
        return STEP_MORE;
    }
    /* More flags may follow these; none has ever been defined. */
    kinds = flags &
            (DIRTY_BITMAP_START | DIRTY_BITMAP_COMPLETE | DIRTY_BITMAP_BITS);
    if ((flags & DIRTY_BITMAP_EXTRA_FLAGS) || (kinds & (kinds - 1)) != 0) {
        return iterable_failed(reader, cursor, flags);
    }
    if (!dirty_bitmap_chunk_take(cursor, flags, &payload)) {
        return STEP_MORE;
    }
    if (flags & DIRTY_BITMAP_EOS) {
        section_end_payload(reader);
    }
    return reader_skip(reader, cursor, payload);
}

static StepResult block_step(MigrationReader *reader, StreamCursor *cursor)
{
    StreamName device;
    uint64_t word;

    if (!stream_cursor_be64(cursor, &word)) {
        return STEP_MORE;
    }
    switch (word & BLOCK_FLAGS) {
    case BLOCK_DEVICE_BLOCK:
    case BLOCK_DEVICE_BLOCK | BLOCK_ZERO_BLOCK:
        if (!stream_cursor_name(cursor, &device)) {
            return STEP_MORE;
        }
        return reader_skip(reader, cursor,
                           word & BLOCK_ZERO_BLOCK ? 0 : BLOCK_BYTES);
    case BLOCK_PROGRESS:
        return STEP_DONE;
    case BLOCK_EOS:
        section_end_payload(reader);
        return STEP_DONE;
    default:
        return iterable_failed(reader, cursor, word);
    }
}

/*
 * The first word of a section says whether records follow: the START states
 * the table's size or -1, which ends it; the others state 0.
 */
static StepResult hash_table_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint32_t word;
    uint16_t valid, invalid;

    if (!stream_cursor_be32(cursor, &word)) {
        return STEP_MORE;
    }
    if (reader->section_items == 0) {
        reader->section_items = 1;
        if (word != 0) {
            section_end_payload(reader);
        }
        return STEP_DONE;
    }
    if (!stream_cursor_be16(cursor, &valid) ||
        !stream_cursor_be16(cursor, &invalid)) {
        return STEP_MORE;
    }
    if (word == 0 && valid == 0 && invalid == 0) {
        section_end_payload(reader);
    }
    return reader_skip(reader, cursor, (uint64_t)valid * HASH_ENTRY_BYTES);
}

static StepResult storage_attributes_step(MigrationReader *reader,
                                          StreamCursor *cursor)
{
    uint64_t word, count;

    if (!stream_cursor_be64(cursor, &word)) {
        return STEP_MORE;
    }
    switch (word & ATTRIBUTES_FLAGS) {
    case ATTRIBUTES_MORE:
        if (!stream_cursor_be64(cursor, &count)) {
            return STEP_MORE;
        }
        return reader_skip(reader, cursor, count);
    case ATTRIBUTES_DONE:
        return STEP_DONE;
    case ATTRIBUTES_EOS:
        section_end_payload(reader);
        return STEP_DONE;
    default:
        return iterable_failed(reader, cursor, word);
    }
}

/* Proxmox VE's backup state: one buffer, in the START */
static StepResult pbs_state_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint64_t bytes = 0;

    if (reader->section_type == STREAM_SECTION_START &&
        !stream_cursor_be64(cursor, &bytes)) {
        return STEP_MORE;
    }
    section_end_payload(reader);
    return reader_skip(reader, cursor, bytes);
}

/*
 * Device data comes with lengths and can be gigabytes. What has no length, the
 * PCI configuration and whatever is invented later, is left to the search.
 */
static StepResult vfio_step(MigrationReader *reader, StreamCursor *cursor)
{
    uint64_t tag, bytes;

    if (!stream_cursor_be64(cursor, &tag)) {
        return STEP_MORE;
    }
    switch (tag - VFIO_TAG) {
    case VFIO_END_OF_STATE:
        section_end_payload(reader);
        return STEP_DONE;
    case VFIO_DEV_SETUP_STATE:
    case VFIO_INIT_DATA_SENT:
        return STEP_DONE;
    case VFIO_DEV_DATA_STATE:
        if (!stream_cursor_be64(cursor, &bytes)) {
            return STEP_MORE;
        }
        return reader_skip(reader, cursor, bytes);
    default:
        return opaque_begin_payload(reader, cursor);
    }
}

static const SectionFormat formats[] = {
    { .name = "ram", .version = 4, .step = ram_records_step, .vital = true },
    { .name = "dirty-bitmap", .version = 1, .step = dirty_bitmap_step },
    { .name = "block", .version = 1, .step = block_step },
    { .name = "spapr/htab", .version = 1, .step = hash_table_step },
    { .name = "s390-storage_attributes",
      .version = 0,
      .step = storage_attributes_step },
    { .name = "pbs-state", .version = 1, .step = pbs_state_step },
    { .name = "vfio", .last_component = true, .version = 1, .step = vfio_step },
};

static StreamName last_component(StreamName name)
{
    const char *slash = memrchr(name.text, '/', name.bytes);

    if (slash != NULL) {
        name.bytes -= slash + 1 - name.text;
        name.text = slash + 1;
    }
    return name;
}

const SectionFormat *section_format_find(StreamName name, uint32_t version)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        const SectionFormat *format = &formats[i];

        if (stream_name_is(format->last_component ? last_component(name) : name,
                           format->name) &&
            (format->version == version || format->vital)) {
            return format;
        }
    }
    return NULL;
}
