#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The exit statuses of `check', its options, and what it never does: write to
# an image without -r, or to one that is in use.

. "$(dirname "$0")/../functions.sh"

new_image good.qcow2 1M cluster_size=4k
qemu-io -c 'write 0 40k' good.qcow2 > /dev/null
refcounts=$((4096 * 2))

expect_status 0 qemu_snap check good.qcow2
grep -q '^No errors were found' out || fail "said: $(cat out)"
[ ! -s err ] || fail "complained: $(cat err)"

# A cluster that nobody uses, the second one from a 4 KiB refcount block's end.
cp good.qcow2 leak.qcow2
truncate -s 1M leak.qcow2
poke leak.qcow2 $((refcounts + 2 * 200)) 0001
cp leak.qcow2 leak.before
expect_status 3 qemu_snap check leak.qcow2
expect_same leak.qcow2 leak.before
grep -q '^Leaked cluster 200 refcount=1 reference=0$' err || fail "$(cat err)"
expect_status 3 qemu_snap check --output=json leak.qcow2
[ "$(jq .leaks out)" = 1 ] || fail "json: $(cat out)"
expect_status 3 qemu_snap check -q leak.qcow2
[ ! -s out ] || fail "not quiet: $(cat out)"

# The header's own refcount: in use, but said to be free.
cp good.qcow2 corrupt.qcow2
poke corrupt.qcow2 $refcounts 0000
expect_status 2 qemu_snap check corrupt.qcow2
grep -q '^ERROR cluster 0 refcount=0 reference=1$' err || fail "$(cat err)"
expect_status 1 qemu_snap check -r leaks corrupt.qcow2

expect_status 0 qemu_snap check -r leaks leak.qcow2
grep -q '^ *1 leaked clusters$' out || fail "said: $(cat out)"
expect_clean leak.qcow2
expect_status 0 qemu_snap check --repair=all corrupt.qcow2
expect_clean corrupt.qcow2
qemu-img compare -q good.qcow2 corrupt.qcow2 || fail 'the disk changed'

# An image that was not closed properly, and one marked corrupt.
for mark in 01 02; do
    cp good.qcow2 marked.qcow2
    poke marked.qcow2 79 $mark
    expect_status 0 qemu_snap check marked.qcow2
    cmp -s good.qcow2 marked.qcow2 && fail 'a mere check wrote to the image'
    expect_status 0 qemu_snap check -r all marked.qcow2
    expect_same good.qcow2 marked.qcow2
done

head -c 100K /dev/zero > zeros
expect_status 63 qemu_snap check zeros
: > empty
expect_status 63 qemu_snap check empty
expect_status 1 qemu_snap check missing.qcow2
expect_status 1 qemu_snap check -r some good.qcow2
expect_status 1 qemu_snap check -r all -U good.qcow2

# Somebody else writes to it.
qemu-io -c 'sleep 5000' good.qcow2 > /dev/null &
holder=$!
on_exit "kill $holder 2> /dev/null"
wait_until $PATIENCE grep -q "$(stat -c %i good.qcow2)" /proc/locks
expect_refusal good.qcow2 'lock' qemu_snap check good.qcow2
expect_refusal good.qcow2 'lock' qemu_snap check -r all good.qcow2
expect_status 0 qemu_snap check -U good.qcow2
