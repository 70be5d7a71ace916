/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The two steps of a change that only gives references up and takes others of
 * what is there: a transaction in which all but the commit has been done.
 */
#ifndef QCOW2_PREPARED_CHANGE_H
#define QCOW2_PREPARED_CHANGE_H

#include "qcow2-snapshots.h"
#include "transaction.h"

struct Qcow2Change {
    Qcow2Transaction *transaction;
    Qcow2HeaderUpdate update; /* of the present header at first */
};

/*
 * A change of @image in which nothing has been done. Yields. Returns NULL and
 * fills @errp.
 */
Qcow2Change *coroutine_fn qcow2_change_begin(Qcow2Image *image, GError **errp);

#endif /* QCOW2_PREPARED_CHANGE_H */
