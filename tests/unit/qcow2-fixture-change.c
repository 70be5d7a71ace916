/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The verbs under test, driven from outside coroutines, and what a guest does
 * to a disk between them.
 */
#include <check.h>

#include "event-loop.h"
#include "qcow2-fixture.h"

#define COPIED      (1ULL << 63)
#define OFFSET_MASK 0x00fffffffffffe00ULL

typedef struct ChangeRun {
    BlockFile *file;
    const Qcow2FixtureChange *change;
    bool changed;
    GError **errp;
} ChangeRun;

static bool coroutine_fn replace_tail(ChangeRun *run, Qcow2Image *image,
                                      const Qcow2Snapshot *snapshot)
{
    const Qcow2FixtureChange *change = run->change;
    g_autofree uint8_t *data = g_malloc(change->bytes + 1);

    qcow2_fixture_fill(change->seed, 0, data, change->bytes);
    return qcow2_replace_tail(
        image, snapshot, change->kept ? change->kept : snapshot->vm_state_size,
        data, change->bytes, run->errp);
}

static bool coroutine_fn change_snapshot(ChangeRun *run, Qcow2Image *image,
                                         const Qcow2Snapshot *snapshot)
{
    const Qcow2FixtureChange *change = run->change;

    switch (change->verb) {
    case QCOW2_FIXTURE_REPLACE:
        return qcow2_fixture_add_snapshot(image, change->name, snapshot,
                                          change->seed, run->errp);
    case QCOW2_FIXTURE_APPLY:
        return qcow2_snapshot_apply(image, snapshot, run->errp);
    case QCOW2_FIXTURE_RENAME:
        return qcow2_snapshot_rename(image, snapshot, change->new_name,
                                     run->errp);
    case QCOW2_FIXTURE_REPLACE_TAIL:
        return replace_tail(run, image, snapshot);
    case QCOW2_FIXTURE_DELETE:
        return qcow2_snapshot_delete(image, snapshot, run->errp);
    case QCOW2_FIXTURE_FREE_STALE:
        break;
    }
    g_assert_not_reached();
}

static void coroutine_fn change_entry(void *opaque)
{
    ChangeRun *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, run->errp);
    const Qcow2Snapshot *snapshot;

    if (!image) {
        return;
    }
    if (run->change->keeps_freed) {
        qcow2_keep_freed(image);
    }
    if (run->change->verb == QCOW2_FIXTURE_FREE_STALE) {
        run->changed = qcow2_free_stale_vmstate(image, run->errp);
        return;
    }
    snapshot = qcow2_find_snapshot(image, run->change->name);
    ck_assert_ptr_nonnull(snapshot);
    run->changed = change_snapshot(run, image, snapshot);
}

bool qcow2_fixture_change(BlockFile *file, const Qcow2FixtureChange *change,
                          GError **errp)
{
    ChangeRun run = { file, change, false, errp };

    event_loop_run(change_entry, &run);
    return run.changed;
}

void qcow2_fixture_must_change(BlockFile *file, Qcow2FixtureVerb verb,
                               const char *name, const char *new_name)
{
    Qcow2FixtureChange change = {
        .verb = verb,
        .name = name,
        .new_name = new_name,
    };
    g_autoptr(GError) error = NULL;

    ck_assert_msg(qcow2_fixture_change(file, &change, &error), "%s",
                  error ? error->message : "failed without an error");
    ck_assert_ptr_null(error);
}

void qcow2_fixture_guest_discards(BlockFile **file, uint64_t guest_cluster)
{
    g_autoptr(GByteArray) image = qcow2_fixture_content(*file);
    Qcow2FixtureHeader header;
    uint64_t at;
    uint64_t l1_entry;
    uint64_t cluster;

    qcow2_fixture_header(image, &header);
    at = header.l1_offset + guest_cluster / header.l2_entries * 8;
    l1_entry = qcow2_fixture_peek(image, at, 8);
    ck_assert_msg(l1_entry & COPIED, "the active L2 table must be alone");
    at = qcow2_fixture_l2_entry_at(image, header.l1_offset, guest_cluster);
    cluster = (qcow2_fixture_peek(image, at, 8) & OFFSET_MASK) /
              header.cluster_size;
    ck_assert_uint_ne(cluster, 0);
    memset(image->data + at, 0, header.l2_entry_bytes);
    qcow2_fixture_set_refcount(image, cluster,
                               qcow2_fixture_refcount(image, cluster) - 1);
    block_file_close(*file);
    *file = qcow2_fixture_file(image);
}

typedef struct LookRun {
    BlockFile *file;
    Qcow2StaleVmstate *stale;
} LookRun;

static void coroutine_fn look_entry(void *opaque)
{
    LookRun *run = opaque;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, NULL);

    ck_assert_ptr_nonnull(image);
    ck_assert(qcow2_look_at_stale_vmstate(image, run->stale, NULL));
}

void qcow2_fixture_look_at_stale(BlockFile *file, Qcow2StaleVmstate *stale)
{
    LookRun run = { file, stale };

    event_loop_run(look_entry, &run);
}
