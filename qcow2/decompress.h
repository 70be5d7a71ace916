/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Compressed clusters in memory. Nobody stores how long the compressed data
 * is: it is followed by whatever lies there, and is over when a cluster has
 * come out.
 */
#ifndef QCOW2_DECOMPRESS_H
#define QCOW2_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Decompress the cluster that begins at @packed, of which no more than
 * @packed_bytes are there, into @cluster; @type is that of the header, which
 * was checked. No more than @bytes come out, and no memory is taken that
 * depends on what the data says. Returns 0, -ENOMEM, or -EINVAL when the data
 * is not what it should be or does not fill the cluster.
 */
int qcow2_decompress(unsigned type, const uint8_t *packed, size_t packed_bytes,
                     uint8_t *cluster, size_t bytes);

#endif /* QCOW2_DECOMPRESS_H */
