#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Snapshots whose disk was applied here, that were renamed or replaced, are
# loaded by QEMU, and what QEMU leaves behind is freed here.

. "$(dirname "$0")/../functions.sh"

new_guest 8 32
new_image disk.qcow2 64M
qemu-io -c 'write -q -P 1 0 4M' disk.qcow2
guest_start source -drive file=disk.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source stop
qemu_hmp source 'savevm first'
qemu_migrate source "cat > stream"
qemu_quit source
qemu-img convert -O raw disk.qcow2 first

# QEMU's snapshot, after its disk was applied by qemu-snap.
qemu-io -c 'write -q -P 2 1M 4M' disk.qcow2
qemu_snap save -n ours disk.qcow2 < stream
qemu_snap apply -n first disk.qcow2
expect_clean disk.qcow2
qemu-img convert -O raw disk.qcow2 now
expect_same first now
guest_start target -drive file=disk.qcow2,if=none -loadvm first
qemu_hmp target cont
guest_proves_itself target
qemu_quit target
guest_carried_on source target
expect_clean disk.qcow2

# Ours, renamed, then replaced.
qemu_snap rename -n ours --to=theirs disk.qcow2
qemu_snap apply -n theirs disk.qcow2
expect_clean disk.qcow2
guest_start renamed -drive file=disk.qcow2,if=none -loadvm theirs
qemu_hmp renamed cont
guest_proves_itself renamed
qemu_hmp renamed stop
qemu_migrate renamed "cat > stream2"
qemu_quit renamed
qemu_snap save --replace -n theirs disk.qcow2 < stream2
expect_clean disk.qcow2
expect_snapshots disk.qcow2 'first theirs'
guest_start replaced -drive file=disk.qcow2,if=none -loadvm theirs
qemu_hmp replaced cont
guest_proves_itself replaced

# QEMU deletes what it has loaded; the VM state stays in the active layer.
qemu_hmp replaced 'delvm theirs'
qemu_quit replaced
expect_clean disk.qcow2
size=$(qemu_snap inspect --output=json disk.qcow2 | jq '."stale-vm-state"')
[ "$size" -ge "$(stat -c %s stream2)" ] || fail "stale VM state: $size bytes"
used=$(du -B1 disk.qcow2 | cut -f 1)
qemu-img convert -O raw disk.qcow2 before
qemu_snap gc disk.qcow2
expect_clean disk.qcow2
[ "$(du -B1 disk.qcow2 | cut -f 1)" -lt $((used - size / 2)) ] ||
    fail "takes $(du -B1 disk.qcow2 | cut -f 1) of $used bytes"
qemu-img convert -O raw disk.qcow2 now
expect_same before now

# And the other snapshot is as good as ever.
guest_start last -drive file=disk.qcow2,if=none -loadvm first
qemu_hmp last cont
guest_proves_itself last
qemu_hmp last 'savevm first'
qemu_quit last
expect_clean disk.qcow2
