/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A check of an image in a test, driven from outside coroutines, and the
 * damages that tests of it like to do.
 */
#ifndef QCOW2_CHECK_RUN_H
#define QCOW2_CHECK_RUN_H

#include "qcow2-check.h"
#include "qcow2-fixture.h"

typedef struct Qcow2CheckRun {
    Qcow2CheckResult result;
    GPtrArray *findings; /* of char * */
    unsigned uncounted;  /* findings that came before `result' counted them */
    bool done;           /* what qcow2_check() returned */
    GError *error;
} Qcow2CheckRun;

/* Turns the event loop. */
void qcow2_check_run(BlockFile *file, Qcow2Repair repair, Qcow2CheckRun *run);
void qcow2_check_run_clear(Qcow2CheckRun *run);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Qcow2CheckRun, qcow2_check_run_clear)

/* Corruptions, leaks and check errors together; ends the test on an error. */
uint64_t qcow2_check_findings(const GByteArray *image);

typedef enum Qcow2Damage {
    QCOW2_DAMAGE_LEAK,          /* a free cluster has refcount 1 */
    QCOW2_DAMAGE_LEAKS,         /* many refcounts are one too high */
    QCOW2_DAMAGE_FREE,          /* a cluster in use has refcount 0 */
    QCOW2_DAMAGE_SHARED,        /* refcounts of what is shared are 1 */
    QCOW2_DAMAGE_COPIED,        /* COPIED of the first L1 entry is wrong */
    QCOW2_DAMAGE_DATA_COPIED,   /* of the first data cluster */
    QCOW2_DAMAGE_NO_BLOCK,      /* the first refcount block is lost */
    QCOW2_DAMAGE_TABLE_ENTRY,   /* its entry is unaligned */
    QCOW2_DAMAGE_TABLE_OUTSIDE, /* an entry names a block behind the file */
    QCOW2_DAMAGES,              /* how many there are */
} Qcow2Damage;

/* Do it to a sound image whose first L1 entry has an L2 table. */
void qcow2_damage(GByteArray *image, Qcow2Damage damage);

#endif /* QCOW2_CHECK_RUN_H */
