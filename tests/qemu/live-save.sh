#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest that keeps writing is saved while it runs: pages are sent again and
# again, some of them as zero pages at last, and the latest version counts.

. "$(dirname "$0")/../functions.sh"

new_guest 16 64
guest_start source
qemu_wait_serial source '^pass' $PATIENCE

# Slow enough that the guest dirties its live set many times over.
qemu_qmp source migrate-set-parameters \
    '{ "max-bandwidth": 20000000, "downtime-limit": 80 }' > /dev/null
tick=$(guest_tick source)
qemu_migrate_start source "$SNAP_COMMAND save --create states.qcow2"
qemu_wait_migration source
[ "$(guest_tick source)" -gt $((tick + 10)) ] || fail 'the guest stood still'
rounds=$(qemu_qmp source query-migrate | jq '.ram["dirty-sync-count"]')
[ "$rounds" -ge 3 ] || fail "no page was sent twice: $rounds rounds"
qemu_quit source
expect_no_complaint source
expect_clean states.qcow2

guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
guest_proves_itself target
qemu_quit target
guest_carried_on source target
