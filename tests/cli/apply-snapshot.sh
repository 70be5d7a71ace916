#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Applying a snapshot brings its disk back, whoever made it, and does what
# `qemu-img snapshot -a' does, but for VM state: that stays with the snapshot.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

virtual_size()
{
    qemu-img info --output=json "$1" | jq '."virtual-size"'
}

for options in $(some_of compat=0.10 cluster_size=4k,refcount_bits=64 \
    cluster_size=2M lazy_refcounts=on); do
    rm -f disk.qcow2
    new_image disk.qcow2 16M $options
    for number in 1 2 3; do
        qemu-io -c "write -q -P $number ${number}M 1M" \
            -c "write -q -c -P 1$number $((8 + 2 * number))M 2M" \
            -c "write -q -z ${number}100k 64k" disk.qcow2
        qemu-img convert -O raw disk.qcow2 disk$number
        case $number in
        1) qemu_snap save -n s1 disk.qcow2 < stream ;;
        2) qemu_snap create -n s2 disk.qcow2 ;;
        3) qemu-img snapshot -c s3 disk.qcow2 ;;
        esac
    done
    for number in 1 3 2; do
        qemu-io -c "write -q -P 9 ${number}800k 1M" disk.qcow2
        qemu_snap apply -n s$number disk.qcow2
        expect_clean disk.qcow2
        qemu-img convert -O raw disk.qcow2 now
        expect_same disk$number now
        qemu-io -c 'write -q -P 10 2500k 1M' disk.qcow2
        expect_clean disk.qcow2
        for other in 1 2 3; do
            qemu-img convert -l "snapshot.name=s$other" -O raw disk.qcow2 kept
            expect_same "disk$other" kept
        done
        qemu_snap load -n s1 disk.qcow2 > loaded
        expect_same stream loaded
    done
    expect_snapshots disk.qcow2 's1 s2 s3'

    # What QEMU leaves in the active layer when it applies goes with the next.
    qemu-img snapshot -a s1 disk.qcow2
    qemu_snap inspect disk.qcow2 | grep -q 'stale VM state' ||
        fail 'no stale VM state after qemu-img snapshot -a'
    qemu_snap apply -n s1 disk.qcow2
    ! qemu_snap inspect disk.qcow2 | grep 'stale VM state' ||
        fail 'stale VM state after apply'
    expect_clean disk.qcow2
done

# The disk gets the snapshot's size; an L1 table that is too short grows.
new_image sizes.qcow2 1M cluster_size=512
qemu-io -c 'write -q -P 1 0 1M' sizes.qcow2
qemu_snap create -n small sizes.qcow2
qemu-img convert -O raw sizes.qcow2 disk-small
qemu-img resize -q sizes.qcow2 8M
qemu-io -c 'write -q -P 2 512k 7M' sizes.qcow2
qemu_snap create -n large sizes.qcow2
qemu-img convert -O raw sizes.qcow2 disk-large
for name in small large small small large; do
    qemu_snap apply -n $name sizes.qcow2
    expect_clean sizes.qcow2
    [ "$(virtual_size sizes.qcow2)" = "$(stat -c %s disk-$name)" ] ||
        fail "$name has $(virtual_size sizes.qcow2) bytes"
    qemu-img convert -O raw sizes.qcow2 now
    expect_same disk-$name now
done
qemu_snap apply -n small sizes.qcow2
qemu-img resize -q --shrink sizes.qcow2 64k
qemu_snap apply -n large sizes.qcow2
expect_clean sizes.qcow2
qemu-img convert -O raw sizes.qcow2 now
expect_same disk-large now
for name in small large; do
    qemu-img snapshot -a $name sizes.qcow2
    expect_clean sizes.qcow2
done

# With a backing file, and with nothing at all.
new_image base.qcow2 4M
qemu-io -c 'write -q -P 7 0 4M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu_snap create -n empty top.qcow2
qemu-io -c 'write -q -P 8 1M 1M' top.qcow2
qemu_snap apply -n empty top.qcow2
qemu-img compare -q base.qcow2 top.qcow2 || fail 'the backing file is hidden'
expect_clean top.qcow2
new_image nothing.qcow2 0
qemu_snap create -n nothing nothing.qcow2
qemu_snap apply -n nothing nothing.qcow2
expect_clean nothing.qcow2

# By ID, too; what could be two is none; what QEMU refuses is refused.
new_image names.qcow2 1M
for name in twice twice other; do
    qemu-img snapshot -c $name names.qcow2
done
remember_image names.qcow2
expect_refusal names.qcow2 'apply needs .*-n' qemu_snap apply names.qcow2
expect_refusal names.qcow2 "no snapshot 'none'" \
    qemu_snap apply -n none names.qcow2
expect_refusal names.qcow2 '1 \(twice\), 2 \(twice\)$' \
    qemu_snap apply -n twice names.qcow2
expect_untouched names.qcow2
qemu_snap apply -n 2 names.qcow2
expect_clean names.qcow2
qemu-img bitmap --add names.qcow2 bitmap
expect_status 1 qemu-img snapshot -a other names.qcow2
remember_image names.qcow2
expect_refusal names.qcow2 'persistent dirty bitmaps' \
    qemu_snap apply -n other names.qcow2
expect_untouched names.qcow2

# Refcounts that have no room for one more, as QEMU finds, too.
new_image narrow.qcow2 1M refcount_bits=2
qemu-io -c 'write -q -P 1 0 1M' narrow.qcow2
qemu_snap create -n first narrow.qcow2
qemu-img snapshot -c second narrow.qcow2
remember_image narrow.qcow2
expect_status 1 qemu-img snapshot -a first narrow.qcow2
cp narrow.qcow2.before narrow.qcow2
expect_refusal narrow.qcow2 'refcounts of 2 bits are too narrow' \
    qemu_snap apply -n first narrow.qcow2
expect_untouched narrow.qcow2
