/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See decompress.h. Everything goes straight into the cluster, which is also
 * what the compressed data refers back to: so no window is needed, however
 * large a frame says that it is.
 */
#include <errno.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "decompress.h"

/*
 * Without a header of zlib, which is what a negative number means. QEMU writes
 * with a window of 2^12 bytes; the largest one reads all that others wrote.
 */
#define DEFLATE_WINDOW_BITS (-15)

static int inflate_cluster(const uint8_t *packed, size_t packed_bytes,
                           uint8_t *cluster, size_t bytes)
{
    z_stream stream = {
        .next_in = (Bytef *)packed,
        .avail_in = packed_bytes,
        .next_out = cluster,
        .avail_out = bytes,
    };
    int ret = inflateInit2(&stream, DEFLATE_WINDOW_BITS);

    if (ret != Z_OK) {
        return -ENOMEM;
    }
    /* With a full cluster it does not matter what would have come then. */
    ret = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (stream.avail_out == 0) {
        return 0;
    }
    return ret == Z_MEM_ERROR ? -ENOMEM : -EINVAL;
}

static int zstd_error(size_t ret)
{
    return ZSTD_getErrorCode(ret) == ZSTD_error_memory_allocation ? -ENOMEM
                                                                  : -EINVAL;
}

/* Frame after frame; each has a header at least, so there is an end. */
static int unpack_frames(const uint8_t *packed, size_t packed_bytes,
                         uint8_t *cluster, size_t bytes)
{
    while (bytes > 0) {
        size_t frame = ZSTD_findFrameCompressedSize(packed, packed_bytes);
        size_t ret;

        if (ZSTD_isError(frame)) {
            return zstd_error(frame);
        }
        ret = ZSTD_decompress(cluster, bytes, packed, frame);
        if (ZSTD_isError(ret)) {
            return zstd_error(ret);
        }
        packed += frame;
        packed_bytes -= frame;
        cluster += ret;
        bytes -= ret;
    }
    return 0;
}

int qcow2_decompress(unsigned type, const uint8_t *packed, size_t packed_bytes,
                     uint8_t *cluster, size_t bytes)
{
    return type == 0 ? inflate_cluster(packed, packed_bytes, cluster, bytes)
                     : unpack_frames(packed, packed_bytes, cluster, bytes);
}
