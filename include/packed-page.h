/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The two ways in which a source can pack a page of RAM (capabilities
 * `compress' and `xbzrle'), unpacked in memory.
 */
#ifndef PACKED_PAGE_H
#define PACKED_PAGE_H

#include <stddef.h>
#include <stdint.h>

/* What deflate can add to a page at most, generously. Bytes. */
#define PACKED_PAGE_OVERHEAD 1024

/*
 * DEFLATED: let @page be what comes out of @packed. Returns 0, -ENOMEM, or
 * -EINVAL when that is not exactly a page; @page may be anything then.
 */
int packed_page_inflate(const uint8_t *packed, size_t packed_bytes,
                        uint8_t *page, size_t page_size);

/*
 * XBZRLE: change @page, which is what it was before this record, as @packed
 * says. Returns 0, or -EINVAL when that is no such thing; @page may be half
 * changed then.
 */
int packed_page_change(const uint8_t *packed, size_t packed_bytes,
                       uint8_t *page, size_t page_size);

#endif /* PACKED_PAGE_H */
