/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The open region of opaque-sections.c, for the files that share it. The
 * design note is there.
 */
#ifndef OPAQUE_REGION_H
#define OPAQUE_REGION_H

#include "section-chain.h"

struct OpaqueRegion {
    GByteArray *bytes;
    uint64_t base; /* stream offset of bytes[0] */

    SectionChain *chain; /* live */
    uint64_t start;      /* where it began, or where it was settled */
    bool within;         /* there it is inside a section, not at a header */
    uint64_t opened;     /* offset of the first header */
    GArray *settled;     /* of ChainSection: they come before the chain */
    guint clocked;       /* sections of the chain searched for the clock */

    bool live_end;  /* the chain is at what may be the end marker */
    bool described; /* behind that begins what may be a description */
    uint64_t zeros; /* from the end marker to this offset are only zeros */

    bool trimmed; /* the region has been full: bytes are gone */
    bool padding; /* and it was full of zeros: nothing else may follow */

    DescriptionFinder finder;
    uint64_t work; /* of exhaustive searches */
};

/* The bytes of the region up to @end. */
static inline StreamSpan region_span(const OpaqueRegion *region, uint64_t end)
{
    return (StreamSpan){ .data = region->bytes->data,
                         .base = region->base,
                         .end = end };
}

/* The region ends at chain->next, where something has a length. Frees it. */
void region_close(MigrationReader *reader, const SectionChain *chain);

/* The sections of @chain are certain: let the reader take note of them. */
void region_note_sections(MigrationReader *reader, const SectionChain *chain);

/*
 * They are all there is before chain->next, with those that had been settled:
 * list them. The stream may have failed then.
 */
void region_list_sections(MigrationReader *reader, const SectionChain *chain);

/* Read the clock out of a `timer' section with this payload, if it is kept. */
void region_note_clock(MigrationReader *reader, uint64_t payload,
                       uint32_t version);

/*
 * Search all ways for a chain to the end marker at @end that meets @expected
 * (any, if NULL), or to a known section. @end 0: to a known section only. On
 * KNOWN and END sets *found, which the caller frees.
 */
ChainResult region_search(OpaqueRegion *region, const StreamSpan *span,
                          uint64_t end, const GPtrArray *expected,
                          SectionChain **found);

/*
 * opaque-description.c: the finder has a description that is all there. Returns
 * false when it is not the one that ends the stream. Otherwise the stream is
 * complete or has failed, or the region is closed.
 */
bool region_resolve_description(MigrationReader *reader);

#endif /* OPAQUE_REGION_H */
