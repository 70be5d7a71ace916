/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Bounce buffers and read-modify-write.
 *
 * A request covers some alignment blocks whole, and at most two in part: the
 * edges, at its head and its tail. Writing a part of a block means to read it,
 * change it and write it back, and whoever else writes to that block meanwhile
 * is undone. Why that cannot happen:
 *
 * 1. Requests in flight do not overlap in bytes (block-file.h). So a block
 *    that one request covers whole is no other's, and two requests can share
 *    a block only if it is an edge of both.
 * 2. Requests that have an edge hold the file's `edges' mutex from the first
 *    read to the last write, so there is one of them at a time.
 * 3. By 1, aligned requests and the whole blocks of any other need no mutex.
 * 4. A read that shares a block with an edge sees its own bytes written back
 *    as they were.
 *
 * Long requests are done in pieces, so that the buffer has a bound.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include "bounce.h"
#include "checked.h"
#include "io-vector.h"

/* A multiple of every alignment; long enough to keep a device busy. */
#define BOUNCE_BUFFER_MAX ((uint64_t)1024 * 1024)

typedef struct Bounce {
    AioEngine *engine;
    size_t alignment;
    uint64_t start; /* of the request */
    uint64_t end;
    const struct iovec *iov;
    char *buffer;
} Bounce;

/* The part of the request that is under way, and the blocks around it. */
typedef struct BouncePiece {
    uint64_t start; /* bytes that are asked for */
    uint64_t end;
    uint64_t first; /* aligned: what is transferred */
    uint64_t last;
} BouncePiece;

static void bounce_clear(Bounce *bounce)
{
    free(bounce->buffer);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bounce, bounce_clear)

/* Returns 0 or a negative errno; to be cleared either way. */
static int bounce_init(Bounce *bounce, AioEngine *engine, size_t alignment,
                       int64_t offset, const struct iovec *iov, int iovcnt)
{
    uint64_t span;
    void *buffer;

    bounce->engine = engine;
    bounce->alignment = alignment;
    bounce->start = offset;
    bounce->end = offset + io_vector_bytes(iov, iovcnt);
    bounce->iov = iov;
    span = round_up(bounce->end, alignment) - round_down(offset, alignment);
    if (posix_memalign(&buffer, sysconf(_SC_PAGESIZE),
                       MIN(span, BOUNCE_BUFFER_MAX)) != 0) {
        return -ENOMEM;
    }
    bounce->buffer = buffer;
    return 0;
}

static BouncePiece bounce_piece_at(const Bounce *bounce, uint64_t start)
{
    BouncePiece piece = { .start = start };

    piece.first = round_down(start, bounce->alignment);
    piece.end = MIN(bounce->end, piece.first + BOUNCE_BUFFER_MAX);
    piece.last = round_up(piece.end, bounce->alignment);
    return piece;
}

static int coroutine_fn bounce_read_blocks(Bounce *bounce,
                                           const BouncePiece *piece,
                                           uint64_t first, uint64_t last)
{
    struct iovec iov = {
        .iov_base = bounce->buffer + (first - piece->first),
        .iov_len = last - first,
    };

    return aio_engine_preadv(bounce->engine, bounce->alignment, first, &iov, 1);
}

static int coroutine_fn bounce_write_blocks(Bounce *bounce,
                                            const BouncePiece *piece)
{
    struct iovec iov = {
        .iov_base = bounce->buffer,
        .iov_len = piece->last - piece->first,
    };

    return aio_engine_pwritev(bounce->engine, bounce->alignment, piece->first,
                              &iov, 1);
}

int coroutine_fn bounce_preadv(AioEngine *engine, size_t alignment,
                               int64_t offset, const struct iovec *iov,
                               int iovcnt)
{
    g_auto(Bounce) bounce = { 0 };
    BouncePiece piece;
    int ret;

    ret = bounce_init(&bounce, engine, alignment, offset, iov, iovcnt);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t at = bounce.start; at < bounce.end; at = piece.end) {
        piece = bounce_piece_at(&bounce, at);
        ret = bounce_read_blocks(&bounce, &piece, piece.first, piece.last);
        if (ret < 0) {
            return ret;
        }
        io_vector_copy_to(iov, piece.start - bounce.start,
                          bounce.buffer + (piece.start - piece.first),
                          piece.end - piece.start);
    }
    return 0;
}

/* Read the blocks that @piece covers in part. */
static int coroutine_fn bounce_read_edges(Bounce *bounce,
                                          const BouncePiece *piece)
{
    uint64_t tail = piece->last - bounce->alignment;
    bool has_head = piece->start != piece->first;
    bool has_tail = piece->end != piece->last;
    int ret;

    if (has_head) {
        ret = bounce_read_blocks(bounce, piece, piece->first,
                                 piece->first + bounce->alignment);
        if (ret < 0 || tail == piece->first) {
            return ret;
        }
    }
    if (has_tail) {
        return bounce_read_blocks(bounce, piece, tail, piece->last);
    }
    return 0;
}

static int coroutine_fn bounce_write_pieces(Bounce *bounce)
{
    BouncePiece piece;
    int ret;

    for (uint64_t at = bounce->start; at < bounce->end; at = piece.end) {
        piece = bounce_piece_at(bounce, at);
        ret = bounce_read_edges(bounce, &piece);
        if (ret < 0) {
            return ret;
        }
        io_vector_copy_from(bounce->iov, piece.start - bounce->start,
                            bounce->buffer + (piece.start - piece.first),
                            piece.end - piece.start);
        ret = bounce_write_blocks(bounce, &piece);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn bounce_pwritev(AioEngine *engine, size_t alignment,
                                CoroutineMutex *edges, int64_t offset,
                                const struct iovec *iov, int iovcnt)
{
    g_auto(Bounce) bounce = { 0 };
    bool has_edges;
    int ret;

    ret = bounce_init(&bounce, engine, alignment, offset, iov, iovcnt);
    if (ret < 0) {
        return ret;
    }
    has_edges = !is_aligned(bounce.start | bounce.end, alignment);
    if (has_edges) {
        coroutine_mutex_lock(edges);
    }
    ret = bounce_write_pieces(&bounce);
    if (has_edges) {
        coroutine_mutex_unlock(edges);
    }
    return ret;
}
