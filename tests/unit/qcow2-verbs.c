/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See qcow2-verbs.h.
 */
#include "qcow2-verbs.h"

Qcow2Verb qcow2_verb_choose(Qcow2Verb verb, const Qcow2FixtureOptions *shape)
{
    if ((verb == QCOW2_VERB_APPLY && !shape->l2[0]) ||
        (verb == QCOW2_VERB_FREE_STALE && !shape->spare_l1_entries)) {
        return QCOW2_VERB_RENAME;
    }
    return verb;
}

GByteArray *qcow2_verb_prepare(Qcow2Verb verb, const Qcow2FixtureOptions *shape,
                               uint64_t vm_bytes)
{
    g_autoptr(GByteArray) image = qcow2_fixture_build(shape);
    g_autoptr(BlockFile) file = qcow2_fixture_file(image);
    Qcow2FixtureSave earlier = { .name = "old", .seed = 1, .bytes = vm_bytes };

    qcow2_fixture_must_save(file, &earlier);
    if (verb == QCOW2_VERB_DELETE_FIRST || verb == QCOW2_VERB_DELETE_LAST) {
        qcow2_fixture_must_create(file, "later", 4);
    }
    if (verb == QCOW2_VERB_APPLY) {
        qcow2_fixture_guest_discards(&file, 0);
    }
    return qcow2_fixture_content(file);
}

static bool save(BlockFile *file, const char *name, bool replace, GError **errp)
{
    Qcow2FixtureSave save = {
        .name = name,
        .seed = 2,
        .bytes = 20001,
        .piece = 2048,
        .writers = 3,
        .replace = replace,
    };

    return qcow2_fixture_save(file, &save, errp);
}

static bool change(BlockFile *file, Qcow2FixtureVerb verb, const char *name,
                   const char *new_name, GError **errp)
{
    Qcow2FixtureChange change = {
        .verb = verb,
        .name = name,
        .new_name = new_name,
    };

    return qcow2_fixture_change(file, &change, errp);
}

static bool replace_tail(BlockFile *file, GError **errp)
{
    Qcow2FixtureChange change = {
        .verb = QCOW2_FIXTURE_REPLACE_TAIL,
        .name = "old",
        .seed = 2,
        .kept = 3001,
        .bytes = 20001,
    };

    return qcow2_fixture_change(file, &change, errp);
}

bool qcow2_verb_run(BlockFile *file, Qcow2Verb verb, GError **errp)
{
    switch (verb) {
    case QCOW2_VERB_SAVE:
        return save(file, "new", false, errp);
    case QCOW2_VERB_CREATE:
        return qcow2_fixture_create(file, "new", 2, errp);
    case QCOW2_VERB_DELETE_FIRST:
        return qcow2_fixture_delete(file, "1", errp);
    case QCOW2_VERB_DELETE_LAST:
        return qcow2_fixture_delete(file, "2", errp);
    case QCOW2_VERB_APPLY:
        return change(file, QCOW2_FIXTURE_APPLY, "old", NULL, errp);
    case QCOW2_VERB_REPLACE:
        return change(file, QCOW2_FIXTURE_REPLACE, "old", NULL, errp);
    case QCOW2_VERB_SAVE_REPLACE:
        return save(file, "old", true, errp);
    case QCOW2_VERB_RENAME:
        return change(file, QCOW2_FIXTURE_RENAME, "old", "new", errp);
    case QCOW2_VERB_FREE_STALE:
        return change(file, QCOW2_FIXTURE_FREE_STALE, NULL, NULL, errp);
    case QCOW2_VERB_REPLACE_TAIL:
        return replace_tail(file, errp);
    case QCOW2_VERBS:
        break;
    }
    g_assert_not_reached();
}
