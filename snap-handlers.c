/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Running the handler of a command, and what handlers have in common.
 */
#include <errno.h>
#include <inttypes.h>

#include "checked.h"
#include "event-loop.h"
#include "progress.h"
#include "qcow2-vmstate.h"
#include "snap-commands.h"
#include "snap-error.h"
#include "stream-checksums.h"

bool coroutine_fn snap_image_open(const SnapOptions *options,
                                  HostFileCache cache, SnapImage *image,
                                  GError **errp)
{
    HostFileOptions file_options = {
        .cache = options->cache ? options->cache : cache,
        .aio = options->aio,
        .trace = options->trace,
        .lock = options->force_share ? BLOCK_FILE_LOCK_NONE
                                     : BLOCK_FILE_LOCK_READ,
    };

    image->file = host_file_open(options->image, &file_options, errp);
    if (!image->file) {
        return false;
    }
    image->qcow2 = qcow2_open(image->file, errp);
    if (!image->qcow2) {
        g_clear_pointer(&image->file, block_file_close);
        return false;
    }
    return true;
}

void snap_image_close(SnapImage *image)
{
    g_clear_pointer(&image->qcow2, qcow2_close);
    g_clear_pointer(&image->file, block_file_close);
}

void snap_warn_about_bitmaps(const SnapImage *image, SnapResult *result)
{
    if (qcow2_header(image->qcow2)->bitmap_count) {
        g_ptr_array_add(result->warnings,
                        g_strdup("the image has persistent dirty bitmaps: "
                                 "QEMU will refuse to load the snapshot until "
                                 "they are removed"));
    }
}

void snap_warn_about_repair(const SnapImage *image, SnapResult *result)
{
    if (qcow2_was_repaired(image->qcow2)) {
        g_ptr_array_add(result->warnings,
                        g_strdup("the image had not been closed properly and "
                                 "was repaired"));
    }
}

static bool coroutine_fn stream_fetch(void *opaque, uint64_t position,
                                      uint8_t *data, size_t bytes,
                                      GError **errp)
{
    const SnapStreaming *streaming = opaque;

    return streaming->fetch(streaming->source, position, data, bytes, errp) &&
           (!streaming->verify ||
            stream_checksums_verify(streaming->verify, position, data, bytes,
                                    errp));
}

static bool coroutine_fn stream_before_last(void *opaque, GError **errp)
{
    SnapStreaming *streaming = opaque;

    return !streaming->before_last ||
           streaming->before_last(streaming->opaque, errp);
}

/* What is behind the end of the stream, as far as that is known, is not. */
static void sum_up(SnapStreaming *streaming, const uint8_t *data, size_t bytes)
{
    uint64_t before = stream_checksums_covered(streaming->sum_up);
    uint64_t left = G_MAXUINT64;

    if (migration_reader_phase(streaming->reader) == MIGRATION_PHASE_COMPLETE) {
        left = migration_reader_info(streaming->reader)->stream_bytes - before;
    }
    stream_checksums_add(streaming->sum_up, data, MIN(bytes, left));
}

static void stream_passed(void *opaque, const uint8_t *data, size_t bytes)
{
    SnapStreaming *streaming = opaque;

    streaming->passed += bytes;
    if (!streaming->stream_error) {
        migration_reader_feed(streaming->reader, data, bytes,
                              &streaming->stream_error);
    }
    if (streaming->sum_up) {
        sum_up(streaming, data, bytes);
    }
    if (streaming->progress) {
        progress_advance(streaming->progress, bytes);
    }
}

AioBufferPool *snap_ring_new(unsigned depth, size_t buffer_bytes, GError **errp)
{
    unsigned requests = buffer_bytes / SNAP_BUFFER_BYTES;
    unsigned start = div_round_up(depth ? depth : SNAP_DEFAULT_DEPTH, requests);
    unsigned most = depth ? start : SNAP_MAX_DEPTH / requests;

    return aio_buffer_pool_new(buffer_bytes, start, most, errp);
}

void snap_ring_register(const AioBufferPool *pool, BlockFile *file)
{
    /* Not what is there for a greater depth: it would have to be in memory. */
    block_file_register_buffers(file, aio_buffer_pool_memory(pool),
                                aio_buffer_pool_depth(pool) *
                                    aio_buffer_pool_buffer_bytes(pool));
}

/*
 * Buffers of huge pages can be given to a pipe. There must be two at least, so
 * that one is being read into while the other one goes out.
 */
static size_t choose_buffer_bytes(const SnapStreaming *streaming)
{
    bool few = streaming->depth &&
               streaming->depth * SNAP_BUFFER_BYTES < 2 * SNAP_HUGE_BYTES;
    bool give = streaming->to && pipe_end_can_give(streaming->to) && !few;

    return give ? SNAP_HUGE_BYTES : SNAP_BUFFER_BYTES;
}

SnapPumpResult coroutine_fn snap_stream_out(SnapStreaming *streaming,
                                            GError **errp)
{
    g_autoptr(AioBufferPool) pool = NULL;
    SnapOutlet outlet = {
        .fetch = stream_fetch,
        .before_last = stream_before_last,
        .passed = stream_passed,
        .opaque = streaming,
    };
    SnapPumpResult result;
    bool registered;

    pool =
        snap_ring_new(streaming->depth, choose_buffer_bytes(streaming), errp);
    if (!pool) {
        return SNAP_PUMP_FAILED;
    }
    /* Pages that are given away are not there any more for a later request. */
    registered = aio_buffer_pool_buffer_bytes(pool) != SNAP_HUGE_BYTES;
    if (registered) {
        snap_ring_register(pool, streaming->file);
    }
    result =
        snap_pump_out(pool, streaming->bytes, &outlet, streaming->to, errp);
    trace_event(streaming->trace, "snap_stream_out",
                "buffer_bytes=%zu buffers=%u given=%s",
                aio_buffer_pool_buffer_bytes(pool), aio_buffer_pool_depth(pool),
                aio_buffer_pool_can_renew(pool) ? "yes" : "no");
    if (registered) {
        block_file_unregister_buffers(streaming->file);
    }
    return result;
}

bool coroutine_fn snap_list(const SnapOptions *options, SnapResult *result,
                            GError **errp)
{
    SnapImage image = { 0 };

    /* A listing reads a few small pieces: the page cache is best at that. */
    if (!snap_image_open(options, HOST_FILE_CACHE_WRITEBACK, &image, errp)) {
        return false;
    }
    if (options->json) {
        snap_print_list_json(options, image.qcow2);
    } else {
        snap_print_snapshots(qcow2_snapshots(image.qcow2));
    }
    snap_image_close(&image);
    return true;
}

typedef struct Handling {
    SnapHandler *handler;
    const SnapOptions *options;
    SnapResult *result;
    GError *error;
    bool handled;
} Handling;

static void coroutine_fn handle_entry(void *opaque)
{
    Handling *handling = opaque;

    handling->handled = handling->handler(handling->options, handling->result,
                                          &handling->error);
}

bool snap_handle(const SnapOptions *options, SnapResult *result, GError **errp)
{
    Handling handling = {
        .handler = snap_command_find(options->command)->handler,
        .options = options,
        .result = result,
    };
    int64_t start = g_get_monotonic_time();

    event_loop_run(handle_entry, &handling);
    result->microseconds = g_get_monotonic_time() - start;
    if (!handling.handled) {
        g_propagate_error(errp, handling.error);
    }
    if (!handling.handled && options->image) {
        g_prefix_error(errp, "%s: ", options->image);
    }
    return handling.handled;
}
