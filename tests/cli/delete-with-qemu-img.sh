#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# qemu-img deletes our snapshots, in any order, and nothing leaks or suffers.

. "$(dirname "$0")/../functions.sh"

for number in 1 2 3; do
    sample_stream stream$number $number
done

for options in compat=1.1 compat=0.10 cluster_size=4k; do
    rm -f disk.qcow2
    new_image disk.qcow2 64M $options
    for number in 1 2 3; do
        qemu-io -c "write -q -P $number ${number}M 1M" disk.qcow2
        qemu_snap save -n s$number disk.qcow2 < stream$number
    done
    qemu-img snapshot -d s2 disk.qcow2
    expect_clean disk.qcow2
    expect_snapshots disk.qcow2 's1 s3'
    for number in 1 3; do
        qemu_snap load -n s$number disk.qcow2 > loaded
        expect_same stream$number loaded
    done

    # The space is used again.
    size=$(stat -c %s disk.qcow2)
    qemu_snap save -n s2 disk.qcow2 < stream2
    [ "$(stat -c %s disk.qcow2)" -le $((size + 1000000)) ] ||
        fail "grew from $size to $(stat -c %s disk.qcow2) bytes"
    for number in 3 1 2; do
        qemu-img snapshot -d s$number disk.qcow2
        expect_clean disk.qcow2
    done
    expect_snapshots disk.qcow2 ''
done
