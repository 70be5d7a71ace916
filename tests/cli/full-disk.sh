#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A file system that runs full during a save: one line says so, and the image
# is as it was. Deleting makes room also where there is none. The small file
# system lives in a mount namespace of its own.

if [ -z "${IN_NAMESPACE:-}" ]; then
    user=-r
    [ "$(id -u)" != 0 ] || user=
    # In a chroot there is no root mount to make private.
    # shellcheck disable=SC2086
    unshare $user -m true 2> /dev/null || user+=' --propagation unchanged'
    # shellcheck disable=SC2086
    IN_NAMESPACE=1 exec unshare $user -m bash "$0"
fi
. "$(dirname "$0")/../functions.sh"

sample_stream stream
mkdir small
mount -t tmpfs -o size=20m none small 2> refusal ||
    skip "no mount: $(cat refusal)"
on_exit 'umount small'
new_image small/disk.qcow2
qemu_snap save -n earlier small/disk.qcow2 < stream
remember_image small/disk.qcow2

expect_refusal small/disk.qcow2 'No space left' \
    qemu_snap save -n second small/disk.qcow2 < stream
expect_untouched small/disk.qcow2
qemu_snap load small/disk.qcow2 > loaded
expect_same stream loaded

# Not one block is free, in the file or beside it: the old tables of the image,
# which are free clusters, are overwritten by the guest first.
rm small/disk.qcow2
new_image small/disk.qcow2
for name in first second third; do
    head -c 2000000 stream | qemu_snap save --raw -n $name small/disk.qcow2
done
qemu_snap create -n disk-only small/disk.qcow2
qemu-io -c 'write -q -P 1 0 2M' small/disk.qcow2
dd if=/dev/zero of=small/rest bs=64k 2> /dev/null || true
dd if=/dev/zero of=small/rest bs=4k oflag=append conv=notrunc 2> /dev/null ||
    true
remember_image small/disk.qcow2
expect_refusal small/disk.qcow2 "No space left on device; the snapshot's own" \
    qemu_snap delete -n disk-only small/disk.qcow2
expect_untouched small/disk.qcow2
for name in second third first; do
    [ "$(stat -f -c %f small)" = 0 ] || fail 'there is room'
    qemu_snap delete -n $name small/disk.qcow2
    expect_clean small/disk.qcow2
    qemu-img compare -q small/disk.qcow2 disk.qcow2.before ||
        fail 'the disk changed'
    [ "$(stat -f -c %f small)" != 0 ] || fail "deleting $name gave no room"
    dd if=/dev/zero of=small/rest bs=4k oflag=append conv=notrunc \
        2> /dev/null || true
done
expect_snapshots small/disk.qcow2 disk-only
