/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See read-group.h. A read goes through: held, where the next one may make it
 * longer -> in `reads', in a coroutine of its own -> gone. The one that is
 * held at the end is read by the coroutine of the group itself, so a group of
 * one request, the usual case, starts no other.
 *
 * A coroutine is made only for what may be in flight at once: the group's own
 * waits for room before it starts one more.
 */
#include "read-group.h"

static void coroutine_fn limit_enter(Qcow2ReadLimit *limit)
{
    if (!limit) {
        return;
    }
    coroutine_mutex_lock(&limit->turn);
    while (limit->in_flight >= limit->most) {
        coroutine_queue_wait(&limit->changed);
    }
    limit->in_flight++;
    coroutine_mutex_unlock(&limit->turn);
}

static void limit_leave(Qcow2ReadLimit *limit)
{
    if (limit) {
        limit->in_flight--;
        coroutine_queue_wake_all(&limit->changed);
    }
}

/* In flight, as far as the limit is concerned, from before to after. */
static void coroutine_fn do_read(const Qcow2Read *read)
{
    Qcow2ReadGroup *group = read->group;
    int ret =
        block_file_pread(group->file, read->offset, read->buffer, read->bytes);

    limit_leave(group->limit);
    if (ret < 0 && group->error == 0) {
        group->error = ret;
        group->error_offset = read->offset;
        group->error_buffer = read->buffer;
        group->error_bytes = read->bytes;
    }
}

static void coroutine_fn read_entry(void *opaque)
{
    Qcow2Read *read = opaque;
    Qcow2ReadGroup *group = read->group;

    do_read(read);
    read->bytes = 0;
    group->in_flight--;
    coroutine_queue_wake_all(&group->changed);
}

static Qcow2Read *free_place(Qcow2ReadGroup *group)
{
    unsigned i = 0;

    while (group->reads[i].bytes > 0) {
        i++;
    }
    return &group->reads[i];
}

/* Afterwards nothing is held, unless the group has failed. */
static void coroutine_fn start_held(Qcow2ReadGroup *group)
{
    Qcow2Read *place;

    if (group->held.bytes == 0) {
        return;
    }
    while (group->in_flight == G_N_ELEMENTS(group->reads)) {
        coroutine_queue_wait(&group->changed);
    }
    limit_enter(group->limit);
    if (group->error < 0) {
        limit_leave(group->limit);
        return;
    }
    place = free_place(group);
    *place = group->held;
    group->held.bytes = 0;
    group->in_flight++;
    event_loop_start(read_entry, place);
}

/* By how much may what is held become longer with what is at @offset? */
static size_t room_in_held(const Qcow2ReadGroup *group, uint64_t offset,
                           const uint8_t *buffer)
{
    const Qcow2Read *held = &group->held;

    if (held->bytes == 0 || offset != held->offset + held->bytes ||
        buffer != held->buffer + held->bytes) {
        return 0;
    }
    return QCOW2_READ_GROUP_REQUEST_BYTES - held->bytes;
}

void coroutine_fn qcow2_read_group_add(Qcow2ReadGroup *group, uint64_t offset,
                                       void *buffer, size_t bytes)
{
    uint8_t *to = buffer;

    while (bytes > 0 && group->error == 0) {
        size_t piece = MIN(bytes, room_in_held(group, offset, to));

        if (piece > 0) {
            group->held.bytes += piece;
        } else {
            start_held(group);
            piece = MIN(bytes, QCOW2_READ_GROUP_REQUEST_BYTES);
            group->held = (Qcow2Read){
                .group = group,
                .offset = offset,
                .buffer = to,
                .bytes = piece,
            };
        }
        offset += piece;
        to += piece;
        bytes -= piece;
    }
}

int coroutine_fn qcow2_read_group_finish(Qcow2ReadGroup *group)
{
    if (group->held.bytes > 0 && group->error == 0) {
        limit_enter(group->limit);
        if (group->error == 0) {
            do_read(&group->held);
        } else {
            limit_leave(group->limit);
        }
    }
    while (group->in_flight > 0) {
        coroutine_queue_wait(&group->changed);
    }
    return group->error;
}

void coroutine_fn qcow2_read_group_abandon(Qcow2ReadGroup *group)
{
    group->held.bytes = 0;
    (void)qcow2_read_group_finish(group);
}
