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
    uint64_t bytes; /* used length */
} MigrationBlock;

/* What was learnt on the way. Owned by the reader; grows while feeding. */
typedef struct MigrationInfo {
    char *machine;      /* NULL: the stream has no configuration section */
    uint32_t page_size; /* bytes; 0: not known yet */
    bool return_path;   /* the source waits for an answer (SHUT) */
    /*
     * Where the commands are that only such a source has use for: bytes of the
     * stream, in one piece.
     */
    uint64_t return_offset;
    uint64_t return_bytes;
    bool vm_clock_known; /* the `timer' section has passed */
    int64_t vm_clock_ns;
    GPtrArray *blocks;     /* of MigrationBlock */
    uint64_t data_pages;   /* RAM records with a whole or packed page */
    uint64_t zero_pages;   /* RAM records of a page filled with one byte */
    unsigned devices;      /* device sections; final when COMPLETE */
    uint64_t stream_bytes; /* length up to the end; final when COMPLETE */
} MigrationInfo;

MigrationReader *migration_reader_new(void);
void migration_reader_free(MigrationReader *reader);

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
