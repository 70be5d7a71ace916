/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the handlers of the subcommands share: opening an image the way its
 * options say, and presenting what is in it.
 */
#ifndef SNAP_INTERNAL_H
#define SNAP_INTERNAL_H

#include "page-map.h"
#include "qcow2-check.h"
#include "qcow2-snapshots.h"
#include "snap-io.h"
#include "snap-options.h"

/*
 * Bytes per request: what a disk of today wants for its full rate. Eight in
 * flight hide the latency of most storage; where they do not, the ring grows
 * until it holds SNAP_MAX_DEPTH of them (snap-depth.h).
 */
#define SNAP_BUFFER_BYTES  (1024 * 1024)
#define SNAP_DEFAULT_DEPTH 8

/*
 * A ring of buffers of @buffer_bytes for what the options say about the
 * depth, which counts requests of SNAP_BUFFER_BYTES. NULL and @errp.
 */
AioBufferPool *snap_ring_new(unsigned depth, size_t buffer_bytes,
                             GError **errp);

/*
 * Tell @file that the buffers in use will be its memory. Before the ring is
 * freed or its pages given away, block_file_unregister_buffers() is due.
 */
void snap_ring_register(const AioBufferPool *pool, BlockFile *file);

/* An image and its file, opened and closed together. */
typedef struct SnapImage {
    BlockFile *file;
    Qcow2Image *qcow2;
} SnapImage;

/* Handlers run in a coroutine and fill @errp without the image's name. */
typedef bool coroutine_fn SnapHandler(const SnapOptions *options,
                                      SnapResult *result, GError **errp);

SnapHandler snap_save;
SnapHandler snap_load;
SnapHandler snap_list;
SnapHandler snap_inspect;
SnapHandler snap_extract;
SnapHandler snap_index;
SnapHandler snap_verify;
SnapHandler snap_diff;
SnapHandler snap_check;
SnapHandler snap_create;
SnapHandler snap_delete;
SnapHandler snap_apply;
SnapHandler snap_rename;
SnapHandler snap_gc;
SnapHandler snap_snapshot;

/*
 * Open options->image for reading, with a read lock unless -U was given.
 * @cache is used when the options leave it open. Yields.
 */
bool coroutine_fn snap_image_open(const SnapOptions *options,
                                  HostFileCache cache, SnapImage *image,
                                  GError **errp);

/* Zero-initialised is allowed. */
void snap_image_close(SnapImage *image);

/* A snapshot was or will be added to @image: warn if QEMU cannot load it. */
void snap_warn_about_bitmaps(const SnapImage *image, SnapResult *result);

/* @image was opened for writing: say so if that has repaired it. */
void snap_warn_about_repair(const SnapImage *image, SnapResult *result);

/*
 * As snap_choose_one(); without -n, the only snapshot with VM state. NULL and
 * @errp (NOT_FOUND, AMBIGUOUS).
 */
const Qcow2Snapshot *snap_choose(const SnapOptions *options,
                                 const Qcow2Image *image, GError **errp);

/*
 * The one that can be meant by @name, which stands behind @option; if that is
 * NULL, the only one with VM state. NULL and @errp (NOT_FOUND, AMBIGUOUS).
 */
const Qcow2Snapshot *snap_choose_side(const Qcow2Image *image, const char *name,
                                      SnapReading reading, const char *option,
                                      GError **errp);

/*
 * The one snapshot that can be meant by -n, read as the options say. NULL and
 * @errp (NOT_FOUND, AMBIGUOUS: it may be several; they are listed).
 */
const Qcow2Snapshot *snap_choose_one(const SnapOptions *options,
                                     const Qcow2Image *image, GError **errp);

/*
 * The snapshot called @name of a further image, whatever its ID: IDs are given
 * by each image for itself. NULL and @errp (NOT_FOUND, AMBIGUOUS).
 */
const Qcow2Snapshot *snap_choose_called(const Qcow2Image *image,
                                        const char *name, GError **errp);

/*
 * With --replace, *@old is the snapshot that is called @name; else, and if
 * there is none, it is NULL. Fills @errp (AMBIGUOUS: there are several).
 */
bool snap_choose_replaced(const SnapOptions *options, const Qcow2Image *image,
                          const char *name, const Qcow2Snapshot **old,
                          GError **errp);

/*
 * Read the first @bytes of what @fetch reads from @source through the ring into
 * @to, or only through @reader when @to is NULL. @before_last is called with
 * @opaque when all has been read, and stops the last bytes by returning false
 * and filling @errp; both may be NULL. @progress may be NULL. Yields.
 */
typedef struct SnapStreaming {
    BlockFile *file; /* where it is read from */
    bool coroutine_fn (*fetch)(void *source, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp);
    void *source;
    uint64_t bytes;
    unsigned depth; /* as in SnapOptions */
    Trace *trace;
    PipeEnd *to;
    MigrationReader *reader;
    struct StreamChecksums *sum_up; /* add what is stream; or NULL */
    /* What must match before it goes anywhere; or NULL. */
    const struct StreamChecksums *verify;
    struct Progress *progress;
    bool coroutine_fn (*before_last)(void *opaque, GError **errp);
    void *opaque;
    uint64_t passed;      /* out: bytes that reached their destination */
    GError *stream_error; /* out: what @reader had to say; the caller frees */
} SnapStreaming;

SnapPumpResult coroutine_fn snap_stream_out(SnapStreaming *streaming,
                                            GError **errp);

/* A VM clock as qemu-img shows it: 00:00:01.234. The caller frees it. */
char *snap_clock_format(uint64_t nanoseconds);

/* Standard output, as qemu-img would show it. */
void snap_print_snapshots(const GPtrArray *snapshots);
void snap_print_list_json(const SnapOptions *options, const Qcow2Image *image);
void snap_print_image(const SnapOptions *options, const SnapImage *image,
                      const Qcow2StaleVmstate *stale);
void snap_print_image_json(const SnapOptions *options, const SnapImage *image,
                           const Qcow2StaleVmstate *stale);
void snap_print_check_json(const SnapOptions *options,
                           const Qcow2CheckResult *result);

#endif /* SNAP_INTERNAL_H */
