/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which snapshot is meant by a command that needs one that exists. qemu-img
 * allows names twice, and names that are another one's ID, which QEMU prefers
 * in some commands and not in others. So nothing is guessed: the wrong machine
 * would run, and what is lost by a wrong change does not come back.
 */
#include "printable.h"
#include "snap-error.h"
#include "snap-internal.h"

/* "1 (before-upgrade), 3 (after)" */
static char *list_candidates(const GPtrArray *candidates)
{
    GString *text = g_string_new(NULL);
    guint i;

    for (i = 0; i < candidates->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(candidates, i);
        g_autofree char *id = printable(snapshot->id);
        g_autofree char *name = printable(snapshot->name);

        g_string_append_printf(text, "%s%s (%s)", i ? ", " : "", id, name);
    }
    return g_string_free(text, FALSE);
}

static bool is_meant(const Qcow2Snapshot *snapshot, const char *text,
                     SnapReading reading)
{
    return (reading != SNAP_READ_NAME && !strcmp(snapshot->id, text)) ||
           (reading != SNAP_READ_ID && !strcmp(snapshot->name, text));
}

static GPtrArray *find_candidates(const GPtrArray *snapshots, const char *text,
                                  SnapReading reading)
{
    GPtrArray *candidates = g_ptr_array_new();
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (is_meant(snapshot, text, reading)) {
            g_ptr_array_add(candidates, snapshot);
        }
    }
    return candidates;
}

/* @hint: what would be unique, with ", " in front. */
static void refuse_several(const GPtrArray *candidates, const char *text,
                           const char *hint, GError **errp)
{
    g_autofree char *list = list_candidates(candidates);

    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_AMBIGUOUS,
                "'%s' may be any of these%s: %s", text, hint, list);
}

static void refuse_none(const char *text, SnapReading reading, GError **errp)
{
    static const char *const words[] = {
        [SNAP_READ_EITHER] = "there is no snapshot",
        [SNAP_READ_ID] = "there is no snapshot with ID",
        [SNAP_READ_NAME] = "there is no snapshot called",
    };

    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND, "%s '%s'",
                words[reading], text);
}

/* IDs are unique, unless the image is damaged. */
static const char *hint_for(const GPtrArray *candidates, const char *text,
                            SnapReading reading)
{
    g_autoptr(GPtrArray)
        named = find_candidates(candidates, text, SNAP_READ_NAME);

    if (reading == SNAP_READ_ID) {
        return "";
    }
    return named->len == 1 ? ", choose one with --id or --name"
                           : ", choose one with --id";
}

static const Qcow2Snapshot *choose(const Qcow2Image *image, const char *text,
                                   SnapReading reading, bool with_hint,
                                   GError **errp)
{
    g_autoptr(GPtrArray)
        candidates = find_candidates(qcow2_snapshots(image), text, reading);

    if (candidates->len == 0) {
        refuse_none(text, reading, errp);
        return NULL;
    }
    if (candidates->len > 1) {
        refuse_several(candidates, text,
                       with_hint ? hint_for(candidates, text, reading) : "",
                       errp);
        return NULL;
    }
    return g_ptr_array_index(candidates, 0);
}

const Qcow2Snapshot *snap_choose_one(const SnapOptions *options,
                                     const Qcow2Image *image, GError **errp)
{
    return choose(image, options->name, options->reading, true, errp);
}

const Qcow2Snapshot *snap_choose_called(const Qcow2Image *image,
                                        const char *name, GError **errp)
{
    return choose(image, name, SNAP_READ_NAME, false, errp);
}

/* @option: what would choose one. */
static const Qcow2Snapshot *choose_only(const Qcow2Image *image,
                                        const char *option, GError **errp)
{
    const GPtrArray *snapshots = qcow2_snapshots(image);
    g_autoptr(GPtrArray) candidates = g_ptr_array_new();
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (snapshot->vm_state_size) {
            g_ptr_array_add(candidates, snapshot);
        }
    }
    if (candidates->len == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NOT_FOUND,
                    "no snapshot holds VM state");
        return NULL;
    }
    if (candidates->len > 1) {
        g_autofree char *text = list_candidates(candidates);

        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_AMBIGUOUS,
                    "several snapshots hold VM state, choose one with %s: %s",
                    option, text);
        return NULL;
    }
    return g_ptr_array_index(candidates, 0);
}

const Qcow2Snapshot *snap_choose_side(const Qcow2Image *image, const char *name,
                                      SnapReading reading, const char *option,
                                      GError **errp)
{
    return name ? choose(image, name, reading, true, errp)
                : choose_only(image, option, errp);
}

const Qcow2Snapshot *snap_choose(const SnapOptions *options,
                                 const Qcow2Image *image, GError **errp)
{
    return snap_choose_side(image, options->name, options->reading, "-n", errp);
}

bool snap_choose_replaced(const SnapOptions *options, const Qcow2Image *image,
                          const char *name, const Qcow2Snapshot **old,
                          GError **errp)
{
    g_autoptr(GPtrArray) candidates = NULL;

    *old = NULL;
    if (!options->replace) {
        return true;
    }
    candidates = find_candidates(qcow2_snapshots(image), name, SNAP_READ_NAME);
    if (candidates->len > 1) {
        refuse_several(candidates, name, "", errp);
        return false;
    }
    if (candidates->len == 1) {
        *old = g_ptr_array_index(candidates, 0);
    }
    return true;
}
