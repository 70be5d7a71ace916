/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Room for deleting a snapshot where there is none: on a full disk, where the
 * wish to delete is greatest, a transaction finds no place for its new tables.
 * So the snapshot is struck off the table first, in place, and the tables are
 * then written to where its data was.
 *
 * In place means two writes of one sector each, a flush behind each: its entry
 * changes places with those behind it, if it is not the last one; the header
 * counts one snapshot less. After either the image is sound. What only the
 * snapshot used leaks from then until the commit, which frees it, so a crash in
 * between leaves leaks, but never anything worse.
 */
#ifndef QCOW2_STRIKE_SNAPSHOT_H
#define QCOW2_STRIKE_SNAPSHOT_H

#include "transaction.h"

/*
 * Strike @snapshot off, which is one of the image's and whose references have
 * been dropped in @transaction, if that is of use: if the longest run of its
 * own clusters has room for @tables clusters and for the refcounts. These are
 * then what the transaction allocates; the disk space of all others is given
 * back at once, unless the image shall keep it. The image in memory stays as it
 * was, for the commit to go on with. Yields.
 * *@struck tells whether the snapshot is gone for sure. Fills @errp (NO_SPACE
 * also when it is not possible, and then nothing was changed; IO).
 */
bool coroutine_fn qcow2_strike_snapshot(Qcow2Transaction *transaction,
                                        const Qcow2Snapshot *snapshot,
                                        uint64_t tables, bool *struck,
                                        GError **errp);

#endif /* QCOW2_STRIKE_SNAPSHOT_H */
