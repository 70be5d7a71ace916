# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that change images at random: one shape of image per line,
# and how an empty one is made.

# shellcheck shell=bash disable=SC2034

# NAME SIZE [OPTIONS]; what is before the first dash may ask for more.
shapes=(
    'cluster-9 1000k cluster_size=512'
    'cluster-10 1M cluster_size=1k'
    'cluster-12 4M cluster_size=4k'
    'cluster-14 4M cluster_size=16k'
    'cluster-16 4M'
    'cluster-18 4M cluster_size=256k'
    'cluster-21 8M cluster_size=2M'
    'refcount-1 2M cluster_size=4k,refcount_bits=1'
    'refcount-2 2M cluster_size=4k,refcount_bits=2'
    'refcount-4 2M cluster_size=4k,refcount_bits=4'
    'refcount-8 2M refcount_bits=8'
    'refcount-32 2M cluster_size=4k,refcount_bits=32'
    'refcount-64 2M cluster_size=512,refcount_bits=64'
    'old-9 1M compat=0.10,cluster_size=512'
    'old-12 2M compat=0.10,cluster_size=4k'
    'old-16 4M compat=0.10'
    'old-21 8M compat=0.10,cluster_size=2M'
    'empty-16 0'
    'empty-9 0 cluster_size=512'
    'empty-old 0 compat=0.10'
    'large-16 1T'
    'large-21 4T cluster_size=2M'
    'odd-9 512 cluster_size=512'
    'odd-12 1025k cluster_size=4k'
    'unaligned-12 1025k cluster_size=4k'
    'unaligned-16 1025k'
    'preallocated-metadata 3M preallocation=metadata,cluster_size=16k'
    'preallocated-falloc 3M preallocation=falloc,cluster_size=4k'
    'preallocated-full 3M preallocation=full'
    'extended-14 4M cluster_size=16k,extended_l2=on'
    'extended-16 4M extended_l2=on'
    'extended-21 8M cluster_size=2M,extended_l2=on'
    'lazy-12 2M lazy_refcounts=on,cluster_size=4k'
    'lazy-16 2M lazy_refcounts=on'
    'over-12 2M cluster_size=4k'
    'over-16 2M'
    'over-old 2M compat=0.10,cluster_size=4k'
    'over-extended 2M cluster_size=16k,extended_l2=on'
    'compressed-zlib 2M compression_type=zlib,cluster_size=8k'
    'compressed-zstd 2M compression_type=zstd,cluster_size=8k'
    'compressed-old 2M compat=0.10'
    'compressed-narrow 1M cluster_size=16k,refcount_bits=8'
    'compressed-extended 2M extended_l2=on,compression_type=zstd'
    'bitmaps-12 2M cluster_size=4k'
    'container-20 1M'
)

# A backing file that is longer than the disk shows where nothing else is; it
# also reaches to where VM state begins.
make_over()
{
    [ -e base.qcow2 ] || {
        qemu-img create -q -f qcow2 base.qcow2 8M
        qemu-io -c 'write -q -P 0xba 0 8M' base.qcow2
    }
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 ${2:+-o "$2"} \
        disk.qcow2 "$1"
}

# What `qemu-img convert -c' leaves behind.
make_compressed()
{
    seq 300000 > plain
    truncate -s "$1" plain
    qemu-img convert -c -f raw -O qcow2 -o "$2" plain disk.qcow2
}

make_bitmaps()
{
    new_image disk.qcow2 "$1" "$2"
    qemu-img bitmap --add -g 512 disk.qcow2 fine
    qemu-io -c 'write -q 0 100k' disk.qcow2
    qemu-img bitmap --add --disable -g 64k disk.qcow2 disabled
}

# QEMU ignores the last bytes of a disk that does not end with a sector.
make_unaligned()
{
    new_image disk.qcow2 "$1" "${2:-}"
    poke disk.qcow2 31 64
}

make_container()
{
    qemu_snap save -q --raw -n first -s "$1" disk.qcow2 <<< 'VM state'
    qemu_snap delete -n first disk.qcow2
}

# make_shape NAME SIZE [OPTIONS]: an image called disk.qcow2.
make_shape()
{
    local maker=make_${1%%-*}
    shift
    rm -f disk.qcow2
    if declare -F "$maker" > /dev/null; then
        "$maker" "$@"
    else
        new_image disk.qcow2 "$@"
    fi
}
