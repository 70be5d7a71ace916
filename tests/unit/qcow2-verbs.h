/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Every change that can be made to an image, for tests of what all have in
 * common: what becomes of it when an operation fails, or the power.
 */
#ifndef QCOW2_VERBS_H
#define QCOW2_VERBS_H

#include "qcow2-fixture.h"

typedef enum Qcow2Verb {
    QCOW2_VERB_SAVE,
    QCOW2_VERB_CREATE,
    QCOW2_VERB_DELETE_FIRST,
    QCOW2_VERB_DELETE_LAST,
    QCOW2_VERB_APPLY,
    QCOW2_VERB_REPLACE,
    QCOW2_VERB_SAVE_REPLACE,
    QCOW2_VERB_RENAME,
    QCOW2_VERB_FREE_STALE,
    QCOW2_VERB_REPLACE_TAIL,
    QCOW2_VERBS, /* how many there are */
} Qcow2Verb;

/*
 * Not everything can happen to every shape: what cannot, becomes a rename.
 */
Qcow2Verb qcow2_verb_choose(Qcow2Verb verb, const Qcow2FixtureOptions *shape);

/*
 * An image of that @shape with a snapshot called "old", of so many bytes of VM
 * state, and what else @verb needs. Freed by the caller.
 */
GByteArray *qcow2_verb_prepare(Qcow2Verb verb, const Qcow2FixtureOptions *shape,
                               uint64_t vm_bytes);

/*
 * Carry the verb out; what is new is called "new". Turns the event loop.
 * Returns false and fills @errp when anything fails.
 */
bool qcow2_verb_run(BlockFile *file, Qcow2Verb verb, GError **errp);

#endif /* QCOW2_VERBS_H */
