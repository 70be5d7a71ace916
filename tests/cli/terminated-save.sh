#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGTERM and SIGINT in the middle of a save: it cleans up, leaves no trace in
# the image, removes an image that it made, and dies by that signal.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n earlier disk.qcow2 < stream
remember_image disk.qcow2
mkfifo pipe

# interrupt_save SIGNAL ARGUMENTS...
interrupt_save()
{
    local signal=$1 status=0
    shift
    # Unlike a command in the background of a script, one started by env takes
    # SIGINT as usual.
    env --default-signal=INT "$QEMU_SNAP" save -n new "$@" < pipe 2> err &
    pid=$!
    exec 8> pipe
    head -c 5M stream >&8
    kill "-$signal" $pid
    wait $pid || status=$?
    exec 8>&-
    [ $status = $((128 + $(kill -l "$signal"))) ] ||
        fail "status $status after SIG$signal"
}

for signal in TERM INT HUP; do
    interrupt_save $signal disk.qcow2
    expect_untouched disk.qcow2
    interrupt_save $signal --create new.qcow2
    [ ! -e new.qcow2 ] || fail "SIG$signal: the new image is still there"
done
qemu_snap load disk.qcow2 > loaded
expect_same stream loaded
