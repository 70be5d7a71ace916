/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A block file in memory, for tests. It keeps a record of what was asked of
 * it, fails the n-th operation on demand, and can play a power cut: the record
 * is complete enough to rebuild the file as of any moment.
 */
#ifndef MEMORY_FILE_H
#define MEMORY_FILE_H

#include "block-file.h"

typedef enum MemoryFileOp {
    MEMORY_FILE_READ,
    MEMORY_FILE_WRITE,
    MEMORY_FILE_FLUSH,
    MEMORY_FILE_TRUNCATE,
    MEMORY_FILE_ALLOCATE,
    MEMORY_FILE_DISCARD, /* leaves zeros */
    MEMORY_FILE_OPS,     /* how many kinds there are */
} MemoryFileOp;

typedef struct MemoryFileRecord {
    MemoryFileOp op;
    int64_t offset; /* the new size for TRUNCATE; not for FLUSH */
    int64_t bytes;  /* not for FLUSH and TRUNCATE */
    GBytes *data;   /* WRITE: what was written */
} MemoryFileRecord;

/*
 * An empty, writable file of alignment 1. Closed with block_file_close(). Every
 * operation yields before it does anything, as on a real file; what it then
 * does, it does at once. Beyond 1 GiB it is -EFBIG.
 */
BlockFile *memory_file_new(void);

/* The same with @bytes of content, copied. */
BlockFile *memory_file_new_from(const void *content, size_t bytes);

/* The present content; valid until the next operation. */
const uint8_t *memory_file_content(BlockFile *file, size_t *bytes);

/*
 * All operations since the last reset in the order in which they took effect;
 * owned by the file and valid until the next operation. Those that failed did
 * nothing and are left out.
 */
const MemoryFileRecord *memory_file_records(BlockFile *file, size_t *count);
void memory_file_reset_records(BlockFile *file);

/* How many operations there were at once, at most, since that reset. */
unsigned memory_file_most_in_flight(BlockFile *file);

/* How many of these are of one kind. */
size_t memory_file_count(BlockFile *file, MemoryFileOp op);

/*
 * Let the @nth operation of @op from now (1 is the next one that is asked for)
 * return @error, a negative errno, without doing anything. 0 turns it off. A
 * negative @nth fails every one.
 */
void memory_file_fail(BlockFile *file, MemoryFileOp op, int nth, int error);

/*
 * A full disk: what would make the file longer than @bytes is -ENOSPC from now
 * on. Nothing in the file is a hole. 0 turns it off.
 */
void memory_file_limit(BlockFile *file, uint64_t bytes);

/* The length of the memory that is registered now; 0: there is none. */
size_t memory_file_registered_bytes(BlockFile *file);

/* How often there was some. */
unsigned memory_file_registrations(BlockFile *file);

/*
 * Complete requests out of order: with @window above 1, reads and writes are
 * held until there are @window of them or the event loop has turned several
 * times without one more, and are then let go newest first.
 */
void memory_file_shuffle(BlockFile *file, unsigned window);

/*
 * The content after the first @count records on top of @base, as after a
 * power cut. Freed by the caller.
 */
GByteArray *memory_file_replay(const void *base, size_t base_bytes,
                               const MemoryFileRecord *records, size_t count);

#endif /* MEMORY_FILE_H */
