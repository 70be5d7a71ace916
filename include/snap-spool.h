/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A spool: where a stream waits until the image that it is for is free. It is
 * a temporary file, so that nothing is left of a save that dies; but a stream
 * that is complete and finds no image can be kept under a name.
 *
 * Whatever will be needed is taken ahead: the room for the stream in the spool
 * and, as long as it is not known that the stream can be cloned, the room for a
 * second copy in the image's file system, in a temporary file of its own that
 * gives way when the image needs it.
 */
#ifndef SNAP_SPOOL_H
#define SNAP_SPOOL_H

#include "host-file.h"
#include "snap-buffers.h"

typedef struct SnapSpool SnapSpool;

/* Pieces that are stored are multiples of it. Bytes. */
#define SNAP_SPOOL_UNIT 4096

typedef struct SnapSpoolOptions {
    const char *directory; /* of the spool */
    /*
     * Where the image grows; NULL: it does not, or not there. Room in it is
     * promised where that is possible.
     */
    const char *room_directory;
    uint64_t clone_unit; /* what offsets in the image are multiples of */
    HostFileCache cache;
    HostFileAio aio;
    Trace *trace;
} SnapSpoolOptions;

/*
 * Make a spool. Yields. Returns NULL and fills @errp (IO, NOT_FOUND, NO_SPACE).
 */
SnapSpool *coroutine_fn snap_spool_new(const SnapSpoolOptions *options,
                                       GError **errp);

/* Can an image have the stream without a copy? As far as was tried. */
bool snap_spool_clones(const SnapSpool *spool);

/*
 * Make room for the stream up to @end and somewhat beyond, so that the rest
 * of a source that is about to end cannot fail any more; and for all that the
 * image will need then, which is @image_bytes. Called with rising numbers.
 * Yields. Fills @errp (NO_SPACE, IO).
 */
bool coroutine_fn snap_spool_reserve(SnapSpool *spool, uint64_t end,
                                     uint64_t image_bytes, GError **errp);

/*
 * Store @bytes at @position of the stream, both multiples of SNAP_SPOOL_UNIT.
 * Many at once. Yields. Fills @errp.
 */
bool coroutine_fn snap_spool_store(SnapSpool *spool, uint64_t position,
                                   const uint8_t *data, size_t bytes,
                                   GError **errp);

/* Make stable what has been stored. Yields. Fills @errp. */
bool coroutine_fn snap_spool_flush(SnapSpool *spool, GError **errp);

/*
 * Give back what was taken for the image, except for @bytes of the stream that
 * it takes later. Called with falling numbers. Yields.
 */
void coroutine_fn snap_spool_free_room(SnapSpool *spool, uint64_t bytes);

/* Where a stream goes; see snap_spool_move(). */
typedef struct SnapSpoolSink {
    /* As in SnapInlet. */
    bool coroutine_fn (*reserve)(void *opaque, uint64_t end, GError **errp);
    bool coroutine_fn (*store)(void *opaque, uint64_t position,
                               const uint8_t *data, size_t bytes,
                               GError **errp);
    /*
     * Take @bytes at @position from the same position of @source, without
     * copying them. UNSUPPORTED: they must be stored.
     */
    bool coroutine_fn (*clone)(void *opaque, uint64_t position,
                               BlockFile *source, uint64_t bytes,
                               GError **errp);
    /* Shall it be given up? Then fills @errp. */
    bool (*is_cancelled)(void *opaque, GError **errp);
    size_t unit; /* as in SnapInlet; at most SNAP_SPOOL_UNIT */
    void *opaque;
} SnapSpoolSink;

/*
 * Move the first @bytes of the stream into @sink: cloned where that is
 * possible, otherwise copied through @pool. They stay in the spool, too.
 * Yields. Fills @errp with the first failure, when nothing is in flight any
 * more.
 */
bool coroutine_fn snap_spool_move(SnapSpool *spool, AioBufferPool *pool,
                                  uint64_t bytes, const SnapSpoolSink *sink,
                                  GError **errp);

/*
 * Let the first @bytes of the stream stay in a file called @name or
 * nearly so (temporary-file.h). Yields. Returns its path, to be freed with
 * g_free(), or NULL and @errp.
 */
char *coroutine_fn snap_spool_keep(SnapSpool *spool, uint64_t bytes,
                                   const char *name, GError **errp);

/* What was not kept is gone. Nothing may be in flight. NULL is allowed. */
void snap_spool_free(SnapSpool *spool);

#endif /* SNAP_SPOOL_H */
