/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Follows a QEMU migration stream while it passes, to know one thing for
 * certain: whether it is complete. It is fed buffers of any size, copies next
 * to nothing of the RAM, and keeps the device part, which carries no lengths,
 * until its sections can be told apart.
 */
#ifndef MIGRATION_READER_H
#define MIGRATION_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#define MIGRATION_UUID_BYTES 16

typedef struct MigrationReader MigrationReader;

/* In the order in which a stream goes through them. */
typedef enum MigrationPhase {
    MIGRATION_PHASE_SETUP,    /* up to the start of the `ram' section */
    MIGRATION_PHASE_RAM,      /* RAM pages; other iterable sections between */
    MIGRATION_PHASE_DEVICES,  /* device state: what is left is small */
    MIGRATION_PHASE_COMPLETE, /* end marker and device description are there */
} MigrationPhase;

typedef struct MigrationBlock {
    char *name;
    uint64_t bytes;  /* used length */
    unsigned number; /* its place in the list of blocks */

    /* Of mapped RAM, as the reader finds it: where in the stream; bytes. */
    uint64_t bitmap_offset;
    uint64_t pages_offset;
} MigrationBlock;

/* What a stream holds of a page. */
typedef enum MigrationPageKind {
    MIGRATION_PAGE_DATA,     /* all of it */
    MIGRATION_PAGE_FILL,     /* one byte, which fills it: 0 nearly always */
    MIGRATION_PAGE_XBZRLE,   /* how it differs from what it was before */
    MIGRATION_PAGE_DEFLATED, /* all of it, packed by zlib */
    MIGRATION_PAGE_MAPPED,   /* all of it, without a record's head in front */
} MigrationPageKind;

/*
 * Pages of one block that follow one another in the block as in the stream.
 * What comes later in the stream replaces what came before.
 */
typedef struct MigrationPages {
    const MigrationBlock *block;
    uint32_t page_size; /* bytes; 0: not known yet */
    MigrationPageKind kind;
    uint8_t fill;    /* FILL: the byte */
    uint64_t start;  /* of the first page in its block, bytes */
    uint64_t count;  /* pages; 1 if kind is XBZRLE or DEFLATED */
    uint64_t offset; /* of what the stream holds of the first one, bytes */
    uint32_t bytes;  /* that it holds of each: DATA, MAPPED: the page size */
    uint32_t stride; /* bytes of the stream from one page to the next */
} MigrationPages;

/* @pages is gone when this returns. Never yields. */
typedef void MigrationPagesFunc(const MigrationPages *pages, void *opaque);

/*
 * A section: of a device, or an iterable one, which comes in several pieces
 * (START, any number of PARTs, END). Offsets and lengths in bytes.
 */
typedef struct MigrationSection {
    char *name; /* as in the stream: perhaps not printable */
    uint32_t instance;
    uint32_t version;
    bool device; /* a FULL section: the state of a device, in one piece */

    /*
     * False for devices of a stream without footers, which end where the next
     * header has been found, and for those whose ends cannot be told any more:
     * of these nothing but name and instance is known, the rest is 0, and
     * their bytes count as undelimited_bytes. True for all others.
     */
    bool delimited;
    uint64_t offset; /* of the header of the first piece */
    uint64_t bytes;  /* of all pieces with their headers and footers */

    /* Of a device: what is between header and footer. */
    uint64_t payload_offset;
    uint64_t payload_bytes;
} MigrationSection;

/*
 * What was learnt on the way. Owned by the reader; grows while feeding. Of a
 * complete stream, every byte is counted once: stream_bytes is the sum of
 * framing_bytes, description_bytes, undelimited_bytes, and the bytes of all
 * sections.
 */
typedef struct MigrationInfo {
    char *machine;           /* NULL: the stream has no configuration section */
    uint32_t page_size;      /* bytes; 0: not known yet */
    GPtrArray *capabilities; /* of char *: those that the source lists */
    bool mapped_ram;         /* one of them: pages are at places of their own */

    /*
     * What a stream with mapped RAM has of its own, as the reader finds it: the
     * subsection that lists the capabilities, and the list of blocks, from the
     * first one's name to the last one's pages. Bytes of the stream.
     */
    uint64_t capabilities_offset;
    uint64_t capabilities_bytes;
    uint64_t list_offset;
    uint64_t list_bytes;

    bool uuid_known;
    uint8_t uuid[MIGRATION_UUID_BYTES]; /* of the machine */
    bool return_path; /* the source waits for an answer (SHUT) */
    /*
     * Where the commands are that only such a source has use for: bytes of the
     * stream, in one piece.
     */
    uint64_t return_offset;
    uint64_t return_bytes;
    bool vm_clock_known; /* the `timer' section has passed */
    int64_t vm_clock_ns;
    GPtrArray *blocks;   /* of MigrationBlock */
    uint64_t data_pages; /* RAM records with a whole or packed page */
    uint64_t zero_pages; /* RAM records of a page filled with one byte */
    /* (Of mapped RAM: pages that are stored, and the others.) */
    unsigned devices;      /* device sections; final when COMPLETE */
    uint64_t stream_bytes; /* length up to the end; final when COMPLETE */

    /*
     * Of MigrationSection, as they begin in the stream; final when COMPLETE.
     * Those without a length are listed once it is certain where they end.
     */
    GPtrArray *sections;
    uint64_t undelimited_bytes; /* of sections that are not told apart */

    /*
     * Header, configuration, commands, end marker, and what announces the
     * description.
     */
    uint64_t framing_bytes;

    /* The JSON text that describes the devices. 0 and 0: there is none. */
    uint64_t description_offset;
    uint64_t description_bytes;
} MigrationInfo;

/* A copy that needs no reader. */
MigrationInfo *migration_info_copy(const MigrationInfo *info);

/*
 * Is every byte counted once, and are the sections in order? Always true of
 * what a reader says; for an @info from elsewhere.
 */
bool migration_info_adds_up(const MigrationInfo *info);

/* Of the same stream without the commands that @info has the place of. */
void migration_info_take_out_return_path(MigrationInfo *info);

void migration_info_free(MigrationInfo *info);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationInfo, migration_info_free)

MigrationReader *migration_reader_new(void);
void migration_reader_free(MigrationReader *reader);

/*
 * From now on tell @func of all pages in the order of the stream, of a large
 * one before all of it has passed. Of mapped RAM, those that are stored are told
 * when the bitmap passes, and the others as zeros, which is what QEMU makes of
 * them.
 */
void migration_reader_tell_pages(MigrationReader *reader,
                                 MigrationPagesFunc *func, void *opaque);

/*
 * Take the next @bytes of the stream. Returns false and fills @errp (STREAM,
 * or UNSUPPORTED for what cannot be complete on one channel; the text names
 * the byte offset) when this cannot become a complete stream any more; the
 * reader then stays in that state. Bytes behind the end of a complete stream
 * are taken and ignored, as QEMU does.
 */
bool migration_reader_feed(MigrationReader *reader, const void *data,
                           size_t bytes, GError **errp);

/*
 * How many of the next bytes will not be looked at, whatever they are: the
 * content of pages. Who can do without reading them says so with _pass().
 */
uint64_t migration_reader_passable(const MigrationReader *reader);

/* Take the next @bytes unseen; no more than are passable. */
void migration_reader_pass(MigrationReader *reader, uint64_t bytes);

/*
 * The input has ended. Returns true when the stream is complete, which is also
 * the phase from then on. Otherwise fills @errp (STREAM) with what was missing
 * at which offset. A stream that ends right behind its end marker, or goes on
 * with zeros only, is complete without a device description, as it is to QEMU.
 */
bool migration_reader_finish(MigrationReader *reader, GError **errp);

/*
 * COMPLETE is reached while feeding when the stream ends with a device
 * description, which says how long it is; without one only _finish() can tell.
 */
MigrationPhase migration_reader_phase(const MigrationReader *reader);

/*
 * Would input that ended here be complete, though more may follow? For a source
 * that keeps the pipe open and sends no device description.
 */
bool migration_reader_may_end(const MigrationReader *reader);

const MigrationInfo *migration_reader_info(const MigrationReader *reader);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationReader, migration_reader_free)

#endif /* MIGRATION_READER_H */
