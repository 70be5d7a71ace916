#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Images of every shape live through everything that can be done to them.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/image-life.sh"

# Each width and each feature with some cluster size. With few ROUNDS it is every
# second one, and SEED says which half.
seed=${SEED:-$((10#$(date +%N)))}
echo "SEED=$seed"
while read -r size at options; do
    seed=$((seed + 1))
    [ $((seed % 2)) = 0 ] || [ "${ROUNDS:-0}" -ge 100 ] || continue
    echo "$size $options"
    rm -f image.qcow2
    new_image image.qcow2 "$size" "$options"
    live_through image.qcow2 "${at#-}"
done << 'END'
8M  524288  cluster_size=512,compat=0.10
1M  0       cluster_size=1k,refcount_bits=64
1M  0       cluster_size=4k,refcount_bits=4,lazy_refcounts=on
2M  524288  cluster_size=8k,compression_type=zstd,preallocation=metadata
1M  0       cluster_size=64k,refcount_bits=32
1M  0       cluster_size=64k,compat=0.10
2M  1048576 cluster_size=256k,refcount_bits=8
8M  4194304 cluster_size=2M,preallocation=falloc
2M  524288  cluster_size=16k,extended_l2=on
64M 0       cluster_size=2M,extended_l2=on,compression_type=zstd
60T 65970697142272 cluster_size=64k
0   -       cluster_size=4k
END

# The disk is longer than its sectors and ends inside a cluster.
new_image odd.qcow2 1M cluster_size=1k
poke odd.qcow2 24 00000000000fffff
live_through odd.qcow2 0

# Where nothing was written, the backing file shows through.
new_image base.qcow2 1M
qemu-io -c 'write -q -P 7 0 1M' base.qcow2
for options in cluster_size=4k extended_l2=on,cluster_size=32k; do
    cp base.qcow2 base.copy
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 -o $options over.qcow2
    live_through over.qcow2 0
    expect_io over.qcow2 'backing file' 'read -P 7 900k 100k'
    expect_same base.qcow2 base.copy
done
rm base.qcow2

# The disk had another size when a snapshot was made: so has the VM state
# another place.
for options in cluster_size=512 extended_l2=on,cluster_size=16k; do
    rm -f resized.qcow2
    new_image resized.qcow2 1M $options
    qemu-io -c 'write -q -P 1 0 1M' resized.qcow2
    qemu_snap save --raw -n small resized.qcow2 < vmstate
    qemu-img resize -q resized.qcow2 40M
    qemu-io -c 'write -q -P 2 30M 1M' resized.qcow2
    qemu_snap save --raw -n large resized.qcow2 < vmstate
    qemu_snap apply -n small resized.qcow2
    expect_vmstate resized.qcow2 large
    expect_vmstate resized.qcow2 small
    expect_io resized.qcow2 small 'read -P 1 0 1M'
    qemu_snap apply -n large resized.qcow2
    expect_io resized.qcow2 large 'read -P 1 0 1M' 'read -P 2 30M 1M'
    expect_clean resized.qcow2
    qemu-img snapshot -a small resized.qcow2
    expect_io resized.qcow2 'VM state' "read -b -P 161 0 $vmstate_half"
    qemu_snap delete -n small resized.qcow2
    qemu_snap gc resized.qcow2
    expect_clean resized.qcow2
done
