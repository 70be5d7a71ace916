#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# With the return-path capability QEMU waits for a last word from the other
# side. Without an answer the guest would hang, stopped, for ever. A stream
# without a device description does not even tell where it ends. And what asks
# for answers is not stored: QEMU crashes when it finds that in a snapshot.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
for machine in pc pc,suppress-vmdesc=on; do
    rm -f states.qcow2
    guest_start source -machine $machine
    qemu_wait_serial source '^tick' $PATIENCE
    qemu_capability source return-path
    qemu_migrate source "$SNAP_COMMAND save --create states.qcow2"
    qemu_quit source
    expect_clean states.qcow2
    expect_intact states.qcow2

    guest_start target -machine $machine \
        -incoming "exec:$SNAP_COMMAND load states.qcow2"
    guest_proves_itself target
    qemu_quit target
    guest_carried_on source target

    guest_start again -machine $machine \
        -drive file=states.qcow2,if=none -loadvm "$(qemu_snap list \
        --output=json states.qcow2 | jq -r '.snapshots[0].name')"
    guest_proves_itself again
    qemu_quit again
    guest_carried_on source again
done
