/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The locks that keep QEMU, its tools and us apart. The judge is qemu-img:
 * whatever locks are there, we must fail when it fails, with the same words,
 * and the other way round.
 *
 * Needs qemu-img, qemu-io and qemu-system-x86_64.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host-file.h"
#include "run-suite.h"
#include "scratch.h"
#include "snap-error.h"

#define QUESTION " (is another process using the image?)"

/* Runs a program to its end. Returns its exit status. */
static int run(char **errors, const char *program, ...)
{
    g_autoptr(GPtrArray) arguments = g_ptr_array_new();
    g_autofree char *discarded = NULL;
    const char *argument = program;
    GError *error = NULL;
    int status;
    va_list args;

    va_start(args, program);
    for (; argument; argument = va_arg(args, const char *)) {
        g_ptr_array_add(arguments, (char *)argument);
    }
    va_end(args);
    g_ptr_array_add(arguments, NULL);
    g_spawn_sync(NULL, (char **)arguments->pdata, NULL, G_SPAWN_SEARCH_PATH,
                 NULL, NULL, &discarded, errors, &status, &error);
    ck_assert_msg(!error, "%s", error ? error->message : "");
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static const char *make_image(Scratch *scratch)
{
    const char *path = scratch_path(scratch, "image.qcow2");
    g_autofree char *errors = NULL;

    ck_assert_int_eq(run(&errors, "qemu-img", "create", "-q", "-f", "qcow2",
                         path, "16M", NULL),
                     0);
    return path;
}

/*
 * The words after "Could not open '...': " on the first line of what qemu-img
 * says; empty when it succeeds.
 */
static char *words_of_qemu_img(const char *path, BlockFileLock lock)
{
    g_autofree char *errors = NULL;
    g_autofree char *prefix =
        g_strdup_printf("qemu-img: Could not open '%s': ", path);
    int status;

    if (lock == BLOCK_FILE_LOCK_WRITE) {
        status = run(&errors, "qemu-img", "snapshot", "-c", "s", path, NULL);
    } else {
        status = run(&errors, "qemu-img", "snapshot", "-l", path, NULL);
    }
    if (status == 0) {
        return g_strdup("");
    }
    ck_assert_msg(g_str_has_prefix(errors, prefix), "%s", errors);
    return g_strndup(errors + strlen(prefix),
                     strcspn(errors + strlen(prefix), "\n"));
}

/* The same for us, without the question at the end. */
static char *words_of_ours(const char *path, BlockFileLock lock)
{
    HostFileOptions options = {
        .writable = lock == BLOCK_FILE_LOCK_WRITE,
        .lock = lock,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(BlockFile) file = host_file_open(path, &options, &error);

    if (file) {
        ck_assert_ptr_null(error);
        return g_strdup("");
    }
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_LOCKED));
    ck_assert(g_str_has_suffix(error->message, QUESTION));
    return g_strndup(error->message, strlen(error->message) - strlen(QUESTION));
}

static void assert_words(const char *path, BlockFileLock lock,
                         const char *expected)
{
    g_autofree char *theirs = words_of_qemu_img(path, lock);
    g_autofree char *ours = words_of_ours(path, lock);

    ck_assert_str_eq(ours, theirs);
    ck_assert_str_eq(ours, expected);
}

static int lock_byte(int fd, int byte, short type)
{
    struct flock lock = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };

    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* Somebody who holds some bytes, and what we say to that. */
typedef struct StandIn {
    const char *name;
    int bytes[6]; /* up to the first 0 */
    const char *reading;
    const char *writing;
} StandIn;

static const StandIn stand_ins[] = {
    { "guest",
      { 100, 101, 103, 201, 203 },
      "Failed to get shared \"write\" lock",
      "Failed to get \"write\" lock" },
    { "read-only guest",
      { 100, 201, 203 },
      "",
      "Failed to get \"write\" lock" },
    { "raw guest",
      { 100, 101, 201 },
      "Failed to get shared \"write\" lock",
      "Failed to get \"write\" lock" },
    { "shared raw guest",
      { 100, 101 },
      "Failed to get shared \"write\" lock",
      "Failed to get shared \"write\" lock" },
    { "qemu-img info", { 201, 203 }, "", "Failed to get \"write\" lock" },
    { "migration source at its end", { 100 }, "", "" },
    { "one who resizes",
      { 103 },
      "Failed to get shared \"resize\" lock",
      "Failed to get shared \"resize\" lock" },
    { "one who forbids resizing",
      { 203 },
      "",
      "Failed to get \"resize\" lock" },
    { "one who forbids reading",
      { 200 },
      "Failed to get \"consistent read\" lock",
      "Failed to get \"consistent read\" lock" },
    { "one who writes what is there", { 102, 202 }, "", "" },
    { "somebody else's byte", { 0 }, "", "" },
};

START_TEST(same_words_as_qemu_img)
{
    const StandIn *stand_in = &stand_ins[_i];
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    g_autofree char *unlocked = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(lock_byte(fd, 0, F_RDLCK), 0);
    for (unsigned i = 0; stand_in->bytes[i]; i++) {
        ck_assert_int_eq(lock_byte(fd, stand_in->bytes[i], F_RDLCK), 0);
    }
    assert_words(path, BLOCK_FILE_LOCK_READ, stand_in->reading);
    assert_words(path, BLOCK_FILE_LOCK_WRITE, stand_in->writing);
    /* Without locks nothing is in the way. */
    unlocked = words_of_ours(path, BLOCK_FILE_LOCK_NONE);
    ck_assert_str_eq(unlocked, "");
    close(fd);
    assert_words(path, BLOCK_FILE_LOCK_WRITE, "");
    scratch_free(scratch);
}
END_TEST

/* Not QEMU's way, but somebody might. */
START_TEST(foreign_write_lock)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    int fd = open(path, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(lock_byte(fd, 201, F_WRLCK), 0);
    assert_words(path, BLOCK_FILE_LOCK_READ, "Failed to lock byte 201");
    assert_words(path, BLOCK_FILE_LOCK_WRITE, "Failed to lock byte 201");
    /* Nothing of what was taken before that is left. */
    close(fd);
    assert_words(path, BLOCK_FILE_LOCK_WRITE, "");
    scratch_free(scratch);
}
END_TEST

static BlockFile *open_image(const char *path, BlockFileLock lock)
{
    HostFileOptions options = { .writable = true, .lock = lock };
    g_autoptr(GError) error = NULL;
    BlockFile *file = host_file_open(path, &options, &error);

    ck_assert_msg(file != NULL, "%s", error ? error->message : "");
    return file;
}

/* All bytes of the first 1024 on which others hold read locks. */
static char *list_locked_bytes(const char *path)
{
    GString *list = g_string_new("");
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    for (int byte = 0; byte < 1024; byte++) {
        struct flock lock = {
            .l_type = F_WRLCK,
            .l_whence = SEEK_SET,
            .l_start = byte,
            .l_len = 1,
        };

        ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
        if (lock.l_type != F_UNLCK) {
            ck_assert_int_eq(lock.l_type, F_RDLCK);
            g_string_append_printf(list, "%d ", byte);
        }
    }
    close(fd);
    return g_string_free(list, FALSE);
}

static void assert_locked_bytes(const char *path, const char *expected)
{
    g_autofree char *list = list_locked_bytes(path);

    ck_assert_str_eq(list, expected);
}

#define READ_BYTES  "100 201 203 "
#define WRITE_BYTES "100 101 103 201 203 "

START_TEST(locks_change)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    BlockFile *file = open_image(path, BLOCK_FILE_LOCK_NONE);
    const struct {
        BlockFileLock lock;
        const char *bytes;
    } steps[] = {
        { BLOCK_FILE_LOCK_READ, READ_BYTES },
        { BLOCK_FILE_LOCK_READ, READ_BYTES },
        { BLOCK_FILE_LOCK_WRITE, WRITE_BYTES },
        { BLOCK_FILE_LOCK_READ, READ_BYTES },
        { BLOCK_FILE_LOCK_NONE, "" },
        { BLOCK_FILE_LOCK_NONE, "" },
        { BLOCK_FILE_LOCK_WRITE, WRITE_BYTES },
        { BLOCK_FILE_LOCK_NONE, "" },
        { BLOCK_FILE_LOCK_WRITE, WRITE_BYTES },
    };

    assert_locked_bytes(path, "");
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        ck_assert(block_file_lock(file, steps[i].lock, NULL));
        assert_locked_bytes(path, steps[i].bytes);
    }
    block_file_close(file);
    assert_locked_bytes(path, "");
    scratch_free(scratch);
}
END_TEST

static void assert_lock_fails(BlockFile *file, BlockFileLock lock,
                              const char *expected)
{
    g_autoptr(GError) error = NULL;

    ck_assert(!block_file_lock(file, lock, &error));
    ck_assert(g_error_matches(error, SNAP_ERROR, SNAP_ERROR_LOCKED));
    ck_assert_str_eq(error->message, expected);
}

/* Two files of one process are strangers to each other. */
START_TEST(two_files_conflict)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    g_autoptr(BlockFile) first = open_image(path, BLOCK_FILE_LOCK_READ);
    g_autoptr(BlockFile) second = open_image(path, BLOCK_FILE_LOCK_READ);

    /* Readers get along; neither can become a writer, both stay readers. */
    assert_lock_fails(second, BLOCK_FILE_LOCK_WRITE,
                      "Failed to get \"write\" lock" QUESTION);
    assert_lock_fails(first, BLOCK_FILE_LOCK_WRITE,
                      "Failed to get \"write\" lock" QUESTION);
    assert_locked_bytes(path, READ_BYTES);
    ck_assert(block_file_lock(first, BLOCK_FILE_LOCK_NONE, NULL));
    assert_locked_bytes(path, READ_BYTES);
    ck_assert(block_file_lock(second, BLOCK_FILE_LOCK_WRITE, NULL));
    assert_lock_fails(first, BLOCK_FILE_LOCK_WRITE,
                      "Failed to get \"write\" lock" QUESTION);
    assert_lock_fails(first, BLOCK_FILE_LOCK_READ,
                      "Failed to get shared \"write\" lock" QUESTION);
    assert_locked_bytes(path, WRITE_BYTES);
    g_clear_pointer(&second, block_file_close);
    assert_locked_bytes(path, "");
    ck_assert(block_file_lock(first, BLOCK_FILE_LOCK_WRITE, NULL));
    scratch_free(scratch);
}
END_TEST

/* One who takes a lock although ours is in the way. */
START_TEST(change_tests_everything_again)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    g_autoptr(BlockFile) file = open_image(path, BLOCK_FILE_LOCK_READ);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(lock_byte(fd, 103, F_RDLCK), 0);
    assert_lock_fails(file, BLOCK_FILE_LOCK_WRITE,
                      "Failed to get shared \"resize\" lock" QUESTION);
    close(fd);
    assert_locked_bytes(path, READ_BYTES);
    ck_assert(block_file_lock(file, BLOCK_FILE_LOCK_WRITE, NULL));
    scratch_free(scratch);
}
END_TEST

static void assert_status(int expected, const char *command, const char *path)
{
    g_auto(GStrv) words = g_strsplit(command, " ", -1);
    g_autofree char *errors = NULL;

    ck_assert_int_eq(g_strv_length(words), 4);
    ck_assert_int_eq(
        run(&errors, words[0], words[1], words[2], words[3], path, NULL),
        expected);
    if (expected != 0) {
        ck_assert_ptr_nonnull(strstr(errors, "lock"));
    }
}

START_TEST(tools_respect_our_write_lock)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    g_autoptr(BlockFile) file = open_image(path, BLOCK_FILE_LOCK_WRITE);

    ck_assert_ptr_nonnull(file);
    assert_status(1, "qemu-img info -f qcow2", path);
    assert_status(1, "qemu-img check -f qcow2", path);
    assert_status(1, "qemu-img snapshot -q -l", path);
    assert_status(1, "qemu-img snapshot -c x", path);
    assert_status(1, "qemu-io -r -c quit", path);
    assert_status(0, "qemu-img info -U -fqcow2", path);
    scratch_free(scratch);
}
END_TEST

START_TEST(tools_respect_our_read_lock)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    g_autoptr(BlockFile) file = open_image(path, BLOCK_FILE_LOCK_READ);

    assert_status(0, "qemu-img info -f qcow2", path);
    assert_status(0, "qemu-img check -f qcow2", path);
    assert_status(0, "qemu-img snapshot -q -l", path);
    assert_status(0, "qemu-io -r -c quit", path);
    assert_status(1, "qemu-img snapshot -c x", path);
    assert_status(1, "qemu-io -n -c quit", path);
    ck_assert(block_file_lock(file, BLOCK_FILE_LOCK_NONE, NULL));
    assert_status(0, "qemu-img snapshot -c x", path);
    scratch_free(scratch);
}
END_TEST

/* In the child: not to outlive a test that fails. */
static void die_with_the_test(void *opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static pid_t start_guest(const char *path, bool is_read_only)
{
    g_autofree char *drive =
        g_strdup_printf("file=%s,if=virtio,format=qcow2,readonly=%s", path,
                        is_read_only ? "on" : "off");
    const char *arguments[] = {
        "qemu-system-x86_64", "-accel",   "tcg",  "-S",     "-m",  "64",
        "-nodefaults",        "-display", "none", "-drive", drive, NULL,
    };
    GPid child;

    ck_assert(g_spawn_async(NULL, (char **)arguments, NULL,
                            G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                            die_with_the_test, NULL, &child, NULL));
    return child;
}

static void stop_guest(pid_t child)
{
    int status;

    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
}

/* Until the guest has opened its disk, but not for ever. */
static void wait_for_locks(const char *path, const char *expected)
{
    g_autofree char *list = list_locked_bytes(path);

    for (unsigned i = 0; strcmp(list, expected) != 0; i++) {
        ck_assert_msg(i < 600, "the guest locks %s", list);
        g_usleep(50 * 1000);
        g_free(list);
        list = list_locked_bytes(path);
    }
}

START_TEST(running_guest)
{
    Scratch *scratch = scratch_new();
    const char *path = make_image(scratch);
    bool is_read_only = _i;
    pid_t guest = start_guest(path, is_read_only);

    wait_for_locks(path, is_read_only ? READ_BYTES : WRITE_BYTES);
    assert_words(path, BLOCK_FILE_LOCK_READ,
                 is_read_only ? "" : "Failed to get shared \"write\" lock");
    assert_words(path, BLOCK_FILE_LOCK_WRITE, "Failed to get \"write\" lock");
    stop_guest(guest);
    assert_words(path, BLOCK_FILE_LOCK_WRITE, "");
    scratch_free(scratch);
}
END_TEST

static Suite *image_lock_suite(void)
{
    Suite *suite = suite_create("image-lock");
    TCase *tcase = tcase_create("image-lock");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, same_words_as_qemu_img, 0,
                        G_N_ELEMENTS(stand_ins));
    tcase_add_test(tcase, foreign_write_lock);
    tcase_add_test(tcase, locks_change);
    tcase_add_test(tcase, two_files_conflict);
    tcase_add_test(tcase, change_tests_everything_again);
    tcase_add_test(tcase, tools_respect_our_write_lock);
    tcase_add_test(tcase, tools_respect_our_read_lock);
    tcase_add_loop_test(tcase, running_guest, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(image_lock_suite());
}
