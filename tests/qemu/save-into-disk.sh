#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A snapshot in an existing disk image holds that disk too: QEMU boots neither,
# it carries on from the disk that contains the snapshot.

. "$(dirname "$0")/../functions.sh"

guest_disk 16 disk.qcow2
cp disk.qcow2 copy.qcow2
qemu_start source -m 64 -drive file=disk.qcow2,if=ide
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save -n first copy.qcow2"
qemu_quit source
expect_clean copy.qcow2

qemu_start loadvm -m 64 -drive file=copy.qcow2,if=ide -loadvm first
guest_proves_itself loadvm
qemu_quit loadvm
guest_carried_on source loadvm

# The incoming QEMU wants to lock its disk for writing while `load' still
# writes the end of the stream.
qemu_start incoming -m 64 -drive file=copy.qcow2,if=ide \
    -incoming "exec:$SNAP_COMMAND load -n first copy.qcow2"
guest_proves_itself incoming
qemu_quit incoming
guest_carried_on source incoming
expect_no_complaint incoming
expect_clean copy.qcow2
