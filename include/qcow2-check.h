/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Is an image what its metadata say? All references are counted anew and
 * compared with the stored refcounts and COPIED flags; what differs can be
 * repaired. Findings, numbers and verdicts are those of `qemu-img check';
 * docs/check.md lists where they differ on purpose.
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include "block-file.h"

typedef enum Qcow2Repair {
    QCOW2_REPAIR_NOTHING,
    QCOW2_REPAIR_LEAKS, /* refcounts that are too high */
    QCOW2_REPAIR_ALL,   /* whatever can be repaired */
} Qcow2Repair;

typedef struct Qcow2CheckResult {
    uint64_t check_errors; /* something could not be read or understood */
    uint64_t corruptions;
    uint64_t leaks; /* clusters */
    uint64_t corruptions_fixed;
    uint64_t leaks_fixed;
    uint64_t image_end_offset; /* bytes; behind the last cluster in use */

    /* Clusters of the present disk, not of snapshots. */
    uint64_t total_clusters;
    uint64_t allocated_clusters;
    uint64_t fragmented_clusters;
    uint64_t compressed_clusters;
} Qcow2CheckResult;

/*
 * Called with one line (or two) about each finding, when *@result has counted
 * it; must not yield.
 */
typedef void Qcow2CheckFinding(void *opaque, const char *text);

typedef struct Qcow2CheckOptions {
    Qcow2Repair repair;         /* the file must be writable for it */
    Qcow2CheckFinding *finding; /* NULL: only numbers are wanted */
    void *opaque;               /* for @finding */
} Qcow2CheckOptions;

/*
 * Check the image in @file, and repair it if asked to. *@result counts what is
 * wrong, repaired findings apart. Yields. Returns false and fills @errp when
 * the check could not be carried out: DAMAGED (the metadata contradict
 * themselves so badly that nothing can be counted), UNSUPPORTED (an image of
 * another version, or a repair that is not known), NO_SPACE, IO. What was
 * repaired before an error stays repaired; at no moment is the image worse
 * than it was.
 */
bool coroutine_fn qcow2_check(BlockFile *file, const Qcow2CheckOptions *options,
                              Qcow2CheckResult *result, GError **errp);

/*
 * Does @file begin like a qcow2 image? *@found tells. Yields. Fills @errp (IO).
 */
bool coroutine_fn qcow2_probe(BlockFile *file, bool *found, GError **errp);

#endif /* QCOW2_CHECK_H */
