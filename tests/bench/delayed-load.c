/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Reads the VM state of an image's only snapshot through a ring of START
 * buffers, which may become MOST, into standard output, from storage that
 * answers late: what many requests in flight are good for. The stream is not
 * looked at.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "delay-file.h"
#include "event-loop.h"
#include "host-file.h"
#include "qcow2-vmstate.h"
#include "snap-io.h"

#define BUFFER_BYTES (1024 * 1024)

typedef struct DelayedLoad {
    const char *image;
    unsigned delay_us;
    unsigned start; /* of the ring's depth */
    unsigned most;
    GError *error; /* NULL: done */
} DelayedLoad;

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    return qcow2_vmstate_pread(opaque, position, data, bytes, errp);
}

static void passed(void *opaque, const uint8_t *data, size_t bytes)
{
}

/* All that this program knows of the ring and the pump. */
static bool coroutine_fn pump(Qcow2VmstateReader *vmstate, uint64_t bytes,
                              const DelayedLoad *load, GError **errp)
{
    g_autoptr(AioBufferPool)
        pool = aio_buffer_pool_new(BUFFER_BYTES, load->start, load->most, errp);
    g_autoptr(PipeEnd) to = pool ? pipe_end_new_writer(STDOUT_FILENO, errp)
                                 : NULL;
    const SnapOutlet outlet = {
        .fetch = fetch,
        .passed = passed,
        .opaque = vmstate,
    };

    return to &&
           snap_pump_out(pool, bytes, &outlet, to, errp) == SNAP_PUMP_DONE;
}

static void coroutine_fn load_snapshot(BlockFile *file, const DelayedLoad *load,
                                       GError **errp)
{
    g_autoptr(Qcow2Image) image = qcow2_open(file, errp);
    const Qcow2Snapshot *snapshot;
    Qcow2VmstateReader *vmstate;

    if (!image) {
        return;
    }
    if (qcow2_snapshots(image)->len == 0) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_NOENT, "no snapshot");
        return;
    }
    snapshot = g_ptr_array_index(qcow2_snapshots(image), 0);
    vmstate = qcow2_vmstate_reader_open(image, snapshot, errp);
    if (vmstate) {
        pump(vmstate, snapshot->vm_state_size, load, errp);
        qcow2_vmstate_reader_close(vmstate);
    }
}

/*
 * The image comes out of the page cache, so that the delay is what there is to
 * wait for, whatever the disk.
 */
static void coroutine_fn load_entry(void *opaque)
{
    DelayedLoad *load = opaque;
    const HostFileOptions options = {
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .lock = BLOCK_FILE_LOCK_READ,
    };
    BlockFile *file = host_file_open(load->image, &options, &load->error);

    if (file) {
        file = delay_file_new(file, load->delay_us);
        load_snapshot(file, load, &load->error);
        block_file_close(file);
    }
}

int main(int argc, char **argv)
{
    DelayedLoad load = { 0 };

    if (argc != 5) {
        fprintf(stderr, "usage: delayed-load IMAGE MICROSECONDS START MOST\n");
        return EXIT_FAILURE;
    }
    load.image = argv[1];
    load.delay_us = strtoul(argv[2], NULL, 10);
    load.start = strtoul(argv[3], NULL, 10);
    load.most = strtoul(argv[4], NULL, 10);
    event_loop_run(load_entry, &load);
    if (load.error) {
        fprintf(stderr, "delayed-load: %s\n", load.error->message);
        g_error_free(load.error);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
