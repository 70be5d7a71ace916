/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The way round for a stream whose image is locked when it begins: into a spool
 * beside the image, and from there into the image at the end.
 */
#ifndef SNAP_DETOUR_H
#define SNAP_DETOUR_H

#include "interrupt.h"
#include "qcow2-vmstate.h"
#include "snap-options.h"

typedef struct SnapDetour SnapDetour;

/*
 * Begin a detour to options->image, which somebody else has. What will
 * certainly be refused later is refused here. Yields. Returns NULL and fills
 * @errp.
 */
SnapDetour *coroutine_fn snap_detour_new(const SnapOptions *options,
                                         GError **errp);

/* Make room for the stream up to @end, twice if need be; see snap-spool.h. */
bool coroutine_fn snap_detour_reserve(SnapDetour *detour, uint64_t end,
                                      GError **errp);

/* Store a piece of the stream, multiples of SNAP_SPOOL_UNIT. Many at once. */
bool coroutine_fn snap_detour_store(SnapDetour *detour, uint64_t position,
                                    const uint8_t *data, size_t bytes,
                                    GError **errp);

/* The bulk of the stream is there. Yields. Fills @errp. */
bool coroutine_fn snap_detour_make_stable(SnapDetour *detour, GError **errp);

/*
 * The image is ours now, and before it takes the stream of @bytes it will take
 * space for metadata: give back what was taken for that. Yields.
 */
void coroutine_fn snap_detour_arrive(SnapDetour *detour, uint64_t bytes);

/*
 * Move the stream of @bytes in; @interrupt stops it (INTERRUPTED). Yields.
 * Fills @errp.
 */
bool coroutine_fn snap_detour_move(SnapDetour *detour, uint64_t bytes,
                                   Qcow2SnapshotWriter *writer,
                                   const Interrupt *interrupt, GError **errp);

/*
 * The stream of @bytes is complete and could not be put into the image, for
 * the reason in *@errp: let it stay in a file, and add to the text which one
 * that is and how to go on. Returns whether it stays. Yields.
 */
bool coroutine_fn snap_detour_keep(SnapDetour *detour, uint64_t bytes,
                                   GError **errp);

/* A stream that was not kept is gone. NULL is allowed. */
void snap_detour_free(SnapDetour *detour);

#endif /* SNAP_DETOUR_H */
