#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A disk-only snapshot is what qemu-img would have made: it lists and applies
# it, and what is written later does not reach it.

. "$(dirname "$0")/../functions.sh"

for options in $(some_of compat=1.1 compat=0.10 cluster_size=512 \
    cluster_size=2M refcount_bits=64 lazy_refcounts=on); do
    rm -f disk.qcow2
    new_image disk.qcow2 8M $options
    qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -c -P 2 2M 2M' \
        -c 'write -q -z 5M 1M' disk.qcow2
    qemu-img convert -O raw disk.qcow2 before
    qemu_snap create -n first disk.qcow2
    expect_clean disk.qcow2
    qemu-io -c 'write -q -P 3 512k 2M' -c 'write -q -P 4 3M 512' disk.qcow2
    expect_clean disk.qcow2
    qemu-img convert -O raw disk.qcow2 now
    ! cmp -s before now || fail "$options: nothing was written at all"
    qemu_snap create -n second disk.qcow2
    qemu-img convert -l snapshot.name=first -O raw disk.qcow2 kept
    expect_same before kept
    qemu-img convert -l snapshot.name=second -O raw disk.qcow2 kept
    expect_same now kept
    qemu-img snapshot -a first disk.qcow2
    qemu-img convert -O raw disk.qcow2 kept
    expect_same before kept
    expect_clean disk.qcow2
    expect_snapshots disk.qcow2 'first second'
done

# The table is qemu-img's, with no VM state in it.
qemu-img snapshot -l disk.qcow2 | grep -q -E '^1 +first +0 B ' ||
    fail "listed as $(qemu-img snapshot -l disk.qcow2)"

# A disk of size 0, or without content, is no exception.
for size in 0 64M; do
    new_image empty-$size.qcow2 $size
    qemu_snap create -n s empty-$size.qcow2
    expect_clean empty-$size.qcow2
    qemu-img snapshot -a s empty-$size.qcow2
    expect_clean empty-$size.qcow2
    qemu-img snapshot -d s empty-$size.qcow2
    expect_clean empty-$size.qcow2
done

# The name is asked for, and is one that no command of QEMU mistakes.
remember_image disk.qcow2
expect_refusal disk.qcow2 'create needs .*-n' qemu_snap create disk.qcow2
expect_refusal disk.qcow2 'number' qemu_snap create -n 7 disk.qcow2
expect_refusal disk.qcow2 'already exists' qemu_snap create -n first disk.qcow2
expect_refusal disk.qcow2 'empty' qemu_snap create -n '' disk.qcow2
expect_refusal missing.qcow2 'no such file' qemu_snap create -n s missing.qcow2
expect_untouched disk.qcow2
expect_snapshots disk.qcow2 'first second'

# Every way to the disk leads there.
for option in --cache=none --cache=writeback --cache=directsync --cache=unsafe \
    --aio=threads '--cache=none --aio=native'; do
    # The option may be two words.
    # shellcheck disable=SC2086
    qemu_snap create $option -q -n "by$option" disk.qcow2
    expect_clean disk.qcow2
done
