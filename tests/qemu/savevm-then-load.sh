#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `load' restores what QEMU's own savevm stored.

. "$(dirname "$0")/../functions.sh"

new_guest 256 512
new_image states.qcow2
guest_start source -drive file=states.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source stop
qemu_hmp source 'savevm first'
qemu_quit source
expect_snapshots states.qcow2 first

# The guest was stopped when it was saved, so it also is after the restore.
guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
wait_until $PATIENCE qemu_is_in_state target paused ||
    fail "not restored: $(cat target.err)"
qemu_hmp target cont
guest_proves_itself target
qemu_quit target
guest_carried_on source target
expect_clean states.qcow2
