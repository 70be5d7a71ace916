/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See image-run.h.
 */
#include <errno.h>
#include <string.h>

#include "event-loop.h"
#include "image-flags.h"
#include "image-run.h"
#include "memory-file.h"
#include "qcow2-vmstate.h"
#include "../unit/qcow2-fixture.h"

/* An image of FUZZ_MAX_BYTES and all that is done to it fit in easily. */
#define DISK_BYTES (32 * 1024 * 1024)

/* Of a VM state that claims to be long, and of very many snapshots. */
#define MAX_LOADED    16
#define LOADED_PIECE  16384
#define LOADED_PIECES 8

BlockFile *image_run_file(const GByteArray *image)
{
    BlockFile *file = memory_file_new_from(image->data, image->len);

    memory_file_fail(file, MEMORY_FILE_ALLOCATE, -1, -ENOTSUP);
    memory_file_limit(file, DISK_BYTES);
    return file;
}

/* Findings take time, a repair has them three times. */
#define MANY_CORRUPTIONS 50000

typedef struct CheckRun {
    BlockFile *file;
    Qcow2Repair repair;
    Qcow2CheckResult *result;
    uint64_t corruptions; /* at the last finding */
    uint64_t flags;       /* corruptions that are wrong COPIED flags, */
    uint64_t harmless;    /* that are missing */
    uint64_t unknown;     /* clusters whose refcount cannot be read */
    /* What the findings say about flags, or NULL. */
    ImageFlags *by_references;
    uint64_t lost; /* references to nothing */
    bool refers_to_free;
    bool refers_behind_end;
    bool done;
} CheckRun;

static void note_finding(void *opaque, const char *text)
{
    CheckRun *run = opaque;
    uint64_t times = run->result->corruptions - run->corruptions;

    fuzz_assert(*text, "a finding without words");
    fuzz_say("%s", text);
    if (g_str_has_prefix(text, "ERROR cluster ") &&
        strstr(text, " refcount=0 reference=")) {
        run->refers_to_free = true;
        run->lost += times;
    }
    if (g_str_has_prefix(text, "ERROR: counting reference for region")) {
        run->refers_behind_end = true;
        run->lost += times;
    }
    run->unknown += g_str_has_prefix(text, "Can't get refcount for cluster");
    if (run->by_references) {
        image_flags_note(run->by_references, text, times);
    }
    if (g_str_has_prefix(text, "ERROR OFLAG_COPIED")) {
        run->flags += times;
        run->harmless += g_str_has_suffix(text, " refcount=1") ? times : 0;
    }
    run->corruptions = run->result->corruptions;
}

static void coroutine_fn check_entry(void *opaque)
{
    CheckRun *run = opaque;
    Qcow2CheckOptions options = { .repair = run->repair,
                                  .finding = note_finding,
                                  .opaque = run };
    g_autoptr(GError) error = NULL;

    fuzz_say("check, repair %d", (int)run->repair);
    run->done = qcow2_check(run->file, &options, run->result, &error);
    fuzz_assert_error(run->done, error);
}

bool image_run_check(BlockFile *file, Qcow2Repair repair,
                     Qcow2CheckResult *result)
{
    CheckRun run = { .file = file, .repair = repair, .result = result };

    event_loop_run(check_entry, &run);
    return run.done;
}

/* Let the findings of another check tell how many references there are. */
static void count_references(ImageFlags *flags, const GByteArray *image)
{
    g_autoptr(GByteArray) copy = image_flags_without_refcounts(flags, image);
    g_autoptr(BlockFile) file = NULL;
    Qcow2CheckResult result;
    CheckRun run = { .result = &result, .by_references = flags };

    if (copy) {
        file = image_run_file(copy);
        run.file = file;
        event_loop_run(check_entry, &run);
    }
}

static void judge_flags(BlockFile *file, ImageFlags *flags,
                        ImageVerdict *verdict)
{
    g_autoptr(GByteArray) image = NULL;

    if (!image_flags_any(flags)) {
        return;
    }
    image = qcow2_fixture_content(file);
    count_references(flags, image);
    verdict->but_right_flags -= image_flags_excused(flags, image);
    verdict->hidden = image_flags_hidden(flags, image);
    verdict->harmful += verdict->hidden;
    verdict->refers_to_tables = image_flags_table_shared(flags, image);
}

static ImageVerdict judge(BlockFile *file, const GByteArray *before)
{
    Qcow2CheckResult result;
    g_autoptr(ImageFlags) flags = image_flags_new();
    CheckRun run = { .file = file, .result = &result, .by_references = flags };
    ImageVerdict verdict;
    uint64_t all;

    event_loop_run(check_entry, &run);
    if (!run.done) {
        return (ImageVerdict){
            .corruptions = UINT64_MAX,
            .but_right_flags = UINT64_MAX,
            .harmful = UINT64_MAX,
            .but_flags = UINT64_MAX,
            .refers_to_free = true,
            .refers_behind_end = true,
        };
    }
    all = result.corruptions + result.check_errors;
    verdict = (ImageVerdict){
        .corruptions = all,
        .but_right_flags = all,
        .harmful = all - run.harmless - run.unknown,
        .but_flags = all - run.flags - run.unknown,
        .in_vain = run.flags - run.harmless,
        .lost = run.lost,
        .refers_to_free = run.refers_to_free,
        .refers_behind_end = run.refers_behind_end,
        .too_many = all > MANY_CORRUPTIONS,
    };
    if (before) {
        image_flags_note_moved(flags, before);
    }
    if (!verdict.too_many) {
        judge_flags(file, flags, &verdict);
    }
    return verdict;
}

ImageVerdict image_run_judge(BlockFile *file)
{
    return judge(file, NULL);
}

ImageVerdict image_run_judge_change(BlockFile *file, const GByteArray *before)
{
    return judge(file, before);
}

typedef struct VerbRun {
    BlockFile *file;
    unsigned what;
    unsigned which;
    unsigned operand;
    bool done;
} VerbRun;

static bool coroutine_fn save(Qcow2Image *image, const Qcow2Snapshot *old,
                              unsigned bytes, GError **errp)
{
    uint64_t padded = (bytes + QCOW2_VMSTATE_UNIT - 1) / QCOW2_VMSTATE_UNIT *
                      QCOW2_VMSTATE_UNIT;
    g_autofree uint8_t *buffer = g_malloc0(padded + 1);
    Qcow2SnapshotStamp stamp = { .vm_state_size = bytes };
    Qcow2SnapshotWriter *writer =
        qcow2_snapshot_writer_begin(image, "fuzz-save", old, errp);
    bool done = writer && qcow2_snapshot_writer_reserve(writer, bytes, errp) &&
                (padded == 0 || qcow2_snapshot_writer_pwrite(writer, 0, buffer,
                                                             padded, errp)) &&
                qcow2_snapshot_writer_commit(writer, &stamp, errp);

    qcow2_snapshot_writer_end(writer);
    return done;
}

/* How much is kept and how much comes behind it follow from one number. */
static bool coroutine_fn replace_tail(Qcow2Image *image,
                                      const Qcow2Snapshot *snapshot,
                                      unsigned operand, GError **errp)
{
    uint64_t size = snapshot->vm_state_size;
    uint64_t kept = operand % 3 ? size : size / 3 * (operand / 64 % 4);
    uint64_t bytes = operand % 5 ? operand * 7 : 0;
    g_autofree uint8_t *data = g_malloc0(bytes + 1);

    return qcow2_replace_tail(image, snapshot, MAX(kept, MIN(size, 1)), data,
                              bytes, errp);
}

/* Verbs that are about a snapshot. */
static bool coroutine_fn change_snapshot(VerbRun *run, Qcow2Image *image,
                                         const Qcow2Snapshot *snapshot,
                                         GError **errp)
{
    switch (run->what % 4) {
    case 0:
        return qcow2_snapshot_delete(image, snapshot, errp);
    case 1:
        return qcow2_snapshot_apply(image, snapshot, errp);
    case 2:
        return run->what & 128
                   ? replace_tail(image, snapshot, run->operand, errp)
                   : qcow2_snapshot_rename(image, snapshot, "fuzz-renamed",
                                           errp);
    default:
        return run->operand % 2 ? save(image, snapshot, run->operand, errp)
                                : save(image, snapshot, 0, errp);
    }
}

static bool coroutine_fn change_image(VerbRun *run, Qcow2Image *image,
                                      GError **errp)
{
    Qcow2SnapshotStamp stamp = { .date_sec = 1 };

    switch (run->what % 4) {
    case 0:
        return save(image, NULL, 0, errp);
    case 1:
        return save(image, NULL, run->operand + 1, errp);
    case 2:
        return qcow2_free_stale_vmstate(image, errp);
    default:
        return qcow2_snapshot_create_like_qemu_img(image, "1", &stamp, errp);
    }
}

static void coroutine_fn verb_entry(void *opaque)
{
    VerbRun *run = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(Qcow2Image) image = qcow2_open(run->file, &error);
    const GPtrArray *snapshots;

    fuzz_say("change %u of snapshot %u, operand %u", run->what, run->which,
             run->operand);
    if (image) {
        snapshots = qcow2_snapshots(image);
        run->done =
            run->what & 4 && snapshots->len > 0
                ? change_snapshot(
                      run, image,
                      g_ptr_array_index(snapshots, run->which % snapshots->len),
                      &error)
                : change_image(run, image, &error);
    }
    fuzz_assert_error(run->done, error);
}

bool image_run_verb(BlockFile *file, unsigned what, unsigned which,
                    unsigned operand)
{
    VerbRun run = { file, what, which, operand, false };

    event_loop_run(verb_entry, &run);
    return run.done;
}

static void coroutine_fn load_pieces(Qcow2VmstateReader *reader,
                                     uint64_t vm_state_size)
{
    g_autofree uint8_t *buffer = g_malloc(LOADED_PIECE);
    unsigned i;

    for (i = 0; i < LOADED_PIECES; i++) {
        g_autoptr(GError) error = NULL;
        uint64_t at = vm_state_size / LOADED_PIECES * i;
        size_t bytes = MIN(vm_state_size - at, LOADED_PIECE);
        bool done = qcow2_vmstate_pread(reader, at, buffer, bytes, &error);

        fuzz_assert_error(done, error);
    }
}

static void coroutine_fn load(Qcow2Image *image, const Qcow2Snapshot *snapshot)
{
    g_autoptr(GError) error = NULL;
    Qcow2VmstateReader *reader =
        qcow2_vmstate_reader_open(image, snapshot, &error);

    fuzz_assert_error(reader, error);
    if (reader) {
        load_pieces(reader, snapshot->vm_state_size);
        qcow2_vmstate_reader_close(reader);
    }
}

static void coroutine_fn load_entry(void *opaque)
{
    BlockFile *file = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(Qcow2Image) image = qcow2_open(file, &error);
    const GPtrArray *snapshots;
    Qcow2StaleVmstate stale;
    bool done;
    guint i;

    fuzz_assert_error(image, error);
    if (!image) {
        return;
    }
    snapshots = qcow2_snapshots(image);
    for (i = 0; i < MIN(snapshots->len, MAX_LOADED); i++) {
        load(image, g_ptr_array_index(snapshots, i));
    }
    done = qcow2_look_at_stale_vmstate(image, &stale, &error);
    fuzz_assert_error(done, error);
}

void image_run_load(BlockFile *file)
{
    event_loop_run(load_entry, file);
}
