/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The choice of an engine. Threads work everywhere and cost nothing before the
 * first request, so everything begins with them. When several requests are in
 * flight at once on an O_DIRECT file, the fastest engine that can be had takes
 * over: io_uring, which is forbidden in many a container; then native AIO,
 * whose contexts are limited in number. In the page cache there is nothing to
 * wait for, only copying to be done, and threads are as good at that.
 *
 * What a killed process has in flight is waited for before it is gone, with
 * threads and native AIO; not so with io_uring, whose requests keep the file
 * open for 20 ms and more, and the image locked. Whoever kills us and waits
 * for our end must find the image free. So io_uring reads by an open file
 * description of its own, which has no locks. For a file that is written to
 * this is not possible, as the lock may not go before the last write: there
 * io_uring has to be asked for by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <glib.h>

#include "aio-choice.h"
#include "reopen.h"
#include "snap-error.h"

/*
 * So many requests at once are work for the kernel's engines. A look at the
 * metadata asks for one piece after the other and gains nothing from them.
 */
#define AIO_CHOICE_DEPTH 4

struct AioChoice {
    /* Constant. */
    int fd;
    bool is_direct;
    bool is_writable;
    bool is_automatic; /* see AIO_CHOICE_DEPTH; otherwise nothing changes */
    Trace *trace;
    AioEngine *threads;

    AioEngine *kernel;  /* NULL: not set up; when there, it is used */
    bool is_native;     /* what @kernel is */
    int uring_fd;       /* io_uring's own, or -1 */
    bool uring_failed;  /* to set up: not tried again */
    bool native_failed; /* the same */
    void *memory;       /* to be registered */
    size_t memory_bytes;
};

static void aio_choice_tell_fallback(AioChoice *choice, const char *wanted,
                                     const char *used, int error)
{
    trace_event(choice->trace, "host_file_fallback",
                "wanted='%s' used='%s' error='%s'", wanted, used,
                g_strerror(-error));
}

static void aio_choice_tell_engine(AioChoice *choice, const char *engine,
                                   const char *reason)
{
    trace_event(choice->trace, "host_file_engine", "engine=%s reason='%s'",
                engine, reason);
}

static void aio_choice_register(AioChoice *choice)
{
    int ret;

    if (!choice->kernel || choice->memory_bytes == 0) {
        return;
    }
    ret = aio_engine_register_buffers(choice->kernel, choice->memory,
                                      choice->memory_bytes);
    if (ret == 0) {
        trace_event(choice->trace, "host_file_buffers", "registered_bytes=%zu",
                    choice->memory_bytes);
    } else if (ret != -ENOTSUP) {
        aio_choice_tell_fallback(choice, "registered buffers", "plain buffers",
                                 ret);
    }
}

static void aio_choice_close_kernel(AioChoice *choice)
{
    g_clear_pointer(&choice->kernel, aio_engine_close);
    if (choice->uring_fd >= 0) {
        close(choice->uring_fd);
        choice->uring_fd = -1;
    }
}

/* Set up io_uring for reading. Returns 0 or a negative errno. */
static int aio_choice_start_reader(AioChoice *choice)
{
    int fd = reopen_for_reading(choice->fd, choice->is_direct ? O_DIRECT : 0);
    int ret;

    if (fd < 0) {
        return fd;
    }
    choice->uring_fd = fd;
    ret = aio_uring_new(fd, &choice->kernel);
    if (ret < 0) {
        aio_choice_close_kernel(choice);
    }
    return ret;
}

static bool aio_choice_try_uring(AioChoice *choice)
{
    int ret;

    if (choice->is_writable || choice->uring_failed) {
        return false;
    }
    ret = aio_choice_start_reader(choice);
    choice->uring_failed = ret < 0;
    if (ret < 0) {
        aio_choice_tell_fallback(choice, "io_uring", "native AIO", ret);
        return false;
    }
    choice->is_native = false;
    aio_choice_tell_engine(choice, "io_uring", "several requests in flight");
    return true;
}

static bool aio_choice_try_native(AioChoice *choice)
{
    int ret;

    if (choice->native_failed) {
        return false;
    }
    ret = aio_native_new(choice->fd, &choice->kernel);
    choice->native_failed = ret < 0;
    if (ret < 0) {
        aio_choice_tell_fallback(choice, "native AIO", "threads", ret);
        return false;
    }
    choice->is_native = true;
    aio_choice_tell_engine(choice, "native", "several requests in flight");
    return true;
}

AioEngine *aio_choice_engine(AioChoice *choice, unsigned in_flight)
{
    if (choice->is_automatic && !choice->kernel &&
        in_flight >= AIO_CHOICE_DEPTH &&
        (aio_choice_try_uring(choice) || aio_choice_try_native(choice))) {
        aio_choice_register(choice);
    }
    return choice->kernel ? choice->kernel : choice->threads;
}

/*
 * Destroying native AIO takes the kernel some 30 ms, and a process cannot exit
 * before. A save or load that has moved its data has other things to do
 * meanwhile. io_uring costs nothing to leave behind.
 */
void aio_choice_end_phase(AioChoice *choice)
{
    if (choice->is_automatic && choice->kernel && choice->is_native) {
        aio_choice_close_kernel(choice);
        aio_choice_tell_engine(choice, "threads", "the phase is over");
    }
}

void aio_choice_set_buffers(AioChoice *choice, void *memory, size_t bytes)
{
    if (choice->kernel && bytes == 0) {
        aio_engine_unregister_buffers(choice->kernel);
    }
    choice->memory = memory;
    choice->memory_bytes = bytes;
    aio_choice_register(choice);
}

static bool aio_choice_require_native(AioChoice *choice, GError **errp)
{
    int ret = aio_native_new(choice->fd, &choice->kernel);

    if (ret < 0) {
        snap_error_set_errno(
            errp, ret, "Could not set up native AIO%s; use --aio=threads",
            ret == -EAGAIN ? " (fs.aio-max-nr is used up)" : "");
        return false;
    }
    choice->is_native = true;
    aio_choice_tell_engine(choice, "native", "asked for");
    return true;
}

/* With a lock that stays a while longer if there is no other way. */
static int aio_choice_start_uring(AioChoice *choice)
{
    if (!choice->is_writable && aio_choice_start_reader(choice) == 0) {
        return 0;
    }
    return aio_uring_new(choice->fd, &choice->kernel);
}

static bool aio_choice_require_uring(AioChoice *choice, GError **errp)
{
    int ret = aio_choice_start_uring(choice);
    const char *reason = "";

    if (ret == 0) {
        aio_choice_tell_engine(choice, "io_uring", "asked for");
        return true;
    }
    if (ret == -ENOSYS) {
        reason = " (this kernel has none)";
    } else if (ret == -EPERM || ret == -EACCES) {
        reason = " (kernel.io_uring_disabled or a sandbox forbids it)";
    } else if (ret == -ENOMEM) {
        reason = " (RLIMIT_MEMLOCK may be too low)";
    }
    snap_error_set_errno(
        errp, ret, "Could not set up io_uring%s; use --aio=threads", reason);
    return false;
}

static bool aio_choice_set_up(AioChoice *choice, HostFileAio aio, GError **errp)
{
    switch (aio) {
    case HOST_FILE_AIO_AUTOMATIC:
        choice->is_automatic = choice->is_direct;
        aio_choice_tell_engine(choice, "threads",
                               choice->is_direct ? "few requests in flight"
                                                 : "the page cache is used");
        break;
    case HOST_FILE_AIO_NATIVE:
        return aio_choice_require_native(choice, errp);
    case HOST_FILE_AIO_THREADS:
        aio_choice_tell_engine(choice, "threads", "asked for");
        break;
    case HOST_FILE_AIO_IO_URING:
        return aio_choice_require_uring(choice, errp);
    }
    return true;
}

AioChoice *aio_choice_new(int fd, bool is_direct,
                          const HostFileOptions *options, ThreadPool *pool,
                          GError **errp)
{
    AioChoice *choice = g_new0(AioChoice, 1);

    choice->fd = fd;
    choice->uring_fd = -1;
    choice->is_direct = is_direct;
    choice->is_writable = options->writable;
    choice->trace = options->trace;
    choice->threads = aio_threads_new(fd, !is_direct, pool);
    if (!aio_choice_set_up(choice, options->aio, errp)) {
        aio_choice_free(choice);
        return NULL;
    }
    return choice;
}

void aio_choice_free(AioChoice *choice)
{
    if (choice) {
        aio_choice_close_kernel(choice);
        aio_engine_close(choice->threads);
        g_free(choice);
    }
}
