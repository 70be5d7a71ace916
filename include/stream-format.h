/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The numbers that a migration stream consists of, for those who read one and
 * those who write one.
 */
#ifndef STREAM_FORMAT_H
#define STREAM_FORMAT_H

#include <stdint.h>

/* The byte that every top-level thing of a stream begins with. */
enum StreamType {
    STREAM_EOF = 0x00,
    STREAM_SECTION_START = 0x01,
    STREAM_SECTION_PART = 0x02,
    STREAM_SECTION_END = 0x03,
    STREAM_SECTION_FULL = 0x04,
    STREAM_SUBSECTION = 0x05,
    STREAM_DESCRIPTION = 0x06,
    STREAM_CONFIGURATION = 0x07,
    STREAM_COMMAND = 0x08,
    STREAM_SECTION_FOOTER = 0x7e,
};

/*
 * Page sizes of QEMU's targets, bytes: the ten low bits of a RAM record are
 * flags, and nothing has pages of more than 64 KiB.
 */
#define RAM_MIN_PAGE_BITS 10
#define RAM_MAX_PAGE_BITS 16

/* In the low bits of the word that a record of section `ram' begins with. */
enum RamRecordFlags {
    RAM_RECORD_FULL = 0x001,
    RAM_RECORD_ZERO = 0x002,
    RAM_RECORD_MEM_SIZE = 0x004,
    RAM_RECORD_PAGE = 0x008,
    RAM_RECORD_EOS = 0x010,
    RAM_RECORD_CONTINUE = 0x020, /* same block as before: it is not named */
    RAM_RECORD_XBZRLE = 0x040,
    RAM_RECORD_HOOK = 0x080,
    RAM_RECORD_COMPRESS_PAGE = 0x100,
    RAM_RECORD_MULTIFD_FLUSH = 0x200,
};

#define RAM_RECORD_FLAGS ((UINT64_C(1) << RAM_MIN_PAGE_BITS) - 1)

#endif /* STREAM_FORMAT_H */
