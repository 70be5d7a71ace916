/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the files of the stream reader share. reader.c owns the input and calls
 * the current step; a step parses one item (or many) and names the next step.
 * Only sections without a length leave this scheme, see opaque-sections.c.
 */
#ifndef READER_INTERNAL_H
#define READER_INTERNAL_H

#include "checked.h"
#include "migration-reader.h"
#include "opaque-sections.h"
#include "snap-error.h"
#include "stream-cursor.h"
#include "stream-format.h"

#define STREAM_EOF_BYTES 1

/* The type byte of a footer and the section id. */
#define STREAM_FOOTER_BYTES 5

/*
 * Sections of one stream, and devices of one description. 4096 virtual CPUs
 * with three or four sections each need 16 Ki of them.
 */
#define STREAM_MAX_SECTIONS 65536

/*
 * Blocks of one machine. Memory slots are limited to some hundreds, every PCI
 * device may have a ROM besides.
 */
#define RAM_MAX_BLOCKS 8192

/*
 * The largest version of a section that is believed. QEMU's are below 100, but
 * a watchdog's is 10000, and that of the EEPROM of some network cards a date:
 * 20061113.
 */
#define STREAM_MAX_SECTION_VERSION 99999999

static inline bool ram_page_size_valid(uint64_t bytes)
{
    return bytes >= (UINT64_C(1) << RAM_MIN_PAGE_BITS) &&
           bytes <= (UINT64_C(1) << RAM_MAX_PAGE_BITS) &&
           (bytes & (bytes - 1)) == 0;
}

typedef enum StepResult {
    STEP_DONE,   /* everything up to cursor->pos is taken */
    STEP_MORE,   /* up to cursor->start; cursor->need bytes are needed there */
    STEP_FAILED, /* reader->error is set */
} StepResult;

typedef StepResult StepFunc(MigrationReader *reader, StreamCursor *cursor);

/* How the payload of an iterable section is parsed. */
typedef struct SectionFormat {
    const char *name;
    bool last_component; /* @name is only what follows the last '/' */
    bool vital;          /* other versions are refused, not opaque */
    uint32_t version;
    StepFunc *step;
} SectionFormat;

/* A handler that a START has announced. */
typedef struct Section {
    uint32_t id;
    char *name;
    const SectionFormat *format; /* NULL: opaque */
    MigrationSection *listed;    /* in info.sections; NULL: not yet */
} Section;

/* The header of a START, PART, END or FULL; name and on: START and FULL only */
typedef struct SectionHeader {
    uint8_t type;
    uint32_t id;
    StreamName name;
    uint32_t instance;
    uint32_t version;
} SectionHeader;

typedef enum FooterUse {
    FOOTERS_UNKNOWN, /* no section has ended yet; nothing announces them */
    FOOTERS_ON,
    FOOTERS_OFF,
} FooterUse;

typedef struct RamState {
    bool started; /* the START of `ram' has been seen */
    bool listed;  /* the block list is complete */

    /* What the configuration and the commands said about the block list. */
    bool ignore_shared;     /* entries carry an address */
    bool postcopy_advised;  /* entries may carry a page size */
    uint64_t bytes_to_list; /* of blocks that are not listed yet */
    GHashTable *by_name;    /* name -> MigrationBlock of info.blocks */

    /* The block of the last page record. It outlives the section. */
    const MigrationBlock *block;

    /* OR of all that is a multiple of the page size; tells what it is not. */
    uint64_t multiples;

    /* Of a mapped block: what is still to come of its bitmap and behind. */
    const MigrationBlock *mapped;
    uint64_t bitmap_bytes;
    uint64_t bytes_after_bitmap;
    uint64_t mapped_page; /* that the next bit of the bitmap is of */
} RamState;

struct MigrationReader {
    MigrationInfo info;
    MigrationPhase phase;
    GError *error;     /* the first one; nothing moves once it is set */
    uint64_t position; /* bytes taken; where the next step begins */

    /* Input that a step wants to see whole; at @carry_start of @carry. */
    GByteArray *carry;
    size_t carry_start;
    size_t carry_need;  /* a step with fewer bytes has been tried in vain */
    GByteArray *unread; /* taken, but to be parsed again before the carry */

    bool input_ended; /* no more bytes will come */

    MigrationPagesFunc *tell_pages; /* NULL: nobody wants to know */
    void *tell_opaque;

    StepFunc *step;
    const char *place; /* where @step is in the stream, for messages */
    uint64_t skip;     /* payload to pass over before @step */

    GHashTable *sections; /* id -> Section */
    Section *section;
    uint8_t section_type;
    uint64_t section_offset; /* of the header of its current piece */
    unsigned section_items;  /* items of @section parsed; formats count here */
    FooterUse footers;
    uint32_t capabilities_left;

    RamState ram;
    GPtrArray *devices;   /* of StreamDevice: FULL sections that are certain */
    OpaqueRegion *opaque; /* NULL: the steps are in charge */
};

/* info.c */
void migration_info_init(MigrationInfo *info);
void migration_info_clear(MigrationInfo *info);

/* reader.c */

/*
 * Fill @errp with the text and the place. Returns STEP_FAILED, so that a step
 * can return the call.
 */
StepResult stream_error(GError **errp, SnapError code, uint64_t offset,
                        const char *format, ...) G_GNUC_PRINTF(4, 5);

/* The stream offset of the item that @cursor is in. */
uint64_t reader_item_offset(const MigrationReader *reader,
                            const StreamCursor *cursor);

/* Go on with @step, at what a message may call @place ("in the header"). */
void reader_next(MigrationReader *reader, StepFunc *step, const char *place);

/* Pass over @bytes first. They are hostile: @cursor's offset must hold them. */
StepResult reader_skip(MigrationReader *reader, const StreamCursor *cursor,
                       uint64_t bytes);

/* Take back @bytes: they are to be parsed again, before all other input. */
void reader_unread(MigrationReader *reader, const uint8_t *data, size_t bytes);

/*
 * The stream was @stream_bytes long, end marker included. It is complete, but
 * for errors before.
 */
void reader_complete(MigrationReader *reader, uint64_t stream_bytes);

/* @bytes of @text, unprintable ones as \xNN, for messages. Caller frees. */
char *stream_escape(const char *text, size_t bytes);

/* Is this UTF-8 text, not empty, that may be shown as it is? */
bool stream_name_printable(StreamName name);

/* The same, and plain ASCII besides, as all ids in QEMU are. */
bool stream_name_ascii(StreamName name);

/* stream-framing.c */
StepFunc stream_header_step;
StepFunc stream_top_level_step;
void stream_next_top_level(MigrationReader *reader);

/*
 * Take a section header, which starts with its type byte. False: it is short.
 * Nothing is checked but the type, which the caller has seen.
 */
bool section_header_take(StreamCursor *cursor, SectionHeader *header);

/* The payload of the current section is over. */
void section_end_payload(MigrationReader *reader);

/* Announce a section. False: its id is taken, or there are too many. */
bool section_register(MigrationReader *reader, uint32_t id, StreamName name,
                      const SectionFormat *format);

/* "section 'x' (id 1)", for messages. Caller frees. */
char *section_describe(const char *name, uint32_t id);

/*
 * section-list.c: can so many more @sections be listed? If not, the stream has
 * failed, with what begins at @offset.
 */
bool section_list_has_room(MigrationReader *reader, unsigned sections,
                           uint64_t offset);

/*
 * List a section that begins with the header at @offset. Returns NULL when the
 * stream has failed, as there are too many.
 */
MigrationSection *section_list_add(MigrationReader *reader, StreamName name,
                                   uint32_t instance, uint32_t version,
                                   uint64_t offset);

/* Another piece of a listed section, from its header up to @end. */
void section_list_piece(MigrationSection *listed, uint64_t header,
                        uint64_t end);

/* @listed is a device with this payload, up to the footer or to @end. */
void section_list_device(MigrationSection *listed, uint64_t payload,
                         uint64_t end);

/* stream-configuration.c; ends in stream_top_level_step */
StepFunc stream_configuration_step;

/* stream-commands.c; ends in stream_top_level_step */
StepFunc stream_command_step;

/* May a known command with this number and length stand in a stream? */
bool stream_command_plausible(uint16_t command, uint16_t bytes);

/* ram-records.c; the step is the format of section `ram' */
StepFunc ram_records_step;

/* ram-block-list.c; ends in ram_records_step */
StepResult ram_block_list_begin(MigrationReader *reader,
                                const StreamCursor *cursor, uint64_t bytes);

/*
 * iterable-sections.c: the format of sections of that name, or NULL. A vital
 * one is found even if its version is another.
 */
const SectionFormat *section_format_find(StreamName name, uint32_t version);

/* opaque-sections.c: the rest of the current section is opaque from @cursor */
StepResult opaque_begin_payload(MigrationReader *reader, StreamCursor *cursor);

/* From the type byte at @cursor's item on */
StepResult opaque_begin(MigrationReader *reader, StreamCursor *cursor);

#endif /* READER_INTERNAL_H */
