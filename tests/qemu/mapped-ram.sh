#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest whose VM state has mapped RAM, with holes and a recorded size that is
# too small, carries on behind a pipe; and where QEMU reads it from an image.

. "$(dirname "$0")/../functions.sh"

for tool in to-mapped-ram make-holes; do
    ${CC:-cc} -O1 -D_GNU_SOURCE -o $tool "$TOP/tests/cli/$tool.c"
done
new_guest 32 64
guest_start source
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source 'cat > stream'
qemu_quit source
./to-mapped-ram stream mapped
new_image states.qcow2
qemu_snap save --raw -n vm states.qcow2 < mapped
[ "$(./make-holes states.qcow2 3000000)" -gt 100 ] || fail 'no holes'

guest_start target -incoming "exec:$SNAP_COMMAND load states.qcow2"
guest_proves_itself target
qemu_quit target
guest_carried_on source target

# As VM state of a classic kind it is loaded into a machine that is running,
# whose memory is another one: also pages of zeros must be there.
new_image classic.qcow2
qemu_snap load states.qcow2 | qemu_snap save -n vm classic.qcow2
guest_start running -drive file=classic.qcow2,if=none
qemu_wait_serial running '^tick' $PATIENCE
loaded=$(qemu_hmp running 'loadvm vm')
[ -z "$loaded" ] || fail "not loaded: $loaded"
guest_proves_itself running
qemu_quit running
