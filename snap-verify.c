/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * verify: all of a stream is read, compared with the checksums of its trailer,
 * and followed as QEMU would. What cannot be read or is not right is noted, and
 * the rest still looked at: who has damage wants to know how much.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "snap-error.h"
#include "snap-json.h"
#include "snap-verify.h"

/* As `qemu-img check' has it. */
#define STATUS_DAMAGED 2

typedef struct Verify {
    SnapState *state;
    MigrationReader *reader;
    PageMap *pages;
    GError *stream_error; /* of the reader, the first one */
    Progress *progress;
    GPtrArray *damage;
} Verify;

static void damage_free(void *opaque)
{
    SnapDamage *damage = opaque;

    if (damage) {
        g_free(damage->text);
        g_free(damage);
    }
}

static void note(Verify *verify, SnapDamageKind kind, uint64_t offset,
                 uint64_t bytes, const char *text)
{
    SnapDamage *damage = g_new0(SnapDamage, 1);

    damage->kind = kind;
    damage->offset = offset;
    damage->bytes = bytes;
    damage->text = g_strdup(text);
    g_ptr_array_add(verify->damage, damage);
}

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    Verify *verify = opaque;
    const StreamChecksums *checksums = verify->state->checksums;
    g_autoptr(GError) error = NULL;

    if (!snap_state_fetch(verify->state, position, data, bytes, &error)) {
        note(verify, SNAP_DAMAGE_UNREADABLE, position, bytes, error->message);
        memset(data, 0, bytes);
    } else if (checksums && !stream_checksums_verify(checksums, position, data,
                                                     bytes, &error)) {
        note(verify, SNAP_DAMAGE_CHECKSUM, position, bytes, NULL);
    }
    return true;
}

static void passed(void *opaque, const uint8_t *data, size_t bytes)
{
    Verify *verify = opaque;

    if (!verify->stream_error) {
        migration_reader_feed(verify->reader, data, bytes,
                              &verify->stream_error);
    }
    progress_advance(verify->progress, bytes);
}

/* Does the index say what the stream does? */
static void compare_index(Verify *verify)
{
    g_autoptr(GByteArray) kept = g_byte_array_new();
    g_autoptr(GByteArray) found = g_byte_array_new();
    g_autoptr(StreamIndex) index =
        stream_index_new(verify->reader, g_steal_pointer(&verify->pages));

    stream_index_encode(verify->state->index, kept);
    stream_index_encode(index, found);
    if (kept->len != found->len ||
        memcmp(kept->data, found->data, kept->len) != 0) {
        note(verify, SNAP_DAMAGE_INDEX, verify->state->stream_bytes, 0, NULL);
    }
}

/* All has been read. What is damaged anyway need not be understood. */
static void judge_structure(Verify *verify)
{
    bool complete =
        !verify->stream_error &&
        migration_reader_finish(verify->reader, &verify->stream_error);

    if (verify->damage->len > 0) {
        return;
    }
    if (!complete) {
        note(verify, SNAP_DAMAGE_STRUCTURE, 0, 0,
             verify->stream_error->message);
    } else if (verify->state->checksums) {
        compare_index(verify);
    }
}

static int compare_damage(const void *a, const void *b)
{
    const SnapDamage *one = *(SnapDamage *const *)a;
    const SnapDamage *other = *(SnapDamage *const *)b;

    if (one->kind != other->kind) {
        return one->kind < other->kind ? -1 : 1;
    }
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Neighbours of one kind become one. */
static void put_in_order(GPtrArray *damage)
{
    guint kept = 0;
    guint i;

    g_ptr_array_sort(damage, compare_damage);
    for (i = 1; i < damage->len; i++) {
        SnapDamage *last = damage->pdata[kept];
        const SnapDamage *next = damage->pdata[i];

        if (last->kind == next->kind && last->bytes &&
            last->offset + last->bytes == next->offset &&
            !g_strcmp0(last->text, next->text)) {
            last->bytes += next->bytes;
            damage_free(damage->pdata[i]);
            damage->pdata[i] = NULL;
        } else {
            kept++;
            if (kept != i) {
                damage->pdata[kept] = g_steal_pointer(&damage->pdata[i]);
            }
        }
    }
    if (damage->len) {
        g_ptr_array_set_size(damage, kept + 1);
    }
}

static bool coroutine_fn read_all(const SnapOptions *options, Verify *verify,
                                  GError **errp)
{
    g_autoptr(AioBufferPool)
        pool = snap_ring_new(options->depth, SNAP_BUFFER_BYTES, errp);
    SnapOutlet outlet = { .fetch = fetch, .passed = passed, .opaque = verify };
    SnapPumpResult result;

    if (!pool) {
        return false;
    }
    snap_ring_register(pool, verify->state->file);
    result =
        snap_pump_out(pool, verify->state->stream_bytes, &outlet, NULL, errp);
    block_file_unregister_buffers(verify->state->file);
    return result == SNAP_PUMP_DONE;
}

/* The stream ends where it ends, whatever became of what is behind. */
static void coroutine_fn read_trailer(SnapState *state)
{
    if (state->trailer.state == STREAM_TRAILER_VALID) {
        snap_trailer_read(state->vmstate, &state->trailer, &state->index,
                          &state->checksums, &state->trailer_error);
    }
}

static bool coroutine_fn verify_stream(const SnapOptions *options,
                                       Verify *verify, GError **errp)
{
    const SnapState *state = verify->state;

    read_trailer(verify->state);
    migration_reader_tell_pages(verify->reader, page_map_add, verify->pages);
    if (!read_all(options, verify, errp)) {
        return false;
    }
    judge_structure(verify);
    if (state->trailer.state == STREAM_TRAILER_DAMAGED) {
        note(verify, SNAP_DAMAGE_TRAILER, state->stream_bytes, 0,
             state->trailer_error ? state->trailer_error->message : NULL);
    }
    put_in_order(verify->damage);
    return true;
}

/*
 * Open it; what cannot even be opened is the worst damage of all, and no reason
 * not to look at the others. False and @errp: it is something else.
 */
static bool coroutine_fn open_state(const SnapOptions *options,
                                    const SnapImage *image,
                                    const Qcow2Snapshot *snapshot,
                                    Verify *verify, bool *opened, GError **errp)
{
    GError *error = NULL;

    *opened = snap_state_open(options, image, snapshot, verify->state, &error);
    if (*opened) {
        return true;
    }
    if (!g_error_matches(error, SNAP_ERROR, SNAP_ERROR_DAMAGED) &&
        !g_error_matches(error, SNAP_ERROR, SNAP_ERROR_IO)) {
        g_propagate_error(errp, error);
        return false;
    }
    note(verify, SNAP_DAMAGE_UNREADABLE, 0, 0, error->message);
    g_error_free(error);
    return true;
}

/* Of one snapshot, with what is to be told about it. *@damaged adds up. */
static bool coroutine_fn verify_one(const SnapOptions *options,
                                    const SnapImage *image,
                                    const Qcow2Snapshot *snapshot,
                                    JsonBuilder *json, bool *damaged,
                                    GError **errp)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(GPtrArray) damage = g_ptr_array_new_with_free_func(damage_free);
    SnapState state = { 0 };
    Verify verify = { .state = &state, .reader = reader, .damage = damage };
    SnapVerdict verdict = {
        .snapshot = snapshot,
        .state = &state,
        .damage = damage,
    };
    bool opened;
    bool done;

    if (!open_state(options, image, snapshot, &verify, &opened, errp)) {
        return false;
    }
    verify.pages = page_map_new();
    verify.progress = progress_new(options->progress, state.stream_bytes);
    done = !opened || verify_stream(options, &verify, errp);
    verdict.compared = state.checksums != NULL;
    if (done && json) {
        snap_verdict_add(&verdict, json);
    } else if (done) {
        snap_verdict_print(&verdict);
    }
    *damaged |= damage->len > 0;
    progress_free(verify.progress);
    page_map_free(verify.pages);
    g_clear_error(&verify.stream_error);
    snap_state_close(&state);
    return done;
}

static bool coroutine_fn verify_chosen(const SnapOptions *options,
                                       const SnapImage *image,
                                       JsonBuilder *json, bool *damaged,
                                       GError **errp)
{
    const GPtrArray *snapshots = qcow2_snapshots(image->qcow2);
    const Qcow2Snapshot *snapshot;
    guint i;

    if (!options->all) {
        snapshot = snap_choose(options, image->qcow2, errp);
        return snapshot &&
               verify_one(options, image, snapshot, json, damaged, errp);
    }
    for (i = 0; i < snapshots->len; i++) {
        snapshot = snapshots->pdata[i];
        if (snapshot->vm_state_size > 0 &&
            !verify_one(options, image, snapshot, json, damaged, errp)) {
            g_prefix_error(errp, "snapshot '%s': ", snapshot->name);
            return false;
        }
    }
    return true;
}

static bool coroutine_fn verify_image(const SnapOptions *options,
                                      const SnapImage *image, bool *damaged,
                                      GError **errp)
{
    g_autoptr(JsonBuilder) json = options->json ? snap_json_begin() : NULL;
    bool done;

    if (json) {
        json_builder_set_member_name(json, "snapshots");
        json_builder_begin_array(json);
    }
    done = qcow2_check_readable(image->qcow2, errp) &&
           verify_chosen(options, image, json, damaged, errp);
    if (json && done) {
        json_builder_end_array(json);
        snap_json_print(json);
    }
    return done;
}

bool coroutine_fn snap_verify(const SnapOptions *options, SnapResult *result,
                              GError **errp)
{
    SnapImage image = { 0 };
    bool damaged = false;
    bool done;

    if (options->all && options->name) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "-n and --all exclude each other");
        return false;
    }
    if (!snap_image_open(options, HOST_FILE_CACHE_AUTOMATIC, &image, errp)) {
        return false;
    }
    done = verify_image(options, &image, &damaged, errp);
    snap_image_close(&image);
    if (done && damaged) {
        result->exit_status = STATUS_DAMAGED;
    }
    return done;
}
