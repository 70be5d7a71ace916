/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where in a migration stream the last content of each page of RAM is. A guest
 * that ran while it was saved has written many pages more than once; the last
 * one counts. Neighbours in the block and in the stream are one run, so that
 * most guests need some thousands of them.
 */
#ifndef PAGE_MAP_H
#define PAGE_MAP_H

#include "migration-reader.h"

typedef struct PageMap PageMap;

/* Pages of one block that follow one another in the block as in the stream. */
typedef struct PageRun {
    uint64_t offset; /* but FILL: of the first one's in the stream, bytes */
    uint32_t first;  /* page of its block */
    uint32_t count;  /* pages, at least 1; packed: 1 */
    uint32_t bytes;  /* but FILL: that the stream holds of each */
    uint8_t kind;    /* MigrationPageKind */
    uint8_t fill;    /* FILL: the byte */
} PageRun;

/*
 * Bytes of the stream from the content of one page to that of the next. Each has
 * the head of a record in front, but where RAM is mapped. What is filled has no
 * place: 0.
 */
static inline uint64_t page_run_stride(const PageRun *run)
{
    switch (run->kind) {
    case MIGRATION_PAGE_FILL:
        return 0;
    case MIGRATION_PAGE_MAPPED:
        return run->bytes;
    default:
        return sizeof(uint64_t) + run->bytes;
    }
}

/* May there be many whole pages in one such run? */
static inline bool page_run_is_plain(const PageRun *run)
{
    return run->kind == MIGRATION_PAGE_DATA ||
           run->kind == MIGRATION_PAGE_MAPPED;
}

/* Pages of a block by what the stream holds of them; each counts once. */
typedef struct PageCounts {
    uint64_t data;   /* whole, packed, or how they differ */
    uint64_t zero;   /* filled with 0 */
    uint64_t filled; /* filled with another byte */
    uint64_t absent; /* not in the stream */
    /* Of those with data: how they differ (XBZRLE), and packed ones. */
    uint64_t xbzrle;
    uint64_t deflated;
} PageCounts;

PageMap *page_map_new(void);
void page_map_free(PageMap *map);

/*
 * Take what a reader tells; it replaces what was told before of these pages.
 * @opaque is a PageMap. When there are more runs than are kept, all is
 * forgotten.
 */
void page_map_add(const MigrationPages *pages, void *opaque);

/*
 * All has been told; @page_size is what the reader knows in the end, in bytes.
 * False: it is 0 while there are pages, or there were too many runs; nothing
 * may be asked then.
 */
bool page_map_finish(PageMap *map, uint32_t page_size);

/* @bytes of the stream that came before all pages were taken out of it. */
void page_map_take_out(PageMap *map, uint64_t bytes);

/*
 * The runs of @block by page, none with a page of another one: of PageRun,
 * owned by the map. NULL: no page of it is in the stream.
 */
const GArray *page_map_runs(const PageMap *map, const MigrationBlock *block);

PageCounts page_map_count(const PageMap *map, const MigrationBlock *block);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageMap, page_map_free)

#endif /* PAGE_MAP_H */
