#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU itself runs what `save' stored: -loadvm.

. "$(dirname "$0")/../functions.sh"

new_guest 256 512
guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save -s 1G -n first states.qcow2"
qemu_quit source

guest_start target -drive file=states.qcow2,if=none -loadvm first
guest_proves_itself target
qemu_quit target
guest_carried_on source target
expect_clean states.qcow2
