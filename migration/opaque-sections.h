/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The part of a stream that carries no lengths: device sections, and iterable
 * sections of unknown format. While a region is open it takes all input.
 */
#ifndef OPAQUE_SECTIONS_H
#define OPAQUE_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration-reader.h"

typedef struct OpaqueRegion OpaqueRegion;

void opaque_region_free(OpaqueRegion *region);

/*
 * Take some of @data, and return how much. Afterwards the region may be gone,
 * and bytes that were taken may have been put back, or the stream may be
 * complete or have failed.
 */
size_t opaque_region_feed(MigrationReader *reader, const uint8_t *data,
                          size_t bytes);

/*
 * The input has ended. Returns true when the region turned out to end before
 * it, and what follows is to be parsed. Otherwise the stream may be complete
 * now.
 */
bool opaque_region_finish(MigrationReader *reader);

/* Would input that ends with the bytes fed so far be complete? */
bool opaque_region_may_end(const MigrationReader *reader);

/* Where the stream stands, for messages: "in section 'x' (id 1)". To free. */
char *opaque_region_describe(const MigrationReader *reader);

#endif /* OPAQUE_SECTIONS_H */
