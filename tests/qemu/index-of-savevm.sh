#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A snapshot that QEMU made gets an index and checksums. QEMU loads it as before,
# into a new machine and into one that is running, and deletes it.

. "$(dirname "$0")/../functions.sh"

# A command of the monitor that has nothing to say when it works.
hmp()
{
    local answer
    answer=$(qemu_hmp "$@")
    [ -z "$answer" ] || fail "$2: $answer"
}

new_guest 16 64
new_image disk.qcow2
guest_start source -drive file=disk.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source stop
hmp source 'savevm state'
qemu_quit source
expect_status 0 qemu_snap index -n state disk.qcow2
expect_clean disk.qcow2
expect_status 0 qemu_snap verify -n state disk.qcow2
grep -q 'intact$' out || fail "not verified: $(cat out)"

guest_start target -drive file=disk.qcow2,if=none -loadvm state
qemu_hmp target cont
guest_proves_itself target
guest_carried_on source target
hmp target 'loadvm state'
qemu_hmp target cont
guest_proves_itself target
hmp target 'delvm state'
qemu_quit target
expect_clean disk.qcow2
expect_snapshots disk.qcow2 ''
