#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest with two disks is saved into them while it has both open. Then they
# change, and a fresh QEMU goes back to the snapshot: with its own -loadvm,
# which wants a snapshot of that name in every disk, and with `load --apply'.
# RAM and both disks prove themselves each time.

. "$(dirname "$0")/../functions.sh"

drives=(-drive 'file=disk.qcow2,if=ide,id=disk'
    -drive 'file=other.qcow2,if=virtio,id=other')

# write PATTERN: where the guest itself never looks, from outside.
write_disks()
{
    for image in disk.qcow2 other.qcow2; do
        qemu-io -c "write -P $1 32M 4M" "$image" > io.log ||
            fail "$image: $(cat io.log)"
    done
}

restored()
{
    guest_proves_itself "$1"
    qemu_disk_holds "$1" disk 0x11 32M 4M
    qemu_disk_holds "$1" other 0x11 32M 4M
    expect_no_complaint "$1"
    qemu_quit "$1"
    expect_clean disk.qcow2
    expect_clean other.qcow2
}

guest_disk 16 disk.qcow2
new_image other.qcow2 64M
write_disks 0x11
qemu_start source -m 64 "${drives[@]}"
qemu_wait_serial source '^tick' $PATIENCE
qemu_migrate source \
    "$SNAP_COMMAND save -n both disk.qcow2 --with other.qcow2"
cp source.serial saved.serial
qemu_hmp source cont
guest_proves_itself source
# The same QEMU sees it on both disks, and can go back by itself.
qemu_hmp source 'info snapshots' > list
grep -q '^--.* both ' list || fail "not on all disks: $(cat list)"
for drive in disk other; do
    qemu_hmp source "qemu-io $drive \"write -P 0x22 32M 4M\"" > hmp
    [ ! -s hmp ] || fail "$(cat hmp)"
done
answer=$(qemu_hmp source 'loadvm both')
[ -z "$answer" ] || fail "loadvm: $answer"
qemu_disk_holds source disk 0x11 32M 4M
qemu_disk_holds source other 0x11 32M 4M

# The state goes into a container, which nobody has, but the disks are in use.
new_image states.qcow2 0
qemu_migrate source "$SNAP_COMMAND save -n apart states.qcow2 \
    --with disk.qcow2 --with other.qcow2"
qemu_hmp source cont
guest_proves_itself source

# A name that is taken on the second disk is noticed while it is in use.
qemu_qmp source blockdev-snapshot-internal-sync \
    '{ "device": "other", "name": "taken" }' > /dev/null
qemu_migrate_start source \
    "$SNAP_COMMAND save -n taken disk.qcow2 --with=other.qcow2"
qemu_wait_migration source failed
grep -q "other.qcow2: .*'taken' already exists" source.err ||
    fail "$(cat source.err)"
guest_proves_itself source
qemu_quit source
expect_clean disk.qcow2
expect_clean other.qcow2
expect_snapshots disk.qcow2 'both apart'
expect_snapshots other.qcow2 'both apart taken'
[ "$(find . -name '*qemu-snap-stream*')" = '' ] || fail "left: $(ls -a)"

write_disks 0x33
qemu_start loadvm -m 64 "${drives[@]}" -loadvm both
restored loadvm
mv saved.serial saved-once.serial
guest_carried_on saved-once loadvm

write_disks 0x44
qemu_start incoming -m 64 "${drives[@]}" -incoming \
    "exec:$SNAP_COMMAND load --apply -n both disk.qcow2 --with other.qcow2"
restored incoming
guest_carried_on saved-once incoming

write_disks 0x66
qemu_start container -m 64 "${drives[@]}" -incoming \
    "exec:$SNAP_COMMAND load --apply -n apart states.qcow2 \
    --with disk.qcow2 --with other.qcow2"
restored container
expect_clean states.qcow2

# What cannot be had of one disk is had of none, and QEMU gives up.
write_disks 0x55
qemu-img snapshot -d both other.qcow2
remember_image disk.qcow2
remember_image other.qcow2
expect_refusal disk.qcow2 "other.qcow2: .*no snapshot called 'both'" \
    qemu_snap load --apply -n both disk.qcow2 --with other.qcow2
qemu-img snapshot -c both other.qcow2
remember_image other.qcow2
hold_image other.qcow2
expect_refusal disk.qcow2 'other.qcow2: .*lock' \
    qemu_snap load --apply -n both disk.qcow2 --with other.qcow2
release_image
expect_refusal disk.qcow2 'twice' \
    qemu_snap load --apply -n both disk.qcow2 --with ./disk.qcow2
qemu_snap load --apply -n both disk.qcow2 --with other.qcow2 2> err |
    head -c 3000000 > /dev/null && fail 'a reader that leaves goes unnoticed'
expect_untouched disk.qcow2
expect_untouched other.qcow2
