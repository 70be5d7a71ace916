/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The same block in two streams, gone through side by side: which pages differ
 * as far as the streams' runs tell, and what has to be read to know the rest.
 * A page that is absent from a stream counts as zeros, for that is what a fresh
 * guest finds there.
 */
#ifndef PAGE_PIECES_H
#define PAGE_PIECES_H

#include "page-map.h"

/* What two sides hold of a page, compared. */
typedef enum PageVerdict {
    PAGE_ZERO,    /* zeros, both */
    PAGE_SAME,    /* the same, which is not zeros */
    PAGE_CHANGED, /* neither the same nor zeros */
    PAGE_ONLY_A,  /* the second one holds zeros */
    PAGE_ONLY_B,  /* the first one does */
} PageVerdict;

#define PAGE_VERDICTS (PAGE_ONLY_B + 1)

static inline bool page_verdict_differs(PageVerdict verdict)
{
    return verdict >= PAGE_CHANGED;
}

/* Pages that follow one another, of which the same is known. */
typedef struct PagePiece {
    uint64_t first;
    uint64_t count;      /* at least 1 */
    bool known;          /* else they have to be read, on both sides */
    PageVerdict verdict; /* if that is known */
} PagePiece;

/* How far two lists of runs have been gone through. */
typedef struct PagePieces {
    const GArray *runs[2];
    guint at[2];
    uint64_t page; /* all before it is done */
} PagePieces;

/*
 * Begin with the runs of either side, as page_map_runs() has them; both must
 * outlive what is returned, which needs not be freed and may be copied.
 */
PagePieces page_pieces_begin(const GArray *a, const GArray *b);

/*
 * The next piece, going up; between pieces, both sides are absent. False: there
 * are no more.
 */
bool page_pieces_next(PagePieces *pieces, PagePiece *piece);

/*
 * The same, but what has to be read comes in pieces of at most @most pages, and
 * includes up to @gap pages on end that need not be read between two that do:
 * a request more would cost more than they do.
 */
bool page_pieces_next_read(PagePieces *pieces, uint64_t most, uint64_t gap,
                           PagePiece *piece);

/* Of two pages of @page_size bytes, whose content is known now. */
PageVerdict page_verdict(const uint8_t *a, const uint8_t *b, size_t page_size);

#endif /* PAGE_PIECES_H */
