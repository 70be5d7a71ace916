#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU's background-snapshot capability: the guest runs on after the snapshot,
# which holds the moment at which it was begun. Its RAM has no end section.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
guest_start source
qemu_wait_serial source '^pass' $PATIENCE
( qemu_capability source background-snapshot ) 2> refusal || {
    grep -q 'not supported' refusal || fail "$(cat refusal)"
    skip 'QEMU may not use userfaultfd here'
}
begun=$(guest_tick source)
qemu_migrate source "$SNAP_COMMAND save --create states.qcow2"
guest_proves_itself source
ended=$(guest_tick source)
qemu_quit source
expect_clean states.qcow2
expect_intact states.qcow2

guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
guest_proves_itself target
qemu_quit target
first=$(grep -E -m 1 '^tick [0-9]{8}$' target.serial)
first=$((10#${first#tick }))
[ $first -gt "$begun" ] && [ $first -lt "$ended" ] ||
    fail "carried on at tick $first, saved between $begun and $ended"
