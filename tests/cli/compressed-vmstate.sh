#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# VM state in compressed clusters, which QEMU loads but never makes: qemu-img
# has written them as the end of a disk, of which the snapshot is told that it
# is no disk.

. "$(dirname "$0")/../functions.sh"

# What can be compressed and what cannot.
{
    seq 70000
    head -c 500000 /dev/urandom
    seq 70000
} > stream
bytes=$(stat -c %s stream)

# compressed_vmstate IMAGE DISK-MIB OPTIONS: as much as one L1 entry maps.
compressed_vmstate()
{
    local image=$1 disk=$(($2 << 20)) table
    truncate -s 0 raw
    truncate -s $disk raw
    cat stream >> raw
    qemu-img convert -c -f raw -O qcow2 -o "$3" raw "$image"
    qemu-img snapshot -c s "$image"
    table=$((0x$(od -A n -t x1 -j 64 -N 8 "$image" | tr -d ' \n')))
    poke "$image" $((table + 40)) "$(printf '%016x%016x' "$bytes" $disk)"
}

compressed_vmstate 4k.qcow2 2 cluster_size=4k
compressed_vmstate 64k.qcow2 512 compression_type=zstd
compressed_vmstate sub.qcow2 16 cluster_size=16k,extended_l2=on
for image in 4k.qcow2 64k.qcow2 sub.qcow2; do
    expect_clean $image
    [ "$(qemu-img check --output=json $image | jq '."compressed-clusters"')" \
        -gt 5 ] || fail "$image is not compressed"
    qemu_snap load --raw $image > loaded
    expect_same stream loaded
    qemu_snap apply -n s $image
    expect_clean $image
    qemu_snap load --raw $image > loaded
    expect_same stream loaded
    qemu_snap delete -n s $image
    expect_clean $image
done

# One that is damaged.
compressed_vmstate bad.qcow2 2 cluster_size=4k
table=$((0x$(od -A n -t x1 -j 64 -N 8 bad.qcow2 | tr -d ' \n')))
l1=$((0x$(od -A n -t x1 -j $table -N 8 bad.qcow2 | tr -d ' \n')))
l2=$((0x$(od -A n -t x1 -j $((l1 + 8)) -N 8 bad.qcow2 | tr -d ' \n') &
    0xffffffffffff))
data=$((0x$(od -A n -t x1 -j $l2 -N 8 bad.qcow2 | tr -d ' \n') &
    0x3ffffffffffffff))
poke bad.qcow2 $data ffffffffffffffff
expect_refusal bad.qcow2 'compressed cluster at .* cannot be decompressed' \
    qemu_snap load --raw bad.qcow2
