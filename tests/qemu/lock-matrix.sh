#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Every command against a guest that has the image open, as its disk, as one
# that it only reads, and as a backing file: running, stopped, migrated away,
# and waiting for what comes in. And guests against us.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/lock-functions.sh"

new_lock_image readonly.qcow2
new_lock_image base.qcow2
guest_disk 4 disk.qcow2
add_lock_state disk.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
add_lock_state overlay.qcow2
# QEMU wants the commas.
# shellcheck disable=SC2054
disks=(-m 16 -drive file=disk.qcow2,if=ide
    -drive file=overlay.qcow2,if=virtio
    -drive file=readonly.qcow2,if=virtio,readonly=on)

qemu_start source "${disks[@]}"
qemu_wait_serial source '^tick' $PATIENCE
expect_access disk.qcow2 write
guest_proves_itself source
qemu_hmp source stop
expect_access disk.qcow2 write
expect_access base.qcow2 read
expect_access readonly.qcow2 read
qemu_hmp source cont

# Its devices are saved: it only wants its disks to stay readable.
qemu_migrate source 'cat > stream'
expect_access disk.qcow2 nothing
expect_same_from_qemu_img readonly.qcow2 nothing
expect_same_from_qemu_img base.qcow2 nothing

mkfifo incoming
qemu_start target "${disks[@]}" -incoming 'exec:cat incoming'
qemu_is_in_state target inmigrate || fail 'does not wait'

# It cannot have its disks back while one of ours writes.
hold_locks "$QEMU_SNAP" save --raw -n held disk.qcow2
[[ $(qemu_hmp source cont) = *'Failed to get'*'lock'* ]] ||
    fail 'two at once: the guest and a save'
cat state >&7
end_holder
qemu_hmp source cont
qemu_quit source

# Nor has one that waits for what comes in any lock.
expect_access disk.qcow2 nothing
cat stream > incoming
guest_proves_itself target
qemu_quit target

# starts ARGUMENTS...: a QEMU that opens these images.
starts()
{
    "$QEMU" -machine none -nodefaults -display none -monitor stdio "$@" \
        <<< quit > out 2> err
}

# refuses WORDS ARGUMENTS...
refuses()
{
    local words=$1
    shift
    ! starts "$@" || fail "$* starts"
    grep -q "$words" err || fail "$(cat err)"
}

# While one of ours writes, nobody else starts; while one reads, only readers.
hold_locks "$QEMU_SNAP" save --raw -n written base.qcow2
refuses 'Failed to get "write" lock' -drive file=base.qcow2,if=none
refuses 'Failed to get shared "write" lock' \
    -drive file=base.qcow2,if=none,readonly=on
refuses 'Failed to get shared "write" lock' -drive file=overlay.qcow2,if=none
cat state >&7
end_holder

head -c 8M /dev/urandom > large
qemu_snap save --raw -n large base.qcow2 < large
hold_locks "$QEMU_SNAP" load --raw -n large base.qcow2
refuses 'Failed to get "write" lock' -drive file=base.qcow2,if=none
starts -drive file=base.qcow2,if=none,readonly=on
starts -drive file=overlay.qcow2,if=none
head -c 8M <&6 | cmp - large
end_holder

for image in disk overlay readonly base; do
    expect_clean $image.qcow2
done
expect_snapshots disk.qcow2 'state held'
expect_snapshots base.qcow2 'state written large'
