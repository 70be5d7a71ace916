#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Snapshots of savevm and of qemu-snap in one disk: qemu-snap deletes QEMU's,
# QEMU deletes ours, and what is left still brings a guest back.

. "$(dirname "$0")/../functions.sh"

new_guest 8 32
new_image disk.qcow2 64M
qemu-io -c 'write -q -P 1 0 4M' disk.qcow2
guest_start source -drive file=disk.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source stop
qemu_hmp source 'savevm first'
qemu_hmp source 'savevm second'
qemu_quit source
qemu-io -c 'write -q -P 2 1M 4M' disk.qcow2
qemu_snap create -n ours disk.qcow2
qemu_snap load -n second disk.qcow2 > stream
qemu_snap save --raw -n copy disk.qcow2 < stream
expect_snapshots disk.qcow2 'first second ours copy'
expect_clean disk.qcow2

# The VM state of a snapshot that was loaded stays in the active L1.
qemu-img snapshot -a second disk.qcow2
qemu_snap delete -n second disk.qcow2
expect_clean disk.qcow2
qemu_snap delete -n ours disk.qcow2
expect_clean disk.qcow2
expect_snapshots disk.qcow2 'first copy'

guest_start target -drive file=disk.qcow2,if=none -loadvm first
qemu_hmp target cont
guest_proves_itself target
qemu_hmp target 'delvm copy'
qemu_quit target
expect_clean disk.qcow2
qemu_snap delete -n first disk.qcow2
expect_clean disk.qcow2
expect_snapshots disk.qcow2 ''
