#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# An image on a block device, which can neither grow nor shrink: all is done
# there as in a file, and what does not fit is refused and leaves it as it was.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/image-life.sh"

# Not to be had in every container, and then nothing is wrong here.
if [ ! -e /dev/loop-control ]; then
    echo 'this kernel has no loop devices: nothing is tested'
    exit 0
fi
[ "$(id -u)" = 0 ] || skip 'needs root for a loop device'

truncate -s 16M backing
if ! device=$(losetup --find --show backing 2> losetup.log); then
    # Containers may show the device and forbid it.
    echo "no loop device: $(cat losetup.log): nothing is tested"
    exit 0
fi
on_exit "losetup -d $device"

for options in cluster_size=64k extended_l2=on,cluster_size=16k; do
    new_image "$device" 4M $options
    live_through "$device" 0
done

# More than there is room for.
truncate -s 20M zeros
qemu_snap save --raw -n first "$device" < vmstate
qemu-io -f qcow2 -c 'write -q -P 5 0 1M' "$device"
qemu-img convert -O raw "$device" before
expect_refusal "$device" 'the device .* is full' \
    qemu_snap save --raw -n large "$device" < zeros
expect_clean "$device"
expect_snapshots "$device" first
qemu-img convert -O raw "$device" now
expect_same before now
expect_vmstate "$device" first
[ "$(blockdev --getsize64 "$device")" = $((16 << 20)) ] || fail 'another size'
