#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A QEMU that dies in the middle of a save leaves the image as it was, and no
# new image behind if there was none.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
sample_stream stream
new_image states.qcow2
qemu_snap save -n earlier states.qcow2 < stream
remember_image states.qcow2

# kill_during_save IMAGE OPTIONS...
kill_during_save()
{
    local image=$1
    shift
    rm -f pid
    guest_start source
    qemu_wait_serial source '^tick' $PATIENCE
    qemu_qmp source migrate-set-parameters '{ "max-bandwidth": 4000000 }' \
        > /dev/null
    qemu_migrate_start source \
        "echo \$\$ > pid; exec $SNAP_COMMAND save -n killed $* $image"
    sleep 0.5
    kill -KILL "${qemu_pid[source]}"
    qemu_wait_exit source
    [ "$exit_status" = 137 ] || fail "status $exit_status before the kill"
    wait_until $PATIENCE eval "! kill -0 $(cat pid) 2> /dev/null" ||
        fail 'qemu-snap outlives its source'
}

kill_during_save states.qcow2
expect_untouched states.qcow2
qemu_snap load states.qcow2 > loaded
expect_same stream loaded

kill_during_save new.qcow2 --create
[ ! -e new.qcow2 ] || fail 'an image without any snapshot was left behind'
