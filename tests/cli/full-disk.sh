#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A file system that runs full during a save: one line says so, and the image
# is as it was. The small file system lives in a mount namespace of its own.

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
