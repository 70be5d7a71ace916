/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See table-scan.h. Requests and their memory are two rings: both are taken at
 * the head when a request starts and given back at the tail when the caller is
 * through with its tables, in the same order.
 *
 * Invariants:
 *   1. released <= begun <= released + MAX_REQUESTS; the request numbered
 *      `released' is the one whose tables the caller gets now.
 *   2. tail <= head <= tail + ring_bytes. Both only rise, so they are positions
 *      in the ring modulo its length; no request lies across its end.
 *   3. Nothing is started after an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "checked.h"
#include "event-loop.h"
#include "snap-error.h"
#include "table-scan.h"

#define RING_BYTES        (8u * 1024 * 1024)
#define MAX_REQUEST_BYTES (1024u * 1024)
#define MAX_REQUESTS      32

/* What overlapping tables may come to beyond twice the file, as in a check. */
#define SURPLUS_BYTES (64u * 1024 * 1024)

typedef struct ScanRequest {
    Qcow2TableScan *scan;
    uint64_t offset;   /* in the file */
    uint64_t position; /* in the ring, without the modulo */
    size_t bytes;
    bool done;
    int ret;
} ScanRequest;

struct Qcow2TableScan {
    /* Constant after _begin(). */
    BlockFile *file;
    const char *what;
    const uint64_t *offsets;
    uint64_t count;
    size_t table_bytes;
    uint8_t *ring;
    uint64_t ring_bytes;

    uint64_t next; /* index of the first offset that no request covers */
    ScanRequest requests[MAX_REQUESTS];
    uint64_t begun;    /* requests, by number */
    uint64_t released; /* likewise */
    uint64_t head;     /* bytes of the ring ever taken */
    uint64_t tail;     /* bytes of the ring ever given back */
    size_t given;      /* bytes of the request `released' the caller has had */
    unsigned in_flight;
    bool failed;
    CoroutineQueue arrivals; /* a request is done */
};

static ScanRequest *request_number(Qcow2TableScan *scan, uint64_t number)
{
    return &scan->requests[number % MAX_REQUESTS];
}

static uint64_t count_tables(const uint64_t *offsets, uint64_t count)
{
    uint64_t tables = 0;
    uint64_t i;

    for (i = 0; i < count; i++) {
        tables += offsets[i] != 0;
    }
    return tables;
}

/*
 * Tables that are all named once are no larger than the file. One that is
 * named for ever again would make a small file as much work as a huge one.
 */
static bool check_amount(BlockFile *file, const char *what, uint64_t tables,
                         size_t table_bytes, GError **errp)
{
    int64_t size = block_file_size(file);

    if (size < 0) {
        snap_error_set_errno(errp, size, "cannot find out the size");
        return false;
    }
    if (tables > (2 * (uint64_t)size + SURPLUS_BYTES) / table_bytes) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the %ss overlap: together they are much larger than the "
                    "file of %" PRId64 " bytes",
                    what, size);
        return false;
    }
    return true;
}

Qcow2TableScan *qcow2_table_scan_begin(BlockFile *file, const char *what,
                                       const uint64_t *offsets, uint64_t count,
                                       size_t table_bytes, GError **errp)
{
    uint64_t tables = count_tables(offsets, count);
    Qcow2TableScan *scan;

    if (!check_amount(file, what, tables, table_bytes, errp)) {
        return NULL;
    }
    scan = g_new0(Qcow2TableScan, 1);
    scan->file = file;
    scan->what = what;
    scan->offsets = offsets;
    scan->count = count;
    scan->table_bytes = table_bytes;
    scan->ring_bytes = MIN(tables, RING_BYTES / table_bytes) * table_bytes;
    scan->ring = block_file_alloc_buffer(scan->ring_bytes);
    if (!scan->ring) {
        snap_error_set_errno(errp, -ENOMEM, "%ss", what);
        g_clear_pointer(&scan, g_free);
    }
    return scan;
}

/*
 * Find the next tables that lie one behind the other in the file: *@index is
 * the first one's, *@end that behind the last one's. False: there are none.
 */
static bool find_neighbours(const Qcow2TableScan *scan, uint64_t *index,
                            uint64_t *end, size_t *bytes)
{
    uint64_t limit = MIN(MAX_REQUEST_BYTES, scan->ring_bytes);
    uint64_t i = scan->next;

    while (i < scan->count && scan->offsets[i] == 0) {
        i++;
    }
    if (i == scan->count) {
        return false;
    }
    *index = i;
    *end = i + 1;
    *bytes = scan->table_bytes;
    while (++i < scan->count && *bytes + scan->table_bytes <= limit &&
           (scan->offsets[i] == 0 ||
            scan->offsets[i] == scan->offsets[*index] + *bytes)) {
        if (scan->offsets[i] != 0) {
            *end = i + 1;
            *bytes += scan->table_bytes;
        }
    }
    return true;
}

/* Take @bytes of the ring. False: there is no room for now. */
static bool take_memory(Qcow2TableScan *scan, size_t bytes, uint64_t *position)
{
    uint64_t at = scan->head;
    uint64_t to_end;

    if (scan->head == scan->tail) {
        at = scan->tail = 0;
    }
    to_end = scan->ring_bytes - at % scan->ring_bytes;
    if (to_end < bytes) {
        at += to_end;
    }
    if (at + bytes - scan->tail > scan->ring_bytes) {
        return false;
    }
    scan->head = at + bytes;
    *position = at;
    return true;
}

static uint8_t *request_memory(const ScanRequest *request)
{
    const Qcow2TableScan *scan = request->scan;

    return scan->ring + request->position % scan->ring_bytes;
}

static void coroutine_fn request_entry(void *opaque)
{
    ScanRequest *request = opaque;
    Qcow2TableScan *scan = request->scan;

    request->ret = block_file_pread(scan->file, request->offset,
                                    request_memory(request), request->bytes);
    request->done = true;
    scan->failed |= request->ret < 0;
    scan->in_flight--;
    coroutine_queue_wake_all(&scan->arrivals);
}

/* Start as many requests as there is room for. */
static void read_ahead(Qcow2TableScan *scan)
{
    uint64_t index;
    uint64_t end;
    uint64_t position;
    size_t bytes;

    while (!scan->failed && scan->begun - scan->released < MAX_REQUESTS &&
           find_neighbours(scan, &index, &end, &bytes) &&
           take_memory(scan, bytes, &position)) {
        ScanRequest *request = request_number(scan, scan->begun++);

        *request = (ScanRequest){
            .scan = scan,
            .offset = scan->offsets[index],
            .position = position,
            .bytes = bytes,
        };
        scan->next = end;
        scan->in_flight++;
        event_loop_start(request_entry, request);
    }
}

void *coroutine_fn qcow2_table_scan_next(Qcow2TableScan *scan, GError **errp)
{
    ScanRequest *request = request_number(scan, scan->released);
    void *table;

    if (scan->begun > scan->released && scan->given == request->bytes) {
        scan->tail = request->position + request->bytes;
        scan->released++;
        scan->given = 0;
        request = request_number(scan, scan->released);
    }
    read_ahead(scan);
    /* After an error there may be nothing more to wait for. */
    while (scan->begun > scan->released && !request->done) {
        coroutine_queue_wait(&scan->arrivals);
    }
    g_assert(scan->begun > scan->released);
    if (request->ret < 0) {
        snap_error_set_errno(errp, request->ret,
                             "cannot read the %s at 0x%" PRIx64, scan->what,
                             request->offset);
        return NULL;
    }
    table = request_memory(request) + scan->given;
    scan->given += scan->table_bytes;
    return table;
}

void coroutine_fn qcow2_table_scan_end(Qcow2TableScan *scan)
{
    if (!scan) {
        return;
    }
    scan->failed = true;
    while (scan->in_flight > 0) {
        coroutine_queue_wait(&scan->arrivals);
    }
    free(scan->ring);
    g_free(scan);
}
