#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Where `check -r all' repairs otherwise than qemu-img: data that are there
# stay, nothing is made up, and the file does not grow to where a damaged
# number points.

. "$(dirname "$0")/../functions.sh"

# A subcluster that is called both allocated and zero.
new_image subclusters.qcow2 1M extended_l2=on,cluster_size=32k
qemu-io -c 'write -P 7 0 2k' subclusters.qcow2 > /dev/null
cp subclusters.qcow2 good.qcow2
l2=$(number subclusters.qcow2 "$(number subclusters.qcow2 40)")
poke subclusters.qcow2 $((l2 + 8)) 00000001
expect_status 2 qemu_snap check subclusters.qcow2
expect_status 0 qemu_snap check -r all subclusters.qcow2
expect_clean subclusters.qcow2
expect_same good.qcow2 subclusters.qcow2

# A cluster in reserve, reading as zeros, that is not where a cluster can be.
new_image zeros.qcow2 1M
qemu-io -c 'write -P 7 0 64k' -c 'write -z 64k 64k' zeros.qcow2 > /dev/null
cp zeros.qcow2 good.qcow2
l2=$(number zeros.qcow2 "$(number zeros.qcow2 40)")
poke zeros.qcow2 $((l2 + 8)) 0000000000000201
expect_status 2 qemu_snap check zeros.qcow2
expect_status 0 qemu_snap check -r all zeros.qcow2
expect_clean zeros.qcow2
qemu-img compare -q good.qcow2 zeros.qcow2 || fail 'the disk changed'

# A refcount block a terabyte behind the end of the file.
cp good.qcow2 far.qcow2
poke far.qcow2 $(($(number far.qcow2 48) + 80)) 0000010000000000
expect_status 2 qemu_snap check far.qcow2
expect_status 0 qemu_snap check -r all far.qcow2
expect_clean far.qcow2
[ "$(stat -c %s far.qcow2)" -lt 4194304 ] ||
    fail "grew to $(stat -c %s far.qcow2) bytes"
qemu-img compare -q good.qcow2 far.qcow2 || fail 'the disk changed'

# A snapshot table that lies nowhere.
qemu-img snapshot -c one good.qcow2
cp good.qcow2 nowhere.qcow2
poke nowhere.qcow2 64 0000100000000000
expect_status 2 qemu_snap check -r all nowhere.qcow2
[ "$(od -A n -t x1 -j 64 -N 8 nowhere.qcow2 | tr -d ' ')" = \
    0000100000000000 ] || fail 'snapshots were made up'
