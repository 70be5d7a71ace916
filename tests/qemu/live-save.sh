#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest that keeps writing is saved while it runs: pages are sent again and
# again, some of them as zero pages at last, and the latest version counts.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16
guest_start source
qemu_wait_serial source '^tick' $PATIENCE

tick=$(guest_tick source)
qemu_migrate_live source "$SNAP_COMMAND save --create states.qcow2"
[ "$(guest_tick source)" -gt $((tick + 10)) ] || fail 'the guest stood still'
qemu_quit source
expect_clean states.qcow2
expect_intact states.qcow2

guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
guest_proves_itself target
qemu_quit target
guest_carried_on source target
