/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What a save leaves behind the stream, inside the VM state: the stream's index
 * and its checksums. QEMU stops reading before it. It is found from the end of
 * the VM state, by a footer that says where the stream ends. Whatever is wrong
 * with it, the stream can still be read without it. docs/trailer.md has the
 * format.
 */
#ifndef STREAM_TRAILER_H
#define STREAM_TRAILER_H

#include "stream-checksums.h"
#include "stream-index.h"

/* The last bytes of the VM state. */
#define STREAM_FOOTER_BYTES 64

/* Both ends of a trailer are multiples of it. Bytes. */
#define STREAM_TRAILER_UNIT 512

/* Of a larger one we do not believe that it is one. Bytes. */
#define STREAM_TRAILER_MAX_BYTES (128 * 1024 * 1024)

typedef struct StreamFooter {
    uint64_t stream_bytes;
    uint64_t trailer_offset; /* bytes of the VM state before it */
    uint64_t trailer_bytes;  /* with the footer */
    uint64_t checksum;       /* of what is in front of the footer */
} StreamFooter;

typedef enum StreamTrailerState {
    STREAM_TRAILER_NONE,
    STREAM_TRAILER_VALID,
    STREAM_TRAILER_DAMAGED,
    STREAM_TRAILER_UNSUPPORTED, /* a later version: only the footer is known */
} StreamTrailerState;

/*
 * What the end of a VM state of @vm_state_size bytes is: @data holds its last
 * STREAM_FOOTER_BYTES. *@footer is filled when it is VALID or UNSUPPORTED.
 */
StreamTrailerState stream_footer_decode(const uint8_t *data,
                                        uint64_t vm_state_size,
                                        StreamFooter *footer);

/* Where the trailer of a stream of @stream_bytes begins at the earliest. */
uint64_t stream_trailer_offset(uint64_t stream_bytes);

/*
 * A trailer for @offset, a multiple of the unit: with its footer, as long as
 * VM state behind that offset has to be. The checksums cover the stream.
 */
GByteArray *stream_trailer_encode(const StreamIndex *index,
                                  const StreamChecksums *checksums,
                                  uint64_t offset);

/*
 * Read back the @footer->trailer_bytes of @data. Fills *@index and *@checksums,
 * which the caller frees. False, and both NULL: they are damaged.
 */
bool stream_trailer_decode(const StreamFooter *footer, const uint8_t *data,
                           StreamIndex **index, StreamChecksums **checksums);

#endif /* STREAM_TRAILER_H */
