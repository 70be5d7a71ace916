/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Waiting for images that somebody else has locked. An interrupt that came
 * before tells a wait that is over from one that would have gone on.
 */
#include <check.h>
#include <signal.h>

#include "../../snap-target.h"
#include "event-loop.h"
#include "qcow2-fixture.h"
#include "run-suite.h"
#include "scratch.h"
#include "signal-delivery.h"
#include "snap-error.h"

#define WAIT_SECONDS 600

typedef struct Waiting {
    SnapOptions options;
    SnapWait wait;
    GError *error;
} Waiting;

static void coroutine_fn wait_entry(void *opaque)
{
    Waiting *waiting = opaque;
    SnapTarget target = { 0 };

    ck_assert(!snap_target_wait(&waiting->options, &waiting->wait, &target,
                                &waiting->error));
    snap_target_close(&waiting->options, &target, true);
}

static void ignore(void *opaque)
{
}

/* Wait for a locked image, by a wait that began @seconds ago; 0: begins now. */
static GError *wait_for_locked(unsigned seconds)
{
    g_autoptr(Interrupt) interrupt = interrupt_new(ignore, NULL);
    Scratch *scratch = scratch_new();
    const char *path = scratch_write(scratch, "image", "", 0);
    HostFileOptions options = {
        .writable = true,
        .lock = BLOCK_FILE_LOCK_WRITE,
    };
    BlockFile *holder = host_file_open(path, &options, NULL);
    Waiting waiting = {
        .options = { .image = path, .wait_lock = WAIT_SECONDS },
        .wait = { .interrupt = interrupt },
    };
    gint64 since;

    ck_assert_ptr_nonnull(holder);
    if (seconds) {
        waiting.wait.since = g_get_monotonic_time() -
                             seconds * G_TIME_SPAN_SECOND;
    }
    since = waiting.wait.since;
    signal_deliver(SIGHUP);
    event_loop_run(wait_entry, &waiting);
    ck_assert(seconds ? waiting.wait.since == since : waiting.wait.since > 0);
    block_file_close(holder);
    scratch_free(scratch);
    return waiting.error;
}

START_TEST(first_wait_begins_now)
{
    GError *error = wait_for_locked(0);

    qcow2_fixture_assert_error(&error, SNAP_ERROR_INTERRUPTED, "locked");
}
END_TEST

START_TEST(later_wait_has_the_rest)
{
    GError *error = wait_for_locked(1);

    qcow2_fixture_assert_error(&error, SNAP_ERROR_INTERRUPTED, "locked");
}
END_TEST

START_TEST(later_wait_may_be_over)
{
    GError *error = wait_for_locked(WAIT_SECONDS + 1);

    qcow2_fixture_assert_error(&error, SNAP_ERROR_LOCKED, "lock");
}
END_TEST

static Suite *target_suite(void)
{
    Suite *suite = suite_create("snap-target");
    TCase *tcase = tcase_create("waiting");

    tcase_add_test(tcase, first_wait_begins_now);
    tcase_add_test(tcase, later_wait_has_the_rest);
    tcase_add_test(tcase, later_wait_may_be_over);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(target_suite());
}
