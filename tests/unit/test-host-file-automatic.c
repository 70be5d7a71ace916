/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What a host file uses when the choice is left to it: the fastest engine that
 * works, O_DIRECT where it works. Each thing that may be refused is refused
 * here, and the trace tells of it.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine-cases.h"
#include "event-loop.h"
#include "host-file-cases.h"
#include "run-suite.h"

/* Our own versions of what sets up engines and O_DIRECT. */
static struct {
    int setup_error;
    unsigned setup_calls;
    int uring_error;
    unsigned uring_calls;
    unsigned exit_calls;
    int register_error;
    size_t registered; /* bytes, now */
    unsigned register_calls;
    bool refuses_direct;
    int reopen_error;
} faults;

int open64(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    mode_t mode;
    va_list args;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (faults.reopen_error && g_str_has_prefix(path, "/proc/self/fd/")) {
        errno = faults.reopen_error;
        return -1;
    }
    return real(path, flags, mode);
}

int io_setup(int maxevents, io_context_t *context)
{
    int (*real)(int, io_context_t *) = dlsym(RTLD_NEXT, "io_setup");

    faults.setup_calls++;
    return faults.setup_error ? faults.setup_error : real(maxevents, context);
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    typeof(io_uring_queue_init) *real = dlsym(RTLD_NEXT, "io_uring_queue_init");

    faults.uring_calls++;
    return faults.uring_error ? faults.uring_error : real(entries, ring, flags);
}

void io_uring_queue_exit(struct io_uring *ring)
{
    typeof(io_uring_queue_exit) *real = dlsym(RTLD_NEXT, "io_uring_queue_exit");

    faults.exit_calls++;
    real(ring);
}

int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov,
                              unsigned count)
{
    typeof(io_uring_register_buffers) *real =
        dlsym(RTLD_NEXT, "io_uring_register_buffers");
    int ret = faults.register_error;

    faults.register_calls++;
    if (ret == 0) {
        ret = real(ring, iov, count);
    }
    if (ret == 0) {
        faults.registered = iov->iov_len;
    }
    return ret;
}

int io_uring_unregister_buffers(struct io_uring *ring)
{
    typeof(io_uring_unregister_buffers) *real =
        dlsym(RTLD_NEXT, "io_uring_unregister_buffers");

    faults.registered = 0;
    return real(ring);
}

#ifdef STATX_DIOALIGN
int statx(int fd, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict status)
{
    typeof(statx) *real = dlsym(RTLD_NEXT, "statx");
    int ret = real(fd, path, flags, mask, status);

    if (faults.refuses_direct) {
        status->stx_mask |= STATX_DIOALIGN;
        status->stx_dio_mem_align = 0;
        status->stx_dio_offset_align = 0;
    }
    return ret;
}
#endif

typedef struct ChoiceTest {
    Scratch *scratch;
    const char *path;
    const char *trace_path;
    Trace *trace;
    BlockFile *file;
    void *buffer;
} ChoiceTest;

#define BUFFER_LENGTH ((size_t)64 * 1024)

/* With O_DIRECT, or returns false. */
static bool choice_test_open(ChoiceTest *test, HostFileOptions options)
{
    g_autofree char *spec = NULL;
    g_autoptr(GError) error = NULL;

    test->scratch = scratch_new();
    test->path = scratch_write(test->scratch, "file", "abc", 3);
    test->trace_path = scratch_path(test->scratch, "trace");
    test->buffer = block_file_alloc_buffer(BUFFER_LENGTH);
    spec = g_strdup_printf("file=%s", test->trace_path);
    test->trace = trace_new(spec, &error);
    ck_assert_msg(test->trace != NULL, "%s", error ? error->message : "");
    options.trace = test->trace;
    test->file = host_file_open(test->path, &options, &error);
    ck_assert_msg(test->file != NULL, "%s", error ? error->message : "");
    return test->file->alignment > 1;
}

static void choice_test_close(ChoiceTest *test)
{
    block_file_close(test->file);
    trace_free(test->trace);
    free(test->buffer);
    scratch_free(test->scratch);
}

static bool is_traced(ChoiceTest *test, const char *line)
{
    g_autofree char *words = NULL;
    g_autofree char *whole = g_strdup_printf("%s\n", line);

    ck_assert(g_file_get_contents(test->trace_path, &words, NULL, NULL));
    return strstr(words, whole) != NULL;
}

static void run_choice_case(bool writable, CoroutineFunc *func)
{
    ChoiceTest test;

    memset(&faults, 0, sizeof(faults));
    if (choice_test_open(&test, (HostFileOptions){ .writable = writable })) {
        event_loop_run(func, &test);
    }
    choice_test_close(&test);
}

#define REASON         " reason='several requests in flight'"
#define URING_CHOSEN   "host_file_engine engine=io_uring" REASON
#define NATIVE_CHOSEN  "host_file_engine engine=native" REASON
#define URING_REFUSED  "host_file_fallback wanted='io_uring' used='native AIO'"
#define NATIVE_REFUSED "host_file_fallback wanted='native AIO' used='threads'"

static void coroutine_fn check_uring(void *opaque)
{
    ChoiceTest *test = opaque;

    if (engine_uring_refusal() < 0) {
        return;
    }
    ck_assert(is_traced(test, "host_file_engine engine=threads reason='few "
                              "requests in flight'"));
    host_file_read_at_once(test->file, 1);
    host_file_read_at_once(test->file, 3);
    ck_assert_uint_eq(faults.uring_calls, 0);
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.uring_calls, 1);
    ck_assert(is_traced(test, URING_CHOSEN));
    /* It is kept over the end of a phase: it costs nothing. */
    ck_assert(block_file_lock(test->file, BLOCK_FILE_LOCK_NONE, NULL));
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.uring_calls, 1);
    ck_assert_uint_eq(faults.exit_calls, 0);
    ck_assert_uint_eq(faults.setup_calls, 0);
}

START_TEST(io_uring_when_it_pays)
{
    run_choice_case(false, check_uring);
    ck_assert_uint_eq(faults.exit_calls, faults.uring_calls);
}
END_TEST

/* It goes in the background. */
static void wait_for_no_native_aio(void)
{
    for (unsigned i = 0; has_native_aio(); i++) {
        ck_assert_uint_lt(i, 3000);
        g_usleep(10 * 1000);
    }
}

static void coroutine_fn check_native(ChoiceTest *test)
{
    host_file_read_at_once(test->file, 3);
    ck_assert(!has_native_aio());
    host_file_read_at_once(test->file, 8);
    ck_assert(has_native_aio());
    ck_assert(is_traced(test, NATIVE_CHOSEN));
    /* The end of a phase; then the next one. */
    ck_assert(block_file_lock(test->file, BLOCK_FILE_LOCK_NONE, NULL));
    wait_for_no_native_aio();
    ck_assert(is_traced(test, "host_file_engine engine=threads reason='the "
                              "phase is over'"));
    host_file_read_at_once(test->file, 1);
    ck_assert(!has_native_aio());
    host_file_read_at_once(test->file, 8);
    ck_assert(has_native_aio());
}

static void coroutine_fn check_native_instead(void *opaque)
{
    ChoiceTest *test = opaque;

    faults.uring_error = -EPERM;
    check_native(test);
    ck_assert(
        is_traced(test, URING_REFUSED " error='Operation not permitted'"));
    /* What was refused once is not asked for again. */
    ck_assert_uint_eq(faults.uring_calls, 1);
}

START_TEST(native_without_io_uring)
{
    run_choice_case(false, check_native_instead);
}
END_TEST

static void coroutine_fn check_no_second_file(void *opaque)
{
    ChoiceTest *test = opaque;

    faults.reopen_error = ENOENT;
    check_native(test);
    ck_assert(
        is_traced(test, URING_REFUSED " error='No such file or directory'"));
    ck_assert_uint_eq(faults.uring_calls, 0);
}

/* io_uring on the file that has the locks is no choice. */
START_TEST(native_without_proc)
{
    run_choice_case(false, check_no_second_file);
}
END_TEST

static void coroutine_fn check_writer(void *opaque)
{
    ChoiceTest *test = opaque;

    check_native(test);
    ck_assert_int_eq(block_file_flush(test->file), 0);
    wait_for_no_native_aio();
    ck_assert_uint_eq(faults.uring_calls, 0);
}

START_TEST(native_for_writers)
{
    run_choice_case(true, check_writer);
}
END_TEST

static void coroutine_fn check_threads(void *opaque)
{
    ChoiceTest *test = opaque;

    faults.uring_error = -ENOSYS;
    faults.setup_error = -EAGAIN;
    host_file_read_at_once(test->file, 8);
    ck_assert(
        is_traced(test, URING_REFUSED " error='Function not implemented'"));
    ck_assert(is_traced(test, NATIVE_REFUSED
                        " error='Resource temporarily unavailable'"));
    /* They are not tried again and again. */
    faults.uring_error = 0;
    faults.setup_error = 0;
    host_file_read_at_once(test->file, 8);
    ck_assert(block_file_lock(test->file, BLOCK_FILE_LOCK_NONE, NULL));
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.uring_calls, 1);
    ck_assert_uint_eq(faults.setup_calls, 1);
}

START_TEST(threads_without_both)
{
    run_choice_case(false, check_threads);
}
END_TEST

static void coroutine_fn check_buffered(void *opaque)
{
    ChoiceTest *test = opaque;

    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.uring_calls, 0);
    ck_assert_uint_eq(faults.setup_calls, 0);
    ck_assert(is_traced(test, "host_file_engine engine=threads reason='the "
                              "page cache is used'"));
    ck_assert(is_traced(test, "host_file_open cache=writeback alignment=1 "
                              "page_cache_reads=no"));
}

START_TEST(threads_in_the_page_cache)
{
    ChoiceTest test;

    memset(&faults, 0, sizeof(faults));
    ck_assert(!choice_test_open(
        &test, (HostFileOptions){ .cache = HOST_FILE_CACHE_WRITEBACK }));
    event_loop_run(check_buffered, &test);
    ck_assert(!is_traced(&test, "host_file_fallback wanted='O_DIRECT' "
                                "used='page cache' error='Invalid argument'"));
    choice_test_close(&test);
}
END_TEST

#ifdef STATX_DIOALIGN
START_TEST(page_cache_without_direct)
{
    ChoiceTest test;

    memset(&faults, 0, sizeof(faults));
    faults.refuses_direct = true;
    ck_assert(!choice_test_open(&test, (HostFileOptions){ 0 }));
    event_loop_run(check_buffered, &test);
    ck_assert(is_traced(&test, "host_file_fallback wanted='O_DIRECT' "
                               "used='page cache' error='Invalid argument'"));
    choice_test_close(&test);
}
END_TEST
#endif

static void coroutine_fn check_named_engine(void *opaque)
{
    ChoiceTest *test = opaque;

    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.uring_calls, 0);
    ck_assert_uint_eq(faults.setup_calls, 0);
    ck_assert(is_traced(test, "host_file_engine engine=threads reason='asked "
                              "for'"));
}

START_TEST(named_engine_stays)
{
    ChoiceTest test;

    memset(&faults, 0, sizeof(faults));
    choice_test_open(&test, (HostFileOptions){ .aio = HOST_FILE_AIO_THREADS });
    event_loop_run(check_named_engine, &test);
    choice_test_close(&test);
}
END_TEST

static void coroutine_fn check_late_registration(void *opaque)
{
    ChoiceTest *test = opaque;

    if (engine_uring_refusal() < 0) {
        return;
    }
    block_file_register_buffers(test->file, test->buffer, BUFFER_LENGTH);
    host_file_read_at_once(test->file, 3);
    ck_assert_uint_eq(faults.register_calls, 0);
    /* As soon as there is somebody who has use for it. */
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.registered, BUFFER_LENGTH);
    ck_assert(is_traced(test, "host_file_buffers registered_bytes=65536"));
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.register_calls, 1);
    block_file_unregister_buffers(test->file);
    ck_assert_uint_eq(faults.registered, 0);
    /* Once more; the file is closed with it. */
    block_file_register_buffers(test->file, test->buffer, BUFFER_LENGTH);
    ck_assert_uint_eq(faults.registered, BUFFER_LENGTH);
    host_file_read_at_once(test->file, 8);
}

START_TEST(buffers_are_registered_late)
{
    run_choice_case(false, check_late_registration);
}
END_TEST

static void coroutine_fn check_early_end(void *opaque)
{
    ChoiceTest *test = opaque;

    block_file_register_buffers(test->file, test->buffer, BUFFER_LENGTH);
    block_file_unregister_buffers(test->file);
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.register_calls, 0);
    /* Nothing is no region. */
    block_file_register_buffers(test->file, test->buffer, 0);
    ck_assert_uint_eq(faults.register_calls, 0);
}

START_TEST(buffers_that_were_never_needed)
{
    run_choice_case(false, check_early_end);
}
END_TEST

static void coroutine_fn check_refused_registration(void *opaque)
{
    ChoiceTest *test = opaque;

    if (engine_uring_refusal() < 0) {
        return;
    }
    faults.register_error = -ENOMEM;
    block_file_register_buffers(test->file, test->buffer, BUFFER_LENGTH);
    host_file_read_at_once(test->file, 8);
    ck_assert(is_traced(test, "host_file_fallback wanted='registered buffers' "
                              "used='plain buffers' error='Cannot allocate "
                              "memory'"));
    host_file_read_at_once(test->file, 8);
    ck_assert_uint_eq(faults.register_calls, 1);
    block_file_unregister_buffers(test->file);
}

START_TEST(refused_registration_is_no_error)
{
    run_choice_case(false, check_refused_registration);
}
END_TEST

static void coroutine_fn check_other_engine(void *opaque)
{
    ChoiceTest *test = opaque;

    faults.uring_error = -EPERM;
    block_file_register_buffers(test->file, test->buffer, BUFFER_LENGTH);
    host_file_read_at_once(test->file, 8);
    ck_assert(has_native_aio());
    block_file_unregister_buffers(test->file);
    ck_assert_uint_eq(faults.register_calls, 0);
    ck_assert(!is_traced(test, "host_file_fallback wanted='registered buffers' "
                               "used='plain buffers' error='Operation not "
                               "supported'"));
}

START_TEST(other_engines_have_no_use_for_it)
{
    run_choice_case(false, check_other_engine);
}
END_TEST

/* A process that reads without an end, until it is killed. */
enum {
    VICTIM_REQUESTS = 8,
    VICTIM_BYTES = 1024 * 1024,
    KILLS = 5,
};

typedef struct Victim {
    BlockFile *file;
    uint8_t *buffer;
    unsigned next;
    unsigned over;
    int words; /* to whoever wants to kill it */
} Victim;

static void coroutine_fn run_victim_request(void *opaque)
{
    Victim *victim = opaque;
    int64_t offset = (int64_t)victim->next++ * VICTIM_BYTES;

    while (block_file_pread(victim->file, offset, victim->buffer + offset,
                            VICTIM_BYTES) == 0) {
        /* By now all of them go through io_uring. */
        if (++victim->over == 3 * VICTIM_REQUESTS &&
            write(victim->words, "x", 1) != 1) {
            break;
        }
    }
    _exit(1);
}

static void coroutine_fn run_victim(void *opaque)
{
    for (unsigned i = 0; i < VICTIM_REQUESTS; i++) {
        event_loop_start(run_victim_request, opaque);
    }
    coroutine_yield();
}

static void be_a_victim(const char *path, int words)
{
    HostFileOptions options = {
        .cache = HOST_FILE_CACHE_NONE,
        .lock = BLOCK_FILE_LOCK_READ,
    };
    Victim victim = {
        .buffer = block_file_alloc_buffer(VICTIM_REQUESTS * VICTIM_BYTES),
        .file = host_file_open(path, &options, NULL),
        .words = words,
    };

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (victim.file) {
        event_loop_run(run_victim, &victim);
    }
    _exit(1);
}

static void kill_at_work(const char *path)
{
    int words[2];
    char word;
    int status;
    pid_t child;

    ck_assert_int_eq(pipe(words), 0);
    child = fork();
    if (child == 0) {
        be_a_victim(path, words[1]);
    }
    close(words[1]);
    ck_assert_int_eq(read(words[0], &word, 1), 1);
    close(words[0]);
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
}

static void assert_is_free(const char *path)
{
    HostFileOptions options = {
        .writable = true,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(BlockFile) file = host_file_open(path, &options, &error);

    ck_assert_msg(file != NULL, "%s", error ? error->message : "");
}

/* Whoever killed a reader and has waited for it finds no lock of its. */
START_TEST(locks_go_with_the_process)
{
    Scratch *scratch = scratch_new();
    g_autofree char *content = g_malloc0(VICTIM_REQUESTS * VICTIM_BYTES);
    const char *path =
        scratch_write(scratch, "file", content, VICTIM_REQUESTS * VICTIM_BYTES);

    memset(&faults, 0, sizeof(faults));
    if (host_file_can_direct(path) && engine_uring_refusal() == 0) {
        for (unsigned i = 0; i < KILLS; i++) {
            kill_at_work(path);
            assert_is_free(path);
        }
    }
    scratch_free(scratch);
}
END_TEST

static Suite *host_file_automatic_suite(void)
{
    Suite *suite = suite_create("host-file-automatic");
    TCase *tcase = tcase_create("host-file-automatic");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, io_uring_when_it_pays);
    tcase_add_test(tcase, native_without_io_uring);
    tcase_add_test(tcase, native_without_proc);
    tcase_add_test(tcase, native_for_writers);
    tcase_add_test(tcase, threads_without_both);
    tcase_add_test(tcase, threads_in_the_page_cache);
#ifdef STATX_DIOALIGN
    tcase_add_test(tcase, page_cache_without_direct);
#endif
    tcase_add_test(tcase, named_engine_stays);
    tcase_add_test(tcase, buffers_are_registered_late);
    tcase_add_test(tcase, buffers_that_were_never_needed);
    tcase_add_test(tcase, refused_registration_is_no_error);
    tcase_add_test(tcase, other_engines_have_no_use_for_it);
    tcase_add_test(tcase, locks_go_with_the_process);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(host_file_automatic_suite());
}
