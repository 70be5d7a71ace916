#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# One image holds several moments of a guest, and each comes back as itself.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
guest_start source
for name in one two three; do
    tick=$(guest_tick source)
    wait_until $PATIENCE eval "[ \$(guest_tick source) -gt $((tick + 5)) ]" ||
        fail 'the guest does not count'
    qemu_migrate source "$SNAP_COMMAND save --create -n $name states.qcow2"
    cp source.serial "$name.serial"
    qemu_hmp source cont
done
qemu_quit source
expect_clean states.qcow2
expect_snapshots states.qcow2 'one two three'

# By name and by ID, in an order of their own.
for name in two:2 three:three one:one; do
    guest_start target \
        -incoming "exec:$SNAP_COMMAND load -n ${name#*:} states.qcow2"
    guest_proves_itself target
    qemu_quit target
    guest_carried_on "${name%:*}" target
done
