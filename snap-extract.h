/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The parts of `extract': what its files are made of, and where they go.
 */
#ifndef SNAP_EXTRACT_H
#define SNAP_EXTRACT_H

#include "snap-physical.h"
#include "snap-state.h"
#include "snap-writing.h"

/* It holds the memory of a machine: for us alone, whatever the umask. */
#define SNAP_EXTRACT_MODE 0600

/* What is extracted from. */
typedef struct SnapExtract {
    const SnapOptions *options;
    SnapState state;
    SnapSource source; /* of `state' */
    SnapPages *pages;  /* NULL: a device is wanted */
    SnapWriting writing;
} SnapExtract;

/*
 * Write each RAM block into a file of its own, in a new directory that is
 * called options->output and has an index.json that names them. It appears
 * when all of it is there. Yields. *@bytes: of all blocks. Fills @errp (EXISTS,
 * those of snap_write_file()); then nothing is left of it.
 */
bool coroutine_fn snap_extract_directory(SnapExtract *extract, uint64_t *bytes,
                                         GError **errp);

/*
 * Let @layout be a core file of what is at the addresses of @physical. Yields.
 * Adds to the warnings of @result when there are no registers in it. Fills
 * @errp (UNSUPPORTED, IO).
 */
bool coroutine_fn snap_extract_core(const SnapExtract *extract,
                                    SnapLayout *layout,
                                    const SnapPhysical *physical,
                                    SnapResult *result, GError **errp);

/* Let @layout be the state of a device. Fills @errp (NOT_FOUND, AMBIGUOUS). */
bool snap_extract_device(const SnapExtract *extract, SnapLayout *layout,
                         GError **errp);

#endif /* SNAP_EXTRACT_H */
