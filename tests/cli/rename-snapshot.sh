#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Renaming changes a name in the list and nothing else.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for options in $(some_of compat=1.1 compat=0.10 cluster_size=512); do
    rm -f disk.qcow2
    new_image disk.qcow2 4M $options
    qemu-io -c 'write -q -P 1 0 1M' disk.qcow2
    qemu_snap save -n first disk.qcow2 < stream
    qemu-img snapshot -c second disk.qcow2
    qemu-img snapshot -l disk.qcow2 > list
    qemu_snap rename -n first --to='a longer name than it was' disk.qcow2
    qemu_snap rename -n 2 --to=x disk.qcow2
    expect_clean disk.qcow2
    expect_snapshots disk.qcow2 'a longer name than it was x'
    qemu_snap load -n 'a longer name than it was' disk.qcow2 > loaded
    expect_same stream loaded
    qemu_snap rename -n 'a longer name than it was' --to=first disk.qcow2
    qemu_snap rename -n x --to=second disk.qcow2
    qemu-img snapshot -l disk.qcow2 | cmp - list || fail 'the list differs'
    expect_clean disk.qcow2
done

remember_image disk.qcow2
expect_refusal disk.qcow2 'rename needs .*--to' \
    qemu_snap rename -n first disk.qcow2
expect_refusal disk.qcow2 'rename needs .*-n' \
    qemu_snap rename --to=new disk.qcow2
expect_refusal disk.qcow2 "no snapshot 'none'" \
    qemu_snap rename -n none --to=new disk.qcow2
expect_refusal disk.qcow2 'already exists' \
    qemu_snap rename -n first --to=second disk.qcow2
expect_refusal disk.qcow2 'already exists' \
    qemu_snap rename -n first --to=first disk.qcow2
expect_refusal disk.qcow2 'is a number' \
    qemu_snap rename -n first --to=7 disk.qcow2
expect_refusal disk.qcow2 'is empty' qemu_snap rename -n first --to= disk.qcow2
expect_untouched disk.qcow2
