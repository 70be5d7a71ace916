/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Streams with pages of every kind, written in any order and again and again,
 * beside what the RAM is in the end; and the stream in a memory file, to be
 * read from.
 */
#ifndef RAM_MODEL_H
#define RAM_MODEL_H

#include "memory-file.h"
#include "snap-pages.h"
#include "stream-builder.h"

#define RAM_MODEL_BLOCKS 2

typedef struct RamModel {
    uint32_t page_size;
    uint32_t pages; /* of each block */
    uint8_t *ram[RAM_MODEL_BLOCKS];
    uint8_t *present[RAM_MODEL_BLOCKS]; /* of each page: is it in the stream? */
    uint8_t *zero[RAM_MODEL_BLOCKS];    /* the last record says so */
    StreamBuilder *builder;
    int current; /* block of the last record; -1: none */
    GRand *random;
    bool holes; /* it is an error to fetch pages that are not stored: mapped */

    /* After ram_model_end(). */
    StreamIndex *index;
    BlockFile *file;
    SnapSource source;
    uint64_t mapped_pages[RAM_MODEL_BLOCKS]; /* where they are in the stream */
} RamModel;

/* Of so many bytes per page; begins a stream with blocks `pc.ram' and `b'. */
RamModel *ram_model_new(uint32_t page_size, uint32_t pages, uint32_t seed);
void ram_model_free(RamModel *model);

/* The same with mapped RAM, and all pages; nothing more can be added. */
#define RAM_MODEL_ALIGNMENT 8192
RamModel *ram_model_new_mapped(uint32_t page_size, uint32_t pages,
                               uint32_t seed);

/* The stream goes on with a record of that kind. */
void ram_model_add(RamModel *model, MigrationPageKind kind, unsigned block,
                   uint32_t page);

/* With @count records: of all kinds, or none that tells a difference. */
void ram_model_add_any(RamModel *model, unsigned count, bool xbzrle);

/* It is complete: index it and put it into a memory file. */
void ram_model_end(RamModel *model);

const MigrationBlock *ram_model_block(const RamModel *model, unsigned block);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(RamModel, ram_model_free)

#endif /* RAM_MODEL_H */
