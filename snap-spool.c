/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The spool of a stream, and the room that its image will need.
 *
 * Both are temporary files in which space is taken ahead. The one for the room
 * never holds anything; it is cut as the image grows, so that together they
 * need no more than was taken. Somebody else may be faster and snatch what was
 * given back: then the stream can still be kept in the spool.
 */
#include <errno.h>
#include <inttypes.h>

#include "checked.h"
#include "snap-error.h"
#include "snap-spool.h"
#include "temporary-file.h"

/* As large as the steps in which an image takes its space. Bytes. */
#define STEP_BYTES (64ULL * 1024 * 1024)

/*
 * More than a source sends after its RAM, and than two buffers of the ring
 * hold, since room is asked for when a buffer is full. Bytes.
 */
#define AHEAD_BYTES (4ULL * 1024 * 1024)

/*
 * Clones are made in pieces: a signal shall not wait for all. Each is a
 * multiple of the largest cluster, which is one of any block. Bytes.
 */
#define CLONE_BYTES (32ULL * 1024 * 1024)
#define CLONE_UNIT  (2ULL * 1024 * 1024)

typedef struct SpoolFile {
    TemporaryFile *temporary;
    BlockFile *file; /* NULL: there is none */
    uint64_t taken;  /* bytes, from the start */
    bool no_promise; /* the file system cannot take space ahead */
} SpoolFile;

struct SnapSpool {
    /* Constant after _new(). */
    bool clones;
    Trace *trace;

    SpoolFile stream;
    SpoolFile room;
};

static void spool_file_close(SpoolFile *file)
{
    g_clear_pointer(&file->file, block_file_close);
    g_clear_pointer(&file->temporary, temporary_file_free);
}

static bool spool_file_open(SpoolFile *file, const char *directory,
                            const SnapSpoolOptions *options, GError **errp)
{
    HostFileOptions file_options = {
        .writable = true,
        .cache = options->cache,
        .aio = options->aio,
        .trace = options->trace,
    };

    file->temporary = temporary_file_new(directory, errp);
    if (!file->temporary) {
        return false;
    }
    file->file = host_file_open(temporary_file_path(file->temporary),
                                &file_options, errp);
    if (!file->file) {
        g_prefix_error(errp, "temporary file in '%s': ", directory);
        spool_file_close(file);
        return false;
    }
    return true;
}

/* Take space up to @end. Yields. Returns 0 or a negative errno. */
static int coroutine_fn spool_file_take(SpoolFile *file, uint64_t end)
{
    uint64_t most = round_up(end, STEP_BYTES);
    int ret;

    if (!file->file || file->no_promise || end <= file->taken) {
        return 0;
    }
    ret = block_file_allocate(file->file, file->taken, most - file->taken);
    if (ret == -ENOTSUP) {
        file->no_promise = true;
        return 0;
    }
    if (ret < 0 && most > end) {
        /*
         * What is asked for may still fit where a whole step does not. Some
         * file systems (ext4) keep what they got before there was no more.
         */
        (void)block_file_truncate(file->file, file->taken);
        most = end;
        ret = block_file_allocate(file->file, file->taken, most - file->taken);
    }
    if (ret == 0) {
        file->taken = most;
    }
    return ret;
}

/*
 * Does the image's file system clone from the spool's? The room is a file as
 * the image will be one, and pieces lie there as they may lie in the image.
 */
static bool coroutine_fn try_clone(SnapSpool *spool, uint64_t unit)
{
    void *piece = block_file_alloc_buffer(unit);
    bool clones;

    if (!piece || !spool->room.file) {
        free(piece);
        return false;
    }
    memset(piece, 1, unit);
    clones = block_file_pwrite(spool->stream.file, 0, piece, unit) == 0 &&
             block_file_clone(spool->room.file, unit, spool->stream.file, 0,
                              unit) == 0 &&
             block_file_truncate(spool->room.file, 0) == 0;
    free(piece);
    return clones;
}

SnapSpool *coroutine_fn snap_spool_new(const SnapSpoolOptions *options,
                                       GError **errp)
{
    SnapSpool *spool = g_new0(SnapSpool, 1);
    g_autoptr(GError) error = NULL;

    spool->trace = options->trace;
    if (!spool_file_open(&spool->stream, options->directory, options, errp)) {
        snap_spool_free(spool);
        return NULL;
    }
    /* A promise that cannot be made is no reason to refuse. */
    if (options->room_directory &&
        spool_file_open(&spool->room, options->room_directory, options,
                        &error)) {
        spool->clones = try_clone(spool, options->clone_unit);
    }
    trace_event(spool->trace, "snap_spool_open", "clones=%s room='%s'",
                spool->clones ? "yes" : "no",
                error ? error->message : "can be taken");
    return spool;
}

bool snap_spool_clones(const SnapSpool *spool)
{
    return spool->clones;
}

bool coroutine_fn snap_spool_reserve(SnapSpool *spool, uint64_t end,
                                     uint64_t image_bytes, GError **errp)
{
    uint64_t wanted = end + AHEAD_BYTES;
    uint64_t room = image_bytes + AHEAD_BYTES;
    int ret;

    if (spool->clones) {
        /* Space for a piece is taken by the image before it is cloned. */
        room = image_bytes - end + CLONE_BYTES;
    }
    ret = spool_file_take(&spool->stream, wanted);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "no room for %" PRIu64 " bytes of the stream in "
                             "a temporary file",
                             wanted);
        return false;
    }
    ret = spool_file_take(&spool->room, room);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "no room for %" PRIu64 " more bytes of the image "
                             "beside the temporary file",
                             room);
        return false;
    }
    return true;
}

bool coroutine_fn snap_spool_store(SnapSpool *spool, uint64_t position,
                                   const uint8_t *data, size_t bytes,
                                   GError **errp)
{
    int ret = block_file_pwrite(spool->stream.file, position, data, bytes);

    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot write %zu bytes at 0x%" PRIx64
                             " of the temporary file",
                             bytes, position);
    }
    return ret == 0;
}

bool coroutine_fn snap_spool_flush(SnapSpool *spool, GError **errp)
{
    int ret = block_file_flush(spool->stream.file);

    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot make the temporary file stable");
    }
    return ret == 0;
}

void coroutine_fn snap_spool_free_room(SnapSpool *spool, uint64_t bytes)
{
    SpoolFile *room = &spool->room;

    if (spool->clones) {
        bytes = 0;
    }
    /* What stays taken by mistake is only taken for a moment more. */
    if (room->file && bytes < room->taken &&
        block_file_truncate(room->file, bytes) == 0) {
        room->taken = bytes;
    }
}

typedef struct Move {
    SnapSpool *spool;
    const SnapSpoolSink *sink;
    uint64_t bytes;    /* with padding */
    uint64_t reserved; /* by the sink */
} Move;

/*
 * The image takes its space up to @end, by whole steps where it can: let it
 * have that of the next step, too.
 */
static bool coroutine_fn hand_over_room(Move *move, uint64_t end, GError **errp)
{
    uint64_t given = round_up(end, STEP_BYTES) + STEP_BYTES;

    if (end <= move->reserved) {
        return true;
    }
    snap_spool_free_room(move->spool,
                         move->bytes > given ? move->bytes - given : 0);
    if (!move->sink->reserve(move->sink->opaque, end, errp)) {
        return false;
    }
    move->reserved = end;
    return true;
}

static bool is_cancelled(const Move *move, GError **errp)
{
    return move->sink->is_cancelled &&
           move->sink->is_cancelled(move->sink->opaque, errp);
}

/*
 * Clone as much as can be, from the start: *@cloned. That it cannot be is no
 * error.
 */
static bool coroutine_fn clone_stream(Move *move, uint64_t *cloned,
                                      GError **errp)
{
    const SnapSpoolSink *sink = move->sink;
    uint64_t end = round_down(move->bytes, CLONE_UNIT);

    while (*cloned < end) {
        uint64_t piece = MIN(CLONE_BYTES, end - *cloned);
        g_autoptr(GError) error = NULL;

        if (is_cancelled(move, errp) ||
            !hand_over_room(move, *cloned + piece, errp)) {
            return false;
        }
        if (!sink->clone(sink->opaque, *cloned, move->spool->stream.file, piece,
                         &error)) {
            if (g_error_matches(error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED)) {
                return true;
            }
            g_propagate_error(errp, g_steal_pointer(&error));
            return false;
        }
        *cloned += piece;
    }
    return true;
}

static bool coroutine_fn copy_buffer(AioBuffer *buffer, void *opaque,
                                     GError **errp)
{
    const Move *move = opaque;
    int ret = block_file_pread(move->spool->stream.file, buffer->position,
                               buffer->data, buffer->bytes);

    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read %zu bytes at 0x%" PRIx64
                             " of the temporary file",
                             buffer->bytes, buffer->position);
        return false;
    }
    return move->sink->store(move->sink->opaque, buffer->position, buffer->data,
                             buffer->bytes, errp);
}

static bool coroutine_fn copy_stream(Move *move, AioBufferPool *pool,
                                     uint64_t position, GError **errp)
{
    size_t size = aio_buffer_pool_buffer_bytes(pool);
    AioBuffer *buffer;

    while (position < move->bytes && (buffer = aio_buffer_pool_get(pool))) {
        GError *error = NULL;

        buffer->position = position;
        buffer->bytes = MIN(size, move->bytes - position);
        position += buffer->bytes;
        if (is_cancelled(move, &error) ||
            !hand_over_room(move, position, &error)) {
            aio_buffer_pool_put(pool, buffer);
            aio_buffer_pool_fail(pool, error);
            break;
        }
        aio_buffer_pool_start(pool, buffer, copy_buffer, move);
    }
    return aio_buffer_pool_drain(pool, errp);
}

bool coroutine_fn snap_spool_move(SnapSpool *spool, AioBufferPool *pool,
                                  uint64_t bytes, const SnapSpoolSink *sink,
                                  GError **errp)
{
    Move move = {
        .spool = spool,
        .sink = sink,
        .bytes = round_up(bytes, sink->unit),
    };
    uint64_t cloned = 0;
    bool moved;

    if (spool->clones && !clone_stream(&move, &cloned, errp)) {
        return false;
    }
    moved = copy_stream(&move, pool, cloned, errp);
    trace_event(spool->trace, "snap_spool_move",
                "cloned_bytes=%" PRIu64 " copied_bytes=%" PRIu64, cloned,
                move.bytes - cloned);
    return moved;
}

char *coroutine_fn snap_spool_keep(SnapSpool *spool, uint64_t bytes,
                                   const char *name, GError **errp)
{
    /*
     * Bytes behind the stream do no harm, and if it may not be stable, it is
     * still better than none.
     */
    (void)block_file_truncate(spool->stream.file, bytes);
    (void)block_file_flush(spool->stream.file);
    return temporary_file_keep(spool->stream.temporary, name, errp);
}

void snap_spool_free(SnapSpool *spool)
{
    if (spool) {
        spool_file_close(&spool->stream);
        spool_file_close(&spool->room);
        g_free(spool);
    }
}
