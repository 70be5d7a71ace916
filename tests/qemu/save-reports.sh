#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU gives its commands a pipe as standard output, which is the way back when
# it has asked for one. JSON must not get into an answer; the file of --result
# has it in any case, also when the migration fails.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16
for return_path in false true; do
    rm -f states.qcow2 result
    guest_start source
    qemu_wait_serial source '^tick' $PATIENCE
    qemu_capability source return-path $return_path
    qemu_migrate source \
        "$SNAP_COMMAND save -n s --output=json --result result --create states.qcow2"
    qemu_quit source
    expect_clean states.qcow2
    jq -e '.saved.name == "s"' result > /dev/null || fail "$(cat result)"
done

guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate_start source \
    "$SNAP_COMMAND save -n s --result result --create states.qcow2"
qemu_wait_migration source failed
qemu_quit source
jq -e '.error.class == "exists"' result > /dev/null || fail "$(cat result)"
