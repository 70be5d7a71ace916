#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU waits for ever for a command that ends without a word. When there is
# nothing to load, the incoming QEMU must give up instead.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_guest 8 16
new_image states.qcow2
qemu_snap save -n first states.qcow2 < stream

for command in 'load -n nosuch states.qcow2' 'load nosuch.qcow2'; do
    guest_start target -incoming "exec:$SNAP_COMMAND $command"
    qemu_wait_exit target
    [ "$exit_status" = 1 ] || fail "status $exit_status after $command"
    grep -q '^qemu-snap: .*nosuch' target.err ||
        fail "the reason is lost: $(cat target.err)"
done
