#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `load --apply': one QEMU command restores disk and RAM of a guest whose disk
# has changed since the snapshot. Both prove themselves. The incoming QEMU has
# opened the disk while it was still another one, so it must read it all anew.
# What fails before the last bytes leaves the disk as it is.

. "$(dirname "$0")/../functions.sh"

# Where the guest itself never looks.
present_content()
{
    qemu-io -c 'write -P 0x22 32M 4M' -c 'write -P 0x33 50M 4M' \
        -c 'discard 36M 1M' disk.qcow2 > io.log || fail "$(cat io.log)"
}

disk_is_the_snapshots()
{
    qemu_disk_holds "$1" disk 0x11 32M 8M
    qemu_disk_holds "$1" disk 0 50M 4M
}

guest_disk 16 disk.qcow2
qemu-io -c 'write -P 0x11 32M 8M' disk.qcow2 > io.log
qemu_start source -m 64 -drive file=disk.qcow2,if=ide,id=disk
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source "$SNAP_COMMAND save -n first disk.qcow2"
qemu_quit source
present_content
remember_image disk.qcow2

# Nothing of this gets as far as the disk.
expect_refusal disk.qcow2 'force-share' \
    qemu_snap load -U --apply -n first disk.qcow2
expect_refusal disk.qcow2 'no snapshot' \
    qemu_snap load --apply -n second disk.qcow2
hold_image disk.qcow2
expect_refusal disk.qcow2 'write.* lock' \
    qemu_snap load --apply -n first disk.qcow2
release_image
qemu_snap load --apply -n first disk.qcow2 2> err |
    head -c 3000000 > /dev/null && fail 'a reader that leaves goes unnoticed'
grep -q 'reader closed the pipe' err || fail "$(cat err)"
expect_untouched disk.qcow2
qemu_start other -m 128 -drive file=disk.qcow2,if=ide,id=disk \
    -incoming "exec:$SNAP_COMMAND load --apply -n first disk.qcow2"
qemu_wait_exit other
[ "$exit_status" != 0 ] || fail 'a machine with more RAM took the state'
expect_untouched disk.qcow2

# A disk of another size, which not every device would notice.
cp disk.qcow2 larger.qcow2
qemu-img resize -q larger.qcow2 128M
remember_image larger.qcow2
expect_refusal larger.qcow2 'qemu-snap apply' \
    qemu_snap load --apply -n first larger.qcow2
expect_untouched larger.qcow2

# QEMU looks at the disk as it is, and only then it becomes another one.
mkfifo go
qemu_start target -m 64 -drive file=disk.qcow2,if=ide,id=disk \
    -incoming "exec:cat go; $SNAP_COMMAND load --apply -n first disk.qcow2"
qemu_disk_holds target disk 0x22 32M 4M
qemu_disk_holds target disk 0x33 50M 4M
: > go
guest_proves_itself target
guest_carried_on source target
disk_is_the_snapshots target

# The guest has a disk to work with: new content, another snapshot.
qemu_hmp target 'qemu-io disk "write -P 0x44 36M 1M"' > hmp
[ ! -s hmp ] || fail "$(cat hmp)"
qemu_migrate target "$SNAP_COMMAND save -n second disk.qcow2"
qemu_hmp target cont
guest_proves_itself target
expect_no_complaint target
qemu_quit target
expect_clean disk.qcow2
expect_snapshots disk.qcow2 'first second'

# Either of them again, and without a QEMU, into a file.
qemu_start again -m 64 -drive file=disk.qcow2,if=ide,id=disk \
    -incoming "exec:$SNAP_COMMAND load --apply -n first disk.qcow2"
guest_proves_itself again
disk_is_the_snapshots again
qemu_quit again
present_content
expect_status 0 qemu_snap load --apply -n second disk.qcow2
qemu-io -r -c 'read -P 0x11 32M 4M' -c 'read -P 0x44 36M 1M' \
    -c 'read -P 0x11 37M 3M' -c 'read -P 0 50M 4M' disk.qcow2 > io.log
! grep -q 'failed' io.log || fail "$(cat io.log)"
expect_clean disk.qcow2
cmp out <(qemu_snap load -n second disk.qcow2) || fail 'another stream'
