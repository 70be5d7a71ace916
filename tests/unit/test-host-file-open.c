/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Opening files of the host: what is taken and what is refused, and which
 * alignment comes of it.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <libaio.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "event-loop.h"
#include "host-file-cases.h"
#include "run-suite.h"

/* Our own io_setup(), io_uring_queue_init(), statx(), fcntl(), which obey. */
static struct {
    const char *removed_before_lock; /* or NULL */
    int setup_error;
    int uring_error;
    bool alignment_is_set; /* and this is it; 0: the kernel does not say */
    unsigned alignment;
    unsigned offset_alignment;
} faults;

int io_setup(int maxevents, io_context_t *context)
{
    int (*real)(int, io_context_t *) = dlsym(RTLD_NEXT, "io_setup");

    return faults.setup_error ? faults.setup_error : real(maxevents, context);
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    typeof(io_uring_queue_init) *real = dlsym(RTLD_NEXT, "io_uring_queue_init");

    return faults.uring_error ? faults.uring_error : real(entries, ring, flags);
}

int fcntl(int fd, int command, ...)
{
    typeof(fcntl) *real = dlsym(RTLD_NEXT, "fcntl64");
    va_list args;
    void *argument;

    va_start(args, command);
    argument = va_arg(args, void *);
    va_end(args);
    if (command == F_OFD_SETLK && faults.removed_before_lock) {
        unlink(faults.removed_before_lock);
    }
    return real(fd, command, argument);
}

#ifdef STATX_DIOALIGN
int statx(int fd, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict status)
{
    typeof(statx) *real = dlsym(RTLD_NEXT, "statx");
    int ret = real(fd, path, flags, mask, status);

    if (faults.alignment_is_set) {
        status->stx_mask &= ~STATX_DIOALIGN;
        if (faults.alignment > 0) {
            status->stx_mask |= STATX_DIOALIGN;
            status->stx_dio_mem_align = faults.alignment;
            status->stx_dio_offset_align = faults.offset_alignment;
        }
    }
    return ret;
}
#endif

static void clear_faults(void)
{
    memset(&faults, 0, sizeof(faults));
}

START_TEST(native_aio_is_required)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = { .aio = HOST_FILE_AIO_NATIVE };

    if (host_file_can_direct(path)) {
        g_autoptr(BlockFile) file = host_file_open(path, &options, NULL);

        ck_assert_ptr_nonnull(file);
        ck_assert(has_native_aio());
        faults.setup_error = -EAGAIN;
        assert_open_fails(
            path, &options, SNAP_ERROR_IO,
            "Could not set up native AIO (fs.aio-max-nr is used up); "
            "use --aio=threads: Resource temporarily unavailable");
        faults.setup_error = -ENOSYS;
        assert_open_fails(
            path, &options, SNAP_ERROR_IO,
            "Could not set up native AIO; use --aio=threads: Function "
            "not implemented");
        faults.setup_error = 0;
    } else {
        assert_open_fails(path, &options, SNAP_ERROR_UNSUPPORTED,
                          NO_DIRECT_MESSAGE);
    }
    scratch_free(scratch);
}
END_TEST

START_TEST(native_aio_needs_direct)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    const HostFileCache buffered[] = {
        HOST_FILE_CACHE_WRITEBACK,
        HOST_FILE_CACHE_UNSAFE,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(buffered); i++) {
        HostFileOptions options = {
            .cache = buffered[i],
            .aio = HOST_FILE_AIO_NATIVE,
        };

        assert_open_fails(path, &options, SNAP_ERROR_INVALID,
                          "aio=native was specified, but it requires "
                          "cache.direct=on, which was not specified.");
    }
    scratch_free(scratch);
}
END_TEST

static const struct {
    int error;
    const char *message;
} uring_refusals[] = {
    { -ENOSYS, "Could not set up io_uring (this kernel has none); use "
               "--aio=threads: Function not implemented" },
    { -EPERM, "Could not set up io_uring (kernel.io_uring_disabled or a "
              "sandbox forbids it); use --aio=threads: Operation not "
              "permitted" },
    { -ENOMEM, "Could not set up io_uring (RLIMIT_MEMLOCK may be too low); "
               "use --aio=threads: Cannot allocate memory" },
    { -EMFILE, "Could not set up io_uring; use --aio=threads: Too many open "
               "files" },
};

START_TEST(io_uring_is_required)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = {
        .cache = HOST_FILE_CACHE_WRITEBACK,
        .aio = HOST_FILE_AIO_IO_URING,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(uring_refusals); i++) {
        faults.uring_error = uring_refusals[i].error;
        assert_open_fails(path, &options, SNAP_ERROR_IO,
                          uring_refusals[i].message);
    }
    scratch_free(scratch);
}
END_TEST

static void coroutine_fn check_locks_are_gone(void *opaque)
{
    FileTest *test = opaque;
    HostFileOptions options = {
        .writable = true,
        .aio = HOST_FILE_AIO_IO_URING,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };

    for (unsigned i = 0; i < 20; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(BlockFile)
            file = host_file_open(test->path, &options, &error);

        ck_assert_msg(file != NULL, "%u: %s", i, error ? error->message : "");
        host_file_read_at_once(file, 3);
    }
}

/* Although the kernel may keep the file open for a while. */
START_TEST(closing_gives_the_locks_back_at_once)
{
    host_file_run_case(CASE_WRITEBACK_URING, "abc", 3, check_locks_are_gone);
}
END_TEST

static void coroutine_fn check_proc_file(void *opaque)
{
    BlockFile *file = opaque;
    g_autofree char *expected = NULL;
    size_t bytes;
    char buffer[4096];

    ck_assert(g_file_get_contents("/proc/version", &expected, &bytes, NULL));
    ck_assert_uint_lt(bytes, sizeof(buffer));
    ck_assert_int_eq(block_file_pread(file, 0, buffer, sizeof(buffer)), 0);
    ck_assert_mem_eq(buffer, expected, bytes);
    ck_assert_uint_eq(buffer[bytes], 0);
    ck_assert_uint_eq(buffer[sizeof(buffer) - 1], 0);
}

/* procfs has regular files and no O_DIRECT. */
START_TEST(without_direct_io)
{
    const char *path = "/proc/version";
    HostFileOptions options = { 0 };
    BlockFile *file;

    ck_assert(!host_file_can_direct(path));
    file = host_file_open(path, &options, NULL);
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(file->alignment, 1);
    event_loop_run(check_proc_file, file);
    block_file_close(file);
    for (unsigned i = 0; i < HOST_FILE_CASES; i++) {
        if (host_file_case_needs_direct(i)) {
            assert_open_fails(path, &host_file_cases[i], SNAP_ERROR_UNSUPPORTED,
                              NO_DIRECT_MESSAGE);
        }
    }
}
END_TEST

static void coroutine_fn check_read_only(void *opaque)
{
    BlockFile *file = opaque;
    char buffer[3];

    ck_assert_int_eq(block_file_pread(file, 0, buffer, 3), 0);
    ck_assert_mem_eq(buffer, "abc", 3);
    ck_assert_int_eq(block_file_pwrite(file, 0, "x", 1), -EBADF);
    ck_assert_int_eq(block_file_truncate(file, 0), -EBADF);
    ck_assert_int_eq(block_file_flush(file), 0);
}

#ifdef STATX_DIOALIGN
static void set_alignment(unsigned memory, unsigned offset)
{
    faults.alignment_is_set = true;
    faults.alignment = memory;
    faults.offset_alignment = offset;
}

/* Opened with everything automatic. */
static void assert_alignment(const char *path, size_t expected)
{
    HostFileOptions options = { 0 };
    int fd = dup(STDIN_FILENO);
    g_autoptr(BlockFile) file = NULL;

    close(fd);
    file = host_file_open(path, &options, NULL);
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(file->alignment, expected);
    /* Where there is none, O_DIRECT has been switched off again. */
    ck_assert_int_eq((fcntl(fd, F_GETFL) & O_DIRECT) != 0, expected > 1);
}

START_TEST(alignment)
{
    Scratch *scratch = scratch_new();
    const char *empty = scratch_write(scratch, "empty", "", 0);
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions direct = { .cache = HOST_FILE_CACHE_NONE };
    BlockFile *file;
    bool works = host_file_can_direct(path);

    set_alignment(4, 512);
    assert_alignment(path, works ? 512 : 1);
    set_alignment(1024, 512);
    assert_alignment(path, works ? 1024 : 1);
    set_alignment(4096, 4096);
    assert_alignment(path, works ? 4096 : 1);
    /* Not on this file, or more than a buffer is aligned to, or nonsense. */
    set_alignment(512, 0);
    assert_alignment(path, 1);
    assert_open_fails(path, &direct, SNAP_ERROR_UNSUPPORTED, NO_DIRECT_MESSAGE);
    set_alignment(512, 16384);
    assert_alignment(path, 1);
    assert_open_fails(path, &direct, SNAP_ERROR_UNSUPPORTED, NO_DIRECT_MESSAGE);
    set_alignment(512, 513);
    assert_alignment(path, 1);
    /* The kernel does not say; an empty file does not tell either. */
    set_alignment(0, 0);
    assert_alignment(empty, works ? 4096 : 1);
    if (works) {
        file = host_file_open(path, &direct, NULL);
        ck_assert_ptr_nonnull(file);
        ck_assert(file->alignment == 512 || file->alignment == 4096);
        event_loop_run(check_read_only, file);
        block_file_close(file);
    }
    scratch_free(scratch);
}
END_TEST
#endif

START_TEST(only_files_and_devices_are_opened)
{
    Scratch *scratch = scratch_new();
    const char *fifo = scratch_path(scratch, "fifo");
    g_autofree char *directory = g_path_get_dirname(fifo);
    HostFileOptions options = { 0 };

    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    for (unsigned i = 0; i < 2; i++) {
        options.writable = i;
        assert_open_fails(fifo, &options, SNAP_ERROR_INVALID,
                          "is a FIFO, not a regular file or block device");
        assert_open_fails(directory, &options, SNAP_ERROR_INVALID,
                          "is a directory, not a regular file or block device");
        assert_open_fails("/dev/full", &options, SNAP_ERROR_INVALID,
                          "is a character device, not a regular file or block "
                          "device");
        assert_open_fails(scratch_path(scratch, "none"), &options,
                          SNAP_ERROR_NOT_FOUND,
                          "Could not open: No such file or directory");
    }
    scratch_free(scratch);
}
END_TEST

START_TEST(socket_is_refused)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_path(scratch, "socket");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    HostFileOptions options = { 0 };

    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_open_fails(path, &options, SNAP_ERROR_IO,
                      "Could not open: No such device or address");
    close(fd);
    scratch_free(scratch);
}
END_TEST

START_TEST(read_only)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = { 0 };
    BlockFile *file;

    /* Even where we may do everything, the descriptor cannot write. */
    g_chmod(path, 0400);
    file = host_file_open(path, &options, NULL);
    ck_assert_ptr_nonnull(file);
    ck_assert(!file->writable);
    event_loop_run(check_read_only, file);
    block_file_close(file);
    scratch_free(scratch);
}
END_TEST

/* What is written there nobody would find again. */
START_TEST(removed_before_it_was_locked)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = { .lock = BLOCK_FILE_LOCK_READ };

    faults.removed_before_lock = path;
    assert_open_fails(path, &options, SNAP_ERROR_NOT_FOUND,
                      "Could not open: the file has just been removed");
    scratch_free(scratch);
}
END_TEST

START_TEST(a_file_without_a_name)
{
    Scratch *scratch = scratch_new();
    int fd = open(scratch_write(scratch, "file", "abc", 3), O_RDONLY);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    HostFileOptions options = { .lock = BLOCK_FILE_LOCK_READ };
    BlockFile *file;

    ck_assert_int_eq(unlink(scratch_path(scratch, "file")), 0);
    file = host_file_open(path, &options, NULL);
    ck_assert_ptr_nonnull(file);
    block_file_close(file);
    close(fd);
    scratch_free(scratch);
}
END_TEST

START_TEST(descriptor_is_not_inherited_and_blocks)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = { .cache = HOST_FILE_CACHE_WRITEBACK };
    /* The lowest free descriptor is what it will get. */
    int fd = dup(STDIN_FILENO);
    BlockFile *file;

    close(fd);
    file = host_file_open(path, &options, NULL);
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_DIRECT), 0);
    block_file_close(file);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    scratch_free(scratch);
}
END_TEST

static unsigned count_threads(void)
{
    GDir *tasks = g_dir_open("/proc/self/task", 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(tasks)) {
        count++;
    }
    g_dir_close(tasks);
    return count;
}

START_TEST(looking_starts_no_thread)
{
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "file", "abc", 3);
    HostFileOptions options = { .lock = BLOCK_FILE_LOCK_READ };
    unsigned before = count_threads();
    BlockFile *file = host_file_open(path, &options, NULL);

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(block_file_size(file), 3);
    ck_assert_uint_eq(count_threads(), before);
    block_file_close(file);
    scratch_free(scratch);
}
END_TEST

static Suite *host_file_open_suite(void)
{
    Suite *suite = suite_create("host-file-open");
    TCase *tcase = tcase_create("host-file-open");

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, clear_faults, NULL);
    tcase_add_test(tcase, native_aio_is_required);
    tcase_add_test(tcase, native_aio_needs_direct);
    tcase_add_test(tcase, io_uring_is_required);
    tcase_add_test(tcase, closing_gives_the_locks_back_at_once);
    tcase_add_test(tcase, without_direct_io);
#ifdef STATX_DIOALIGN
    tcase_add_test(tcase, alignment);
#endif
    tcase_add_test(tcase, only_files_and_devices_are_opened);
    tcase_add_test(tcase, socket_is_refused);
    tcase_add_test(tcase, read_only);
    tcase_add_test(tcase, removed_before_it_was_locked);
    tcase_add_test(tcase, a_file_without_a_name);
    tcase_add_test(tcase, descriptor_is_not_inherited_and_blocks);
    tcase_add_test(tcase, looking_starts_no_thread);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(host_file_open_suite());
}
