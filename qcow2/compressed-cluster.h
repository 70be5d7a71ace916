/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads compressed clusters. Neither we nor QEMU store VM state in such, but
 * QEMU loads it, so there are images where it is: made by other programs, or
 * by growing and shrinking a disk. This need not be fast, but bounded: one
 * cluster at a time, whoever asks.
 */
#ifndef QCOW2_COMPRESSED_CLUSTER_H
#define QCOW2_COMPRESSED_CLUSTER_H

#include "event-loop.h"
#include "internal.h"
#include "read-group.h"

/* Set the first two; the rest is zero. */
typedef struct Qcow2CompressedReader {
    const Qcow2Image *image;
    Qcow2ReadLimit *limit; /* shared with other reads */

    CoroutineMutex turn; /* of who may use what is below */
    uint8_t *packed;     /* NULL: no memory yet */
    uint8_t *cluster;
    uint64_t offset; /* in the file, of what is in @cluster; 0: nothing */
} Qcow2CompressedReader;

/*
 * Copy @bytes at @within of the compressed @cluster. Many may ask at once.
 * Yields. Returns false and fills @errp (IO, DAMAGED).
 */
bool coroutine_fn qcow2_compressed_read(Qcow2CompressedReader *reader,
                                        const Qcow2Cluster *cluster,
                                        uint64_t within, uint8_t *buffer,
                                        size_t bytes, GError **errp);

/* Free its memory. Nobody reads. */
void qcow2_compressed_reader_clear(Qcow2CompressedReader *reader);

#endif /* QCOW2_COMPRESSED_CLUSTER_H */
