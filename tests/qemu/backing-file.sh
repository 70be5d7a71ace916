#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# An overlay whose backing file is larger than the disk: where the VM state has
# holes, QEMU would read the backing file. So pages of zeros must be stored.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
qemu-img create -q -f qcow2 base.qcow2 256M
qemu-io -c 'write -q -c -P 255 0 1M' -c 'write -q -c -P 255 16M 64M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 \
    -o cluster_size=4k overlay.qcow2 16M
cp base.qcow2 base.copy

guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save -n first overlay.qcow2"
qemu_quit source
expect_clean overlay.qcow2

guest_start target -drive file=overlay.qcow2,if=none -loadvm first
guest_proves_itself target
qemu_quit target
guest_carried_on source target

guest_start again -incoming "exec:$SNAP_COMMAND load overlay.qcow2"
guest_proves_itself again
qemu_quit again
expect_same base.qcow2 base.copy
