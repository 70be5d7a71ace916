#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest goes through `save' and `load' into a new QEMU and carries on.

. "$(dirname "$0")/../functions.sh"

new_guest 256 512
guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save --create -n first states.qcow2"
qemu_quit source

expect_clean states.qcow2
expect_snapshots states.qcow2 first

guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
guest_proves_itself target
qemu_quit target
guest_carried_on source target
