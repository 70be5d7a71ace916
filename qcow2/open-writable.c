/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Opening an image to change it. With lazy refcounts a QEMU that was killed
 * leaves clusters in use whose refcount is 0, and the dirty bit to say so.
 * Whoever writes must put that right first, as QEMU does when it opens such an
 * image.
 */
#include "internal.h"
#include "qcow2-check.h"

static bool is_dirty(const Qcow2Image *image)
{
    return image->header.incompatible_features & QCOW2_INCOMPATIBLE_DIRTY;
}

/* Findings that are left over leave the dirty bit, too, which refuses. */
static bool coroutine_fn repair(BlockFile *file, GError **errp)
{
    Qcow2CheckOptions options = { .repair = QCOW2_REPAIR_ALL };
    Qcow2CheckResult result;

    if (!qcow2_check(file, &options, &result, errp)) {
        g_prefix_error(errp, "the image was not closed properly: ");
        return false;
    }
    return true;
}

Qcow2Image *coroutine_fn qcow2_open_writable(BlockFile *file, GError **errp)
{
    Qcow2Image *image = qcow2_open(file, errp);

    if (!image || !is_dirty(image) ||
        !qcow2_check_writable_when_clean(image, NULL)) {
        return image;
    }
    qcow2_close(image);
    if (!repair(file, errp)) {
        return NULL;
    }
    image = qcow2_open(file, errp);
    if (image) {
        image->was_repaired = !is_dirty(image);
    }
    return image;
}

bool qcow2_was_repaired(const Qcow2Image *image)
{
    return image->was_repaired;
}
