#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# --replace: the new snapshot takes the place of the old one of that name at
# once, or the old one is still there; and the image does not grow for ever.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
sample_stream stream2 2

for options in $(some_of compat=1.1 compat=0.10 cluster_size=4k \
    refcount_bits=2); do
    rm -f disk.qcow2
    new_image disk.qcow2 16M $options
    qemu-io -c 'write -q -P 1 0 2M' disk.qcow2
    # An old one need not be there.
    qemu_snap save --replace -n s disk.qcow2 < stream
    expect_snapshots disk.qcow2 's'
    for round in 1 2 3 4 5 6; do
        qemu-io -c "write -q -P $round ${round}M 2M" disk.qcow2
        qemu-img convert -O raw disk.qcow2 now
        input=$([ $((round % 2)) = 0 ] && echo stream || echo stream2)
        qemu_snap save --replace -n s disk.qcow2 < "$input"
        expect_clean disk.qcow2
        expect_snapshots disk.qcow2 's'
        qemu_snap load -n s disk.qcow2 > loaded
        expect_same "$input" loaded
        qemu-img convert -l snapshot.name=s -O raw disk.qcow2 kept
        expect_same now kept
        qemu-img convert -O raw disk.qcow2 kept
        expect_same now kept
        [ $round != 3 ] || size=$(stat -c %s disk.qcow2)
    done
    # Old state, new state, and what the disk grew by.
    [ "$(stat -c %s disk.qcow2)" -le $((size + 5000000)) ] ||
        fail "grew from $size to $(stat -c %s disk.qcow2) bytes"
done

# What QEMU left in the active layer was the old one's, and goes with it.
new_image loaded.qcow2 16M
qemu_snap save -n s loaded.qcow2 < stream
qemu-img snapshot -a s loaded.qcow2
qemu_snap save --replace -n s loaded.qcow2 < stream2
expect_clean loaded.qcow2
! qemu_snap inspect loaded.qcow2 | grep 'stale VM state' ||
    fail 'the old VM state is still there'

# A stream that is not complete replaces nothing.
remember_image loaded.qcow2
head -c 5000000 stream > part
expect_refusal loaded.qcow2 'nothing was saved' \
    qemu_snap save --replace -n s loaded.qcow2 < part
expect_untouched loaded.qcow2
qemu_snap load -n s loaded.qcow2 > state
expect_same stream2 state

# Without VM state; others stay; two of that name are none.
qemu_snap create -n other loaded.qcow2
qemu_snap create --replace -n s loaded.qcow2
expect_snapshots loaded.qcow2 'other s'
expect_clean loaded.qcow2
expect_refusal loaded.qcow2 'already exists' qemu_snap create -n s loaded.qcow2
qemu-img snapshot -c other loaded.qcow2
remember_image loaded.qcow2
expect_refusal loaded.qcow2 'other.*may be any of these' \
    qemu_snap create --replace -n other loaded.qcow2
expect_refusal loaded.qcow2 'is a number' \
    qemu_snap create --replace -n 1 loaded.qcow2
expect_untouched loaded.qcow2

# Also when the image was locked at the start.
new_image busy.qcow2 16M
qemu_snap save -n s busy.qcow2 < stream
hold_image busy.qcow2
{ cat stream2; release_image; } | qemu_snap save --replace -n s busy.qcow2
expect_snapshots busy.qcow2 's'
expect_clean busy.qcow2
qemu_snap load -n s busy.qcow2 > state
expect_same stream2 state
