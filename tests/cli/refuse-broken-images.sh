#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Files that are not qcow2, end too early, or have a header that cannot be
# true: one line, no crash, no long search, no memory by the gigabyte.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image good.qcow2 1G
qemu_snap save -n first good.qcow2 < stream

# refuse IMAGE PATTERN
refuse()
{
    cp "$1" "$1.before"
    expect_refusal "$1" "$2" timeout 20 $VG "$QEMU_SNAP" list "$1"
    expect_refusal "$1" "$2" timeout 20 $VG "$QEMU_SNAP" load "$1"
    expect_refusal "$1" "$2" \
        timeout 20 $VG "$QEMU_SNAP" save -n second "$1" < stream
    expect_same "$1" "$1.before"
    rm "$1" "$1.before"
}

head -c 1M /dev/zero > zeros
refuse zeros 'not a qcow2|qcow2'
: > empty
refuse empty 'qcow2|short|truncated'
for length in 3 71 103; do
    head -c $length good.qcow2 > short
    refuse short 'short|truncated|cut off|not a qcow2'
done

# A header field, an impossible value, and a word of the complaint.
while read -r name offset value pattern; do
    cp good.qcow2 "$name"
    poke "$name" "$offset" "$value"
    refuse "$name" "$pattern"
done <<'END'
version 4 00000009 version
cluster-bits-8 20 00000008 cluster
cluster-bits-40 20 00000028 cluster
size-huge 24 7fffffffffffffff size|L1
l1-entries 36 7fffffff L1
l1-too-few 36 00000000 L1
l1-unaligned 40 0000000000000201 L1
l1-behind-the-end 40 00007fffffff0000 L1
refcount-unaligned 48 0000000000000001 refcount
refcount-behind-the-end 48 00007fffffff0000 refcount
refcount-clusters-none 56 00000000 refcount
refcount-clusters-many 56 ffffffff refcount
snapshots-many 60 00010001 snapshot
snapshots-missing 60 0000ffff snapshot
snapshots-unaligned 64 0000000000000003 snapshot
snapshots-behind-the-end 64 00007fffffff0000 snapshot
refcount-order 96 00000007 refcount
header-length-short 100 00000008 header
header-length-long 100 00ffffff header
backing-name 8 0000000000ff0000 backing
END
