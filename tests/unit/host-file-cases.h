/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What the tests of host files share: all ways to open one.
 *
 * Whether O_DIRECT and io_uring work depends on where the tests run. They find
 * that out by themselves and expect the answer that goes with it.
 */
#ifndef HOST_FILE_CASES_H
#define HOST_FILE_CASES_H

#include "host-file.h"
#include "scratch.h"
#include "snap-error.h"

/* All that make sense: native AIO is for O_DIRECT. */
typedef enum HostFileCase {
    CASE_AUTOMATIC,
    CASE_AUTOMATIC_NATIVE,
    CASE_AUTOMATIC_THREADS,
    CASE_AUTOMATIC_URING,
    CASE_NONE,
    CASE_NONE_NATIVE,
    CASE_NONE_THREADS,
    CASE_NONE_URING,
    CASE_DIRECTSYNC,
    CASE_DIRECTSYNC_NATIVE,
    CASE_DIRECTSYNC_THREADS,
    CASE_DIRECTSYNC_URING,
    CASE_WRITEBACK,
    CASE_WRITEBACK_THREADS,
    CASE_WRITEBACK_URING,
    CASE_UNSAFE,
    CASE_UNSAFE_THREADS,
    CASE_UNSAFE_URING,
    HOST_FILE_CASES,
} HostFileCase;

extern const HostFileOptions host_file_cases[HOST_FILE_CASES];

bool host_file_case_needs_direct(HostFileCase which);

/* Can the file at @path be opened with O_DIRECT? */
bool host_file_can_direct(const char *path);

#define NO_DIRECT_MESSAGE \
    "the file system does not support O_DIRECT; use --cache=writeback"

/* What is said when io_uring cannot be set up, up to the reason. */
#define NO_URING_MESSAGE "Could not set up io_uring"

void assert_open_fails(const char *path, const HostFileOptions *options,
                       SnapError code, const char *message);

typedef struct FileTest {
    Scratch *scratch;
    const char *path;
    BlockFile *file;
} FileTest;

/*
 * Run @func, with a FileTest, on a new file of this content that is opened for
 * writing. Where that is refused for want of O_DIRECT or io_uring, check the
 * refusal.
 */
void host_file_run_case(HostFileCase which, const char *content, size_t bytes,
                        CoroutineFunc *func);

/* What others see of the file, from @offset on. */
void assert_on_disk(FileTest *test, off_t offset, const void *expected,
                    size_t bytes);

/* Does this process have a context of native AIO? */
bool has_native_aio(void);

/* So many reads of the file "abc", all in flight at once. */
void coroutine_fn host_file_read_at_once(BlockFile *file, unsigned count);

#endif /* HOST_FILE_CASES_H */
