/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Opening host files in all ways, and looking at them from outside.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine-cases.h"
#include "event-loop.h"
#include "host-file-cases.h"

const HostFileOptions host_file_cases[HOST_FILE_CASES] = {
    [CASE_AUTOMATIC] = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    },
    [CASE_AUTOMATIC_NATIVE] = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_NATIVE,
    },
    [CASE_AUTOMATIC_THREADS] = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_THREADS,
    },
    [CASE_AUTOMATIC_URING] = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_IO_URING,
    },
    [CASE_NONE] = {
        .cache = HOST_FILE_CACHE_NONE,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    },
    [CASE_NONE_NATIVE] = {
        .cache = HOST_FILE_CACHE_NONE,
        .aio = HOST_FILE_AIO_NATIVE,
    },
    [CASE_NONE_THREADS] = {
        .cache = HOST_FILE_CACHE_NONE,
        .aio = HOST_FILE_AIO_THREADS,
    },
    [CASE_NONE_URING] = {
        .cache = HOST_FILE_CACHE_NONE,
        .aio = HOST_FILE_AIO_IO_URING,
    },
    [CASE_DIRECTSYNC] = {
        .cache = HOST_FILE_CACHE_DIRECTSYNC,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    },
    [CASE_DIRECTSYNC_NATIVE] = {
        .cache = HOST_FILE_CACHE_DIRECTSYNC,
        .aio = HOST_FILE_AIO_NATIVE,
    },
    [CASE_DIRECTSYNC_THREADS] = {
        .cache = HOST_FILE_CACHE_DIRECTSYNC,
        .aio = HOST_FILE_AIO_THREADS,
    },
    [CASE_DIRECTSYNC_URING] = {
        .cache = HOST_FILE_CACHE_DIRECTSYNC,
        .aio = HOST_FILE_AIO_IO_URING,
    },
    [CASE_WRITEBACK] = {
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    },
    [CASE_WRITEBACK_THREADS] = {
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .aio = HOST_FILE_AIO_THREADS,
    },
    [CASE_WRITEBACK_URING] = {
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .aio = HOST_FILE_AIO_IO_URING,
    },
    [CASE_UNSAFE] = {
        .cache = HOST_FILE_CACHE_UNSAFE,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    },
    [CASE_UNSAFE_THREADS] = {
        .cache = HOST_FILE_CACHE_UNSAFE,
        .aio = HOST_FILE_AIO_THREADS,
    },
    [CASE_UNSAFE_URING] = {
        .cache = HOST_FILE_CACHE_UNSAFE,
        .aio = HOST_FILE_AIO_IO_URING,
    },
};

bool host_file_case_needs_direct(HostFileCase which)
{
    const HostFileOptions *options = &host_file_cases[which];

    return options->cache == HOST_FILE_CACHE_NONE ||
           options->cache == HOST_FILE_CACHE_DIRECTSYNC ||
           options->aio == HOST_FILE_AIO_NATIVE;
}

bool host_file_can_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    if (fd < 0) {
        ck_assert_int_eq(errno, EINVAL);
        return false;
    }
    close(fd);
    return true;
}

void assert_open_fails(const char *path, const HostFileOptions *options,
                       SnapError code, const char *message)
{
    g_autoptr(GError) error = NULL;

    ck_assert_ptr_null(host_file_open(path, options, &error));
    ck_assert_ptr_nonnull(error);
    ck_assert_str_eq(error->message, message);
    ck_assert(g_error_matches(error, SNAP_ERROR, code));
}

/*
 * Open @path, which exists, or check that this is refused for want of O_DIRECT
 * or io_uring and return NULL.
 */
static BlockFile *host_file_open_case(const char *path, HostFileCase which)
{
    HostFileOptions options = host_file_cases[which];
    g_autoptr(GError) error = NULL;
    BlockFile *file;

    options.writable = true;
    if (host_file_case_needs_direct(which) && !host_file_can_direct(path)) {
        assert_open_fails(path, &options, SNAP_ERROR_UNSUPPORTED,
                          NO_DIRECT_MESSAGE);
        return NULL;
    }
    file = host_file_open(path, &options, &error);
    if (options.aio == HOST_FILE_AIO_IO_URING && engine_uring_refusal() < 0) {
        ck_assert_ptr_null(file);
        ck_assert(g_str_has_prefix(error->message, NO_URING_MESSAGE));
        return NULL;
    }
    ck_assert_msg(file != NULL, "%s", error ? error->message : "");
    ck_assert(file->writable);
    ck_assert(!file->fixed_size);
    ck_assert_uint_le(file->alignment, 4096);
    ck_assert_uint_eq(file->alignment & (file->alignment - 1), 0);
    return file;
}

void host_file_run_case(HostFileCase which, const char *content, size_t bytes,
                        CoroutineFunc *func)
{
    FileTest test;

    test.scratch = scratch_new();
    test.path = scratch_write(test.scratch, "file", content, bytes);
    test.file = host_file_open_case(test.path, which);
    if (test.file) {
        event_loop_run(func, &test);
        block_file_close(test.file);
    }
    scratch_free(test.scratch);
}

void assert_on_disk(FileTest *test, off_t offset, const void *expected,
                    size_t bytes)
{
    g_autofree char *content = g_malloc(bytes);
    int fd = open(test->path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, content, bytes, offset), bytes);
    ck_assert_mem_eq(content, expected, bytes);
    close(fd);
}

bool has_native_aio(void)
{
    g_autofree char *maps = NULL;

    ck_assert(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    return strstr(maps, "[aio]") != NULL;
}

typedef struct Readers {
    BlockFile *file;
    unsigned left;
} Readers;

static void coroutine_fn run_reader(void *opaque)
{
    Readers *readers = opaque;
    char byte;

    ck_assert_int_eq(block_file_pread(readers->file, 1, &byte, 1), 0);
    ck_assert_int_eq(byte, 'b');
    readers->left--;
}

void coroutine_fn host_file_read_at_once(BlockFile *file, unsigned count)
{
    Readers readers = { file, count };

    for (unsigned i = 0; i < count; i++) {
        event_loop_start(run_reader, &readers);
    }
    while (readers.left > 0) {
        event_loop_wake(coroutine_self());
        coroutine_yield();
    }
}
