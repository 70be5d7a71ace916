#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Deleting takes one snapshot away and nothing else: the disk and the other
# snapshots are what they were, and nothing leaks.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for options in $(some_of compat=1.1 compat=0.10 cluster_size=4k \
    refcount_bits=8); do
    rm -f disk.qcow2
    new_image disk.qcow2 64M $options
    for number in 1 2 3 4; do
        qemu-io -c "write -q -P $number ${number}M 1M" \
            -c "write -q -c -P 1$number 2${number}M 256k" disk.qcow2
        qemu-img convert -O raw disk.qcow2 disk$number
        case $number in
        1) qemu_snap save -n s1 disk.qcow2 < stream ;;
        2) qemu_snap create -n s2 disk.qcow2 ;;
        *) qemu-img snapshot -c s$number disk.qcow2 ;;
        esac
    done
    qemu-img convert -O raw disk.qcow2 now
    left='1 2 3 4'
    for number in 2 4 1 3; do
        qemu_snap delete -n s$number disk.qcow2
        expect_clean disk.qcow2
        left=$(tr -d $number <<< "$left" | xargs)
        for other in $left; do
            qemu-img convert -l "snapshot.name=s$other" -O raw disk.qcow2 kept
            expect_same "disk$other" kept
        done
        qemu-img convert -O raw disk.qcow2 kept
        expect_same now kept
        if [[ $left = *1* ]]; then
            qemu_snap load -n s1 disk.qcow2 > loaded
            expect_same stream loaded
        fi
    done
    expect_snapshots disk.qcow2 ''
    [ -z "$(qemu-img snapshot -l disk.qcow2)" ] || fail 'something is listed'
done

# What is free at the end of the file is cut off; in the middle it is used again.
new_image again.qcow2 64M
qemu-io -c 'write -q -P 1 0 4M' again.qcow2
before=$(stat -c %s again.qcow2)
qemu_snap save -n s1 again.qcow2 < stream
qemu_snap delete -n s1 again.qcow2
[ "$(stat -c %s again.qcow2)" -le $((before + 1000000)) ] ||
    fail "$(stat -c %s again.qcow2) bytes are left, it began with $before"
qemu_snap save -n s1 again.qcow2 < stream
qemu_snap create -n s2 again.qcow2
qemu_snap delete -n s1 again.qcow2
size=$(stat -c %s again.qcow2)
qemu_snap save -n s1 again.qcow2 < stream
[ "$(stat -c %s again.qcow2)" -le $((size + 1000000)) ] ||
    fail "grew from $size to $(stat -c %s again.qcow2) bytes"
expect_clean again.qcow2

# By ID, too; what could be two is none.
new_image names.qcow2 1M
for name in twice twice 4 other; do
    qemu-img snapshot -c $name names.qcow2
done
remember_image names.qcow2
expect_refusal names.qcow2 'delete needs .*-n' qemu_snap delete names.qcow2
expect_refusal names.qcow2 "no snapshot 'none'" \
    qemu_snap delete -n none names.qcow2
expect_refusal names.qcow2 '1 \(twice\), 2 \(twice\)$' \
    qemu_snap delete -n twice names.qcow2
expect_refusal names.qcow2 '3 \(4\), 4 \(other\)$' \
    qemu_snap delete -n 4 names.qcow2
expect_untouched names.qcow2
qemu_snap delete -n 1 names.qcow2
qemu_snap delete -n other names.qcow2
qemu_snap delete -n 4 names.qcow2
qemu_snap delete -n twice names.qcow2
expect_snapshots names.qcow2 ''
expect_clean names.qcow2
