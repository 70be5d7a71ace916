/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See qcow2-check-run.h.
 */
#include <check.h>

#include "event-loop.h"
#include "memory-file.h"
#include "qcow2-check-run.h"

#define COPIED (1ULL << 63)

typedef struct Call {
    BlockFile *file;
    Qcow2CheckOptions options;
    Qcow2CheckRun *run;
    uint64_t counted; /* at the last finding */
} Call;

static uint64_t count_all(const Qcow2CheckResult *result)
{
    return result->corruptions + result->leaks + result->check_errors;
}

static void note_finding(void *opaque, const char *text)
{
    Call *call = opaque;
    uint64_t counted = count_all(&call->run->result);

    g_ptr_array_add(call->run->findings, g_strdup(text));
    call->run->uncounted += counted == call->counted;
    call->counted = counted;
}

static void coroutine_fn check_entry(void *opaque)
{
    Call *call = opaque;

    call->run->done = qcow2_check(call->file, &call->options,
                                  &call->run->result, &call->run->error);
}

void qcow2_check_run(BlockFile *file, Qcow2Repair repair, Qcow2CheckRun *run)
{
    Call call = {
        .file = file,
        .options = { .repair = repair,
                     .finding = note_finding,
                     .opaque = &call },
        .run = run,
    };

    *run = (Qcow2CheckRun){
        .findings = g_ptr_array_new_with_free_func(g_free),
    };
    event_loop_run(check_entry, &call);
    ck_assert_int_eq(run->done, run->error == NULL);
}

void qcow2_check_run_clear(Qcow2CheckRun *run)
{
    g_clear_pointer(&run->findings, g_ptr_array_unref);
    g_clear_error(&run->error);
}

uint64_t qcow2_check_findings(const GByteArray *image)
{
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    g_auto(Qcow2CheckRun) run = { 0 };

    qcow2_check_run(file, QCOW2_REPAIR_NOTHING, &run);
    ck_assert_msg(run.done, "%s", run.error ? run.error->message : "");
    return count_all(&run.result);
}

static void raise_all(GByteArray *image)
{
    uint64_t end = qcow2_fixture_first_fresh(image);
    uint64_t i;

    for (i = 0; i < end; i++) {
        qcow2_fixture_set_refcount(image, i,
                                   qcow2_fixture_refcount(image, i) + 1);
    }
}

static void forget_sharing(GByteArray *image)
{
    uint64_t end = qcow2_fixture_first_fresh(image);
    uint64_t i;

    for (i = 0; i < end; i++) {
        if (qcow2_fixture_refcount(image, i) > 1) {
            qcow2_fixture_set_refcount(image, i, 1);
        }
    }
}

static void turn_copied(GByteArray *image, uint64_t at)
{
    qcow2_fixture_poke(image, at, 8, qcow2_fixture_peek(image, at, 8) ^ COPIED);
}

static void damage_table(GByteArray *image, Qcow2Damage damage, uint64_t table)
{
    switch (damage) {
    case QCOW2_DAMAGE_NO_BLOCK:
        qcow2_fixture_poke(image, table, 8, 0);
        break;
    case QCOW2_DAMAGE_TABLE_ENTRY:
        qcow2_fixture_poke(image, table, 8,
                           qcow2_fixture_peek(image, table, 8) + 256);
        break;
    default:
        qcow2_fixture_poke(image, table + 8, 8, 1ULL << 40);
        break;
    }
}

void qcow2_damage(GByteArray *image, Qcow2Damage damage)
{
    Qcow2FixtureHeader header;

    qcow2_fixture_header(image, &header);
    switch (damage) {
    case QCOW2_DAMAGE_LEAK:
        qcow2_fixture_set_refcount(image, qcow2_fixture_first_fresh(image), 1);
        g_byte_array_set_size(image, image->len + 3 * header.cluster_size);
        memset(image->data + image->len - 3 * header.cluster_size, 0,
               3 * header.cluster_size);
        break;
    case QCOW2_DAMAGE_LEAKS:
        raise_all(image);
        break;
    case QCOW2_DAMAGE_FREE:
        qcow2_fixture_set_refcount(image,
                                   header.l1_offset / header.cluster_size, 0);
        break;
    case QCOW2_DAMAGE_SHARED:
        forget_sharing(image);
        break;
    case QCOW2_DAMAGE_COPIED:
        turn_copied(image, header.l1_offset);
        break;
    case QCOW2_DAMAGE_DATA_COPIED:
        turn_copied(image,
                    qcow2_fixture_l2_entry_at(image, header.l1_offset, 0));
        break;
    case QCOW2_DAMAGE_NO_BLOCK:
    case QCOW2_DAMAGE_TABLE_ENTRY:
    case QCOW2_DAMAGE_TABLE_OUTSIDE:
        damage_table(image, damage, header.refcount_table_offset);
        break;
    case QCOW2_DAMAGES:
        g_assert_not_reached();
    }
}
