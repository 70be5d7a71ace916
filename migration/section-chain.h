/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Finds the ends of sections that have no length: a chain of sections, each
 * with a footer of its own id, each followed by something that can follow a
 * section, up to something that is known.
 */
#ifndef SECTION_CHAIN_H
#define SECTION_CHAIN_H

#include "description-finder.h"
#include "reader-internal.h"

/* A section of the chain. The last one is the one whose end is searched. */
typedef struct ChainSection {
    uint8_t type;
    uint32_t id;
    char *name; /* PART, END: as registered */
    uint32_t instance;
    uint32_t version;
    uint64_t header;  /* stream offset */
    uint64_t payload; /* stream offset */
    uint64_t scan;    /* no end before this offset is left to be tried */
    bool noted;       /* the reader knows of it already */
} ChainSection;

typedef enum ChainResult {
    CHAIN_MORE,     /* nothing is decided, more bytes are needed */
    CHAIN_KNOWN,    /* the chain reaches a section or command that has a length;
                       chain->next is where */
    CHAIN_END,      /* the chain reaches an end marker, at chain->next */
    CHAIN_NONE,     /* there is no chain */
    CHAIN_GIVEN_UP, /* too many ways to try */
} ChainResult;

typedef struct SectionChain {
    const MigrationReader *reader;
    GArray *sections; /* of ChainSection */
    unsigned devices; /* FULL sections among them that are not noted */
    bool at_next;     /* what is at @next has to be looked at */
    uint64_t next;    /* stream offset behind the last footer found */

    /*
     * Live (false): bytes are still to come, so a section whose end is not
     * found waits; only the last one moves on when its end turns out wrong.
     * Exhaustive (true): the span is all there is, every way is tried.
     */
    bool exhaustive;
    uint64_t end;              /* exhaustive: the end marker to reach, or 0 */
    const GPtrArray *expected; /* exhaustive: the devices to meet, or NULL */
    GHashTable *visited;       /* exhaustive: places that lead nowhere */
    uint64_t *work;            /* exhaustive: spent, over all searches */
} SectionChain;

/* A live chain whose first section's header is at @offset. */
SectionChain *section_chain_new(const MigrationReader *reader, uint64_t offset);

/* A live chain in the middle of @first's payload. Takes over @first's name. */
SectionChain *section_chain_new_within(const MigrationReader *reader,
                                       ChainSection first);

/*
 * An exhaustive one that starts where @live did: with the header at @start, or,
 * if @live began @within a section, with the search for its end from @start.
 */
SectionChain *section_chain_new_exhaustive(const SectionChain *live,
                                           uint64_t start, bool within,
                                           uint64_t *work);

void section_chain_free(SectionChain *chain);

/* Search on in @span. */
ChainResult section_chain_run(SectionChain *chain, const StreamSpan *span);

/* What was found at chain->next is wrong: another end is to be searched. */
void section_chain_reject(SectionChain *chain);

/* An array of ChainSection, which it owns. */
GArray *chain_sections_new(void);

/*
 * Move all sections but the last to the end of @settled, and forget all other
 * ways.
 */
void section_chain_settle(SectionChain *chain, GArray *settled);

ChainSection *section_chain_last(const SectionChain *chain);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SectionChain, section_chain_free)

#endif /* SECTION_CHAIN_H */
