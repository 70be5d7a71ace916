#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A snapshot also holds the disk as it was, and what is written to the disk
# later must not reach it.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for options in compat=1.1 compat=0.10 cluster_size=512 cluster_size=2M; do
    rm -f disk.qcow2
    new_image disk.qcow2 8M $options
    qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -c -P 2 2M 2M' disk.qcow2
    qemu-img convert -O raw disk.qcow2 before
    qemu_snap save -n first disk.qcow2 < stream
    expect_clean disk.qcow2

    # Each of these is in the snapshot too and has to be copied on write.
    qemu-io -c 'write -q -P 3 512k 2M' -c 'write -q -P 4 3M 512' disk.qcow2
    expect_clean disk.qcow2
    qemu-img convert -l snapshot.name=first -O raw disk.qcow2 kept
    expect_same before kept
    qemu-img convert -O raw disk.qcow2 now
    ! cmp -s before now || fail "$options: nothing was written at all"

    qemu_snap load disk.qcow2 > loaded
    expect_same stream loaded
    qemu-img snapshot -a first disk.qcow2
    qemu-img convert -O raw disk.qcow2 kept
    expect_same before kept
    expect_clean disk.qcow2
done
