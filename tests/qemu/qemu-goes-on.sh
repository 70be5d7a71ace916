#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU keeps working with an image in which we stored a snapshot: it loads it,
# adds its own, deletes ours, and we load what it added.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
new_image states.qcow2
guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save -n ours states.qcow2"
qemu_quit source

guest_start middle -drive file=states.qcow2,if=none -loadvm ours
guest_proves_itself middle
qemu_hmp middle stop
for command in 'savevm theirs' 'delvm ours' 'savevm again'; do
    answer=$(qemu_hmp middle "$command")
    [ -z "$answer" ] || fail "$command: $answer"
done
qemu_quit middle
expect_clean states.qcow2
expect_snapshots states.qcow2 'theirs again'

guest_start target -incoming "exec:$SNAP_COMMAND load -n theirs states.qcow2"
wait_until $PATIENCE qemu_is_in_state target paused ||
    fail "not restored: $(cat target.err)"
qemu_hmp target cont
guest_proves_itself target
qemu_quit target
guest_carried_on middle target
