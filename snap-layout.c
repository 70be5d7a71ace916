/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-layout.h.
 */
#include <string.h>

#include "checked.h"
#include "snap-layout.h"

/* Zeros that are not longer are written where data is on both sides. */
#define SMALL_HOLE_BYTES (16 * 1024)

/* One of block, literal and neither, which is the stream. */
typedef struct LayoutPiece {
    uint64_t at;
    uint64_t bytes;
    const MigrationBlock *block;
    GByteArray *literal;
    uint64_t offset; /* in the block or in the stream */
} LayoutPiece;

struct SnapLayout {
    SnapPages *pages;
    const SnapSource *source;
    GArray *pieces; /* of LayoutPiece, going up */
};

static void clear_piece(void *opaque)
{
    LayoutPiece *piece = opaque;

    g_clear_pointer(&piece->literal, g_byte_array_unref);
}

SnapLayout *snap_layout_new(SnapPages *pages, const SnapSource *source)
{
    SnapLayout *layout = g_new0(SnapLayout, 1);

    layout->pages = pages;
    layout->source = source;
    layout->pieces = g_array_new(FALSE, FALSE, sizeof(LayoutPiece));
    g_array_set_clear_func(layout->pieces, clear_piece);
    return layout;
}

void snap_layout_free(SnapLayout *layout)
{
    if (layout) {
        g_array_unref(layout->pieces);
        g_free(layout);
    }
}

static void add_piece(SnapLayout *layout, LayoutPiece piece)
{
    g_assert(piece.at >= snap_layout_bytes(layout));
    g_array_append_val(layout->pieces, piece);
}

void snap_layout_add_block(SnapLayout *layout, uint64_t at,
                           const MigrationBlock *block, uint64_t offset,
                           uint64_t bytes)
{
    add_piece(layout, (LayoutPiece){
                          .at = at,
                          .bytes = bytes,
                          .block = block,
                          .offset = offset,
                      });
}

void snap_layout_add_stream(SnapLayout *layout, uint64_t at, uint64_t position,
                            uint64_t bytes)
{
    add_piece(layout, (LayoutPiece){
                          .at = at,
                          .bytes = bytes,
                          .offset = position,
                      });
}

void snap_layout_add_bytes(SnapLayout *layout, uint64_t at, GByteArray *bytes)
{
    add_piece(layout, (LayoutPiece){
                          .at = at,
                          .bytes = bytes->len,
                          .literal = bytes,
                      });
}

static uint64_t piece_end(const LayoutPiece *piece)
{
    return piece->at + piece->bytes;
}

uint64_t snap_layout_bytes(const SnapLayout *layout)
{
    guint count = layout->pieces->len;

    return count ? piece_end(
                       &g_array_index(layout->pieces, LayoutPiece, count - 1))
                 : 0;
}

/*
 * The next data of @piece at or behind *@start and before @limit, @most bytes
 * at most. To look no further than that would take long where RAM is a stream's
 * word for terabytes of nothing: so each step may be twice as long as the last.
 */
static bool find_in_piece(const SnapLayout *layout, const LayoutPiece *piece,
                          uint64_t *start, uint64_t *end, uint64_t limit,
                          uint64_t most)
{
    uint64_t step;

    limit = MIN(limit, piece_end(piece));
    *start = MAX(*start, piece->at);
    for (step = most; *start < limit; step = MAX(step, 2 * step)) {
        SnapContent content = SNAP_CONTENT_DATA;
        uint64_t bytes = MIN(limit - *start, step);

        if (piece->block) {
            bytes = snap_pages_extent(layout->pages, piece->block,
                                      piece->offset + (*start - piece->at),
                                      bytes, &content);
        }
        if (content == SNAP_CONTENT_DATA) {
            *end = *start + MIN(bytes, most);
            return true;
        }
        *start += bytes;
    }
    return false;
}

/* The same of the whole file; every hole counts. */
static bool find_exactly(const SnapLayout *layout, uint64_t *start,
                         uint64_t *end, uint64_t limit, uint64_t most)
{
    guint i;

    for (i = 0; i < layout->pieces->len; i++) {
        const LayoutPiece *piece =
            &g_array_index(layout->pieces, LayoutPiece, i);

        if (piece->at >= limit) {
            break;
        }
        if (piece_end(piece) > *start &&
            find_in_piece(layout, piece, start, end, limit, most)) {
            return true;
        }
    }
    return false;
}

bool snap_layout_find(const SnapLayout *layout, uint64_t *start, uint64_t *end,
                      uint64_t limit, uint64_t most)
{
    uint64_t next;
    uint64_t next_end;

    if (!find_exactly(layout, start, end, limit, most)) {
        return false;
    }
    limit = MIN(limit, *start + most);
    for (;;) {
        next = *end;
        if (!find_exactly(layout, &next, &next_end, limit, most) ||
            next - *end > SMALL_HOLE_BYTES) {
            return true;
        }
        *end = next_end;
    }
}

static bool coroutine_fn read_piece(const SnapLayout *layout,
                                    const LayoutPiece *piece, uint64_t position,
                                    uint8_t *data, size_t bytes, GError **errp)
{
    uint64_t offset = piece->offset + (position - piece->at);

    if (piece->literal) {
        memcpy(data, piece->literal->data + offset, bytes);
        return true;
    }
    if (piece->block) {
        return snap_pages_read(layout->pages, piece->block, offset, data, bytes,
                               errp);
    }
    return layout->source->fetch(layout->source->opaque, offset, data, bytes,
                                 errp);
}

bool coroutine_fn snap_layout_read(const SnapLayout *layout, uint64_t position,
                                   uint8_t *data, size_t bytes, GError **errp)
{
    uint64_t end = position + bytes;
    guint i;

    for (i = 0; i < layout->pieces->len; i++) {
        const LayoutPiece *piece =
            &g_array_index(layout->pieces, LayoutPiece, i);
        uint64_t from = MAX(position, piece->at);
        uint64_t to = MIN(end, piece_end(piece));

        if (from >= to) {
            continue;
        }
        memset(data, 0, from - position);
        if (!read_piece(layout, piece, from, data + (from - position),
                        to - from, errp)) {
            return false;
        }
        data += to - position;
        position = to;
        bytes = end - to;
    }
    memset(data, 0, bytes);
    return true;
}
