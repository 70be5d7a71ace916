#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A cancelled migration leaves the image as it was, and the guest running.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
sample_stream stream
new_image states.qcow2
qemu_snap save -n earlier states.qcow2 < stream
remember_image states.qcow2

guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_qmp source migrate-set-parameters '{ "max-bandwidth": 4000000 }' \
    > /dev/null
qemu_migrate_start source \
    "echo \$\$ > pid; exec $SNAP_COMMAND save -n cancelled states.qcow2"

a_megabyte_is_sent()
{
    [ "$(qemu_qmp source query-migrate |
        jq '.ram.transferred // 0')" -gt 1000000 ]
}
wait_until $PATIENCE a_megabyte_is_sent || fail 'nothing was sent'
qemu_qmp source migrate_cancel > /dev/null
qemu_wait_migration source cancelled
wait_until $PATIENCE eval "! kill -0 $(cat pid) 2> /dev/null" ||
    fail 'qemu-snap waits for more'

guest_proves_itself source
qemu_quit source
grep -q '^qemu-snap: states.qcow2: ' source.err ||
    fail "no word about the lost snapshot: $(cat source.err)"
expect_untouched states.qcow2
