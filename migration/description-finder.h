/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Finds the device description, the one thing in the opaque part of a stream
 * that is recognisable from any place: an end marker, a type byte, a length,
 * and as many bytes of JSON, which have no NUL among them.
 */
#ifndef DESCRIPTION_FINDER_H
#define DESCRIPTION_FINDER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * QEMU writes about 100 KB, and 15 KB more for each further CPU. Larger ones
 * are refused: the text is held in memory.
 */
#define DESCRIPTION_MAX_BYTES (64 * 1024 * 1024)

/* End marker, type byte and length, in front of the text. */
#define DESCRIPTION_HEADER_BYTES 6

/* Bytes of a stream that are held: those of [base, end) */
typedef struct StreamSpan {
    const uint8_t *data;
    uint64_t base;
    uint64_t end;
} StreamSpan;

/* All members are stream offsets. */
typedef struct DescriptionFinder {
    uint64_t next;    /* no description starts before it, but the open one */
    bool open;        /* something that may be a description has begun */
    uint64_t start;   /* of the open one: its end marker */
    uint64_t text;    /* of the open one: its JSON */
    uint64_t end;     /* of the open one */
    uint64_t checked; /* up to here the open one has no NUL */
} DescriptionFinder;

typedef enum FinderEvent {
    FINDER_MORE,  /* all of the span has been seen */
    FINDER_FOUND, /* the open one is complete */
    FINDER_FULL,  /* none is open at the limit */
} FinderEvent;

/*
 * Go on to the first event in @span. *offset is how much of the stream had to
 * be seen for it. FULL happens once @limit, or more for the sake of one that
 * turned out wrong, has been seen. After FOUND, take it or refute it.
 */
FinderEvent description_finder_advance(DescriptionFinder *finder,
                                       const StreamSpan *span, uint64_t limit,
                                       uint64_t *offset);

/* The open one is none: search on behind its start. */
void description_finder_refute(DescriptionFinder *finder);

/* The text of the open one, which is complete. */
static inline const char *description_finder_text(
    const DescriptionFinder *finder, const StreamSpan *span)
{
    return (const char *)span->data + (finder->text - span->base);
}

#endif /* DESCRIPTION_FINDER_H */
