/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-fetch.h.
 */
#include "event-loop.h"
#include "snap-fetch.h"

typedef struct FetchGroup {
    const SnapSource *source;
    unsigned running;
    CoroutineQueue changed;
    GError *error; /* the first one */
} FetchGroup;

typedef struct FetchTask {
    FetchGroup *group;
    const SnapFetch *fetch;
} FetchTask;

static bool coroutine_fn run(const SnapSource *source, const SnapFetch *fetch,
                             GError **errp)
{
    return source->fetch(source->opaque, fetch->position, fetch->to,
                         fetch->bytes, errp);
}

static void coroutine_fn task_entry(void *opaque)
{
    const FetchTask *task = opaque;
    FetchGroup *group = task->group;
    GError *error = NULL;

    if (!run(group->source, task->fetch, &error)) {
        if (group->error) {
            g_error_free(error);
        } else {
            group->error = error;
        }
    }
    group->running--;
    coroutine_queue_wake_all(&group->changed);
}

bool coroutine_fn snap_fetch_all(const SnapSource *source,
                                 const SnapFetch *fetches, unsigned count,
                                 GError **errp)
{
    FetchGroup group = { .source = source, .running = count };
    FetchTask tasks[SNAP_FETCH_MAX];
    unsigned i;

    g_assert(count <= SNAP_FETCH_MAX);
    if (count == 1) {
        return run(source, fetches, errp);
    }
    for (i = 0; i < count; i++) {
        tasks[i] = (FetchTask){ .group = &group, .fetch = &fetches[i] };
        event_loop_start(task_entry, &tasks[i]);
    }
    while (group.running > 0) {
        coroutine_queue_wait(&group.changed);
    }
    if (group.error) {
        g_propagate_error(errp, group.error);
        return false;
    }
    return true;
}
