#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Extended L2 entries: `load' restores what savevm stored, of whose clusters
# some are allocated in part, and QEMU loads what `save' stored.

. "$(dirname "$0")/../functions.sh"

new_guest 8 32
new_image disk.qcow2 64M extended_l2=on
qemu-io -c 'write -q -P 1 2k 70k' -c 'write -q -z 100k 2k' disk.qcow2
qemu-img convert -O raw disk.qcow2 before
guest_start source -drive file=disk.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source stop
qemu_hmp source 'savevm theirs'
qemu_migrate source 'cat > stream'
qemu_quit source

guest_start first -incoming "exec:$SNAP_COMMAND load -n theirs disk.qcow2"
wait_until $PATIENCE qemu_is_in_state first paused ||
    fail "not restored: $(cat first.err)"
qemu_hmp first cont
guest_proves_itself first
qemu_quit first
guest_carried_on source first

qemu_snap save -n ours disk.qcow2 < stream
expect_clean disk.qcow2
qemu-io -c 'write -q -P 3 4k 2k' disk.qcow2
guest_start second -drive file=disk.qcow2,if=none -loadvm ours
qemu_hmp second cont
guest_proves_itself second
qemu_quit second
guest_carried_on source second
expect_clean disk.qcow2
qemu-img convert -O raw disk.qcow2 now
expect_same before now
qemu_snap gc disk.qcow2
expect_clean disk.qcow2
