/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The search goes by the opening brace, which is rarer in device state than
 * zeros are. Events depend on the bytes up to a certain offset only, never on
 * how far the span reaches beyond it.
 */
#include <string.h>
#include <glib.h>

#include "bytes.h"
#include "description-finder.h"
#include "reader-internal.h"

/* The text begins with a brace and cannot be shorter than "{}". */
#define DESCRIPTION_MIN_BYTES 2

/* Open the first possible description that starts before @stop - 6. */
static bool finder_open_next(DescriptionFinder *finder, const StreamSpan *span,
                             uint64_t stop)
{
    uint64_t at = finder->next + DESCRIPTION_HEADER_BYTES;

    while (at < stop) {
        const uint8_t *brace =
            memchr(span->data + (at - span->base), '{', stop - at);
        const uint8_t *header;
        uint32_t bytes;

        if (brace == NULL) {
            break;
        }
        header = brace - DESCRIPTION_HEADER_BYTES;
        bytes = load_be32(header + 2);
        at = span->base + (brace - span->data);
        if (header[0] == STREAM_EOF && header[1] == STREAM_DESCRIPTION &&
            bytes >= DESCRIPTION_MIN_BYTES && bytes <= DESCRIPTION_MAX_BYTES) {
            finder->open = true;
            finder->start = at - DESCRIPTION_HEADER_BYTES;
            finder->text = at;
            finder->end = at + bytes;
            finder->checked = at;
            return true;
        }
        at++;
    }
    finder->next = MAX(finder->next, stop - DESCRIPTION_HEADER_BYTES);
    return false;
}

/*
 * Check the open one as far as @span goes. Returns false when it is none; then
 * *offset is behind the byte that shows it.
 */
static bool finder_check_text(DescriptionFinder *finder, const StreamSpan *span,
                              uint64_t *offset)
{
    uint64_t stop = MIN(span->end, finder->end);
    const uint8_t *data = span->data + (finder->checked - span->base);
    const uint8_t *nul = memchr(data, '\0', stop - finder->checked);

    if (nul != NULL) {
        *offset = finder->checked + (nul - data) + 1;
        return false;
    }
    finder->checked = *offset = stop;
    return stop < finder->end || span->data[stop - 1 - span->base] == '}';
}

void description_finder_refute(DescriptionFinder *finder)
{
    g_assert(finder->open);
    finder->open = false;
    finder->next = finder->start + 1;
}

FinderEvent description_finder_advance(DescriptionFinder *finder,
                                       const StreamSpan *span, uint64_t limit,
                                       uint64_t *offset)
{
    for (;;) {
        if (finder->open) {
            if (finder_check_text(finder, span, offset)) {
                return finder->checked == finder->end ? FINDER_FOUND
                                                      : FINDER_MORE;
            }
            /* The bytes up to there have been seen, whatever the limit. */
            limit = MAX(limit, *offset);
            description_finder_refute(finder);
        }
        *offset = MIN(span->end, limit);
        if (!finder_open_next(finder, span, *offset)) {
            return *offset == limit ? FINDER_FULL : FINDER_MORE;
        }
    }
}
