/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The bitmap that mapped RAM has for each block: a bit for each page, 1 if the
 * page is stored. It is the only thing in a stream whose byte order is that of
 * the host it was written on, and nothing in the stream tells which that was: a
 * machine type does not, since any host emulates any machine. QEMU reads it in
 * the order of the host that it loads on, and so does this: what is read here is
 * what a QEMU beside us would read. On little-endian hosts, which are nearly all
 * of them, page i is bit i % 8 of byte i / 8.
 *
 * A bitmap of the other order mostly gives itself away, because blocks of few
 * pages then seem to have some behind their ends.
 */
#ifndef MAPPED_BITMAP_H
#define MAPPED_BITMAP_H

#include <stdint.h>
#include <string.h>

#include "checked.h"

/* It consists of words, the last one padded with zeros. */
#define MAPPED_WORD_BYTES sizeof(uint64_t)
#define MAPPED_WORD_PAGES 64u

/* The lowest bit is the first page's. @bitmap: at any alignment. */
static inline uint64_t mapped_bitmap_word(const uint8_t *bitmap)
{
    uint64_t word;

    memcpy(&word, bitmap, sizeof(word));
    return word;
}

/* Of so many pages. */
static inline uint64_t mapped_bitmap_bytes(uint64_t pages)
{
    return div_round_up(pages, MAPPED_WORD_PAGES) * MAPPED_WORD_BYTES;
}

#endif /* MAPPED_BITMAP_H */
