# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that judge images of many shapes: sample_images makes them,
# all sound, all small.

# shellcheck shell=bash

# qcow2 FILE SIZE [OPTIONS]
sample_image()
{
    qemu-img create -q -f qcow2 ${3:+-o "$3"} "$1" "$2"
    sample_names+=("$1")
}

# write_to FILE COMMAND...: guest writes.
write_to()
{
    local image=$1 command arguments=()
    shift
    for command; do
        arguments+=(-c "$command")
    done
    qemu-io -f qcow2 "${arguments[@]}" "$image" > /dev/null
}

# A few writes, snapshots of the disk and of VM state, more writes.
live_a_life()
{
    local image=$1
    write_to "$image" 'write -P 1 0 70k' 'write -P 2 200k 3k' \
        'write -z 300k 64k' 'write -P 3 700k 100k' 'discard 720k 30k'
    qemu-img snapshot -c first "$image"
    write_to "$image" 'write -P 4 10k 20k' 'write -P 5 760k 10k'
    head -c 150000 /dev/urandom | qemu_snap save -q --raw -n state "$image"
    qemu-img snapshot -c third "$image"
    write_to "$image" 'write -P 6 210k 1k' 'discard 0 64k'
}

sample_geometries()
{
    local bits size
    for bits in 9 10 12 14 16 18 21; do
        sample_image "cluster-$bits.qcow2" 1M cluster_size=$((1 << bits))
        live_a_life "cluster-$bits.qcow2"
    done
    for bits in 4 8 32 64; do
        sample_image "refcount-$bits.qcow2" 1M \
            "cluster_size=4k,refcount_bits=$bits"
        live_a_life "refcount-$bits.qcow2"
    done
    for bits in 1 2; do
        sample_image "refcount-$bits.qcow2" 1M \
            "cluster_size=4k,refcount_bits=$bits"
        write_to "refcount-$bits.qcow2" 'write 0 70k' 'write 200k 3k'
    done
    for size in 512 4k; do
        sample_image "old-$size.qcow2" 1M "compat=0.10,cluster_size=$size"
        live_a_life "old-$size.qcow2"
    done
}

sample_allocations()
{
    local mode
    sample_image empty.qcow2 0
    sample_image empty-large.qcow2 1T
    for mode in metadata falloc full; do
        sample_image "preallocated-$mode.qcow2" 3M \
            "preallocation=$mode,cluster_size=16k"
    done
    sample_image lazy.qcow2 1M lazy_refcounts=on,cluster_size=4k
    live_a_life lazy.qcow2
    sample_image resized.qcow2 1M cluster_size=1k
    write_to resized.qcow2 'write 0 1M'
    qemu-img resize -q resized.qcow2 3M
    write_to resized.qcow2 'write 2M 100k'
    qemu-img resize -q --shrink resized.qcow2 1500k
    qemu-img create -q -f qcow2 base.qcow2 1M
    write_to base.qcow2 'write 0 1M'
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
    sample_names+=(over.qcow2)
    live_a_life over.qcow2
}

# extended_l2, compressed clusters, bitmaps, an external data file.
sample_features()
{
    local type
    sample_image extended.qcow2 2M extended_l2=on,cluster_size=32k
    write_to extended.qcow2 'write 0 70k' 'write 200k 3k' 'write -z 300k 8k' \
        'write -z 512k 128k' 'discard 0 10k'
    qemu-img snapshot -c first extended.qcow2
    write_to extended.qcow2 'write 1k 1k'
    for type in zlib zstd; do
        sample_image "compressed-$type.qcow2" 1M \
            "compression_type=$type,cluster_size=8k"
        write_to "compressed-$type.qcow2" 'write 900k 30k' \
            'write -c -P 1 0 8k' 'write -c -P 2 8k 32k' 'write -c -P 3 64k 8k'
        qemu-img snapshot -c first "compressed-$type.qcow2"
        write_to "compressed-$type.qcow2" 'write -P 4 8k 8k' \
            'write -c -P 5 128k 64k'
    done
    sample_image bitmaps.qcow2 4M cluster_size=4k
    write_to bitmaps.qcow2 'write 0 100k'
    qemu-img bitmap --add -g 512 bitmaps.qcow2 fine
    qemu-img bitmap --add -g 64k bitmaps.qcow2 coarse
    write_to bitmaps.qcow2 'write 1M 100k' 'write 3M 1k'
    qemu-img bitmap --add --disable bitmaps.qcow2 disabled
    sample_image data-file.qcow2 1M data_file=data-file.raw,cluster_size=4k
    write_to data-file.qcow2 'write 0 100k' 'write -z 300k 50k'
}

sample_images()
{
    sample_names=()
    sample_geometries
    sample_allocations
    sample_features
}
