/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The records that section `ram' consists of. Each begins with a 64-bit word:
 * ten bits of flags, and above them an offset inside a RAM block.
 */
#ifndef RAM_RECORDS_H
#define RAM_RECORDS_H

#include "reader-internal.h"

typedef struct RamRecord {
    unsigned kind;               /* one of the flags, never CONTINUE */
    const MigrationBlock *block; /* of a page; else the one of before */
    uint64_t offset;             /* in the block; MEM_SIZE: the total */
    uint64_t payload;            /* bytes behind what has been taken */
    uint8_t fill;                /* ZERO: the byte, which has been taken */
} RamRecord;

/*
 * Take a record up to its payload. @block: the one of the record before.
 * @page_size: 0 as long as it is not known; the payload of a PAGE then counts
 * as 0. Changes nothing in the reader. On STEP_FAILED fills @errp, which may
 * be NULL.
 */
StepResult ram_record_take(const MigrationReader *reader, StreamCursor *cursor,
                           const MigrationBlock *block, uint32_t page_size,
                           RamRecord *record, GError **errp);

/* Count @pages, and tell of them. */
void ram_pages_passed(MigrationReader *reader, const MigrationPages *pages);

/*
 * Find out the page size by looking at what follows the first page. @cursor is
 * behind the head of that PAGE record, which is @first. Takes nothing.
 */
StepResult ram_page_size_infer(MigrationReader *reader, StreamCursor *cursor,
                               const RamRecord *first, uint32_t *page_size);

#endif /* RAM_RECORDS_H */
