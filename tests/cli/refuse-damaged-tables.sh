#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Tables that cannot be true are found by who uses them, which is named, and by
# check; who does not need them is not kept from its work.

. "$(dirname "$0")/../functions.sh"

head -c 100000 /dev/urandom > bytes
new_image good.qcow2 64M
qemu-io -c 'write -P 7 0 64k' good.qcow2 > /dev/null
qemu_snap save --raw -n first good.qcow2 < bytes

# number OFFSET BYTES: as it is stored in the good image.
number()
{
    echo $((16#$(xxd -s "$1" -l "$2" -p good.qcow2)))
}

# The offset in an entry of a table, without flags.
pointer()
{
    echo $(($(number "$1" 8) & 0x00fffffffffffe00))
}

l1=$(number 40 8)
# shellcheck disable=SC2034
l2=$(pointer "$l1")
# shellcheck disable=SC2034
refcounts=$(number 48 8)
snapshot=$(number 64 8)
snapshot_l1=$(number "$snapshot" 8)
# The disk takes one entry, so the VM state has the second.
# shellcheck disable=SC2034
vmstate_l2=$(pointer $((snapshot_l1 + 8)))

# Where, which number there, what uses it, the verdict of check, the complaint.
while read -r name where value command verdict pattern; do
    cp good.qcow2 "$name"
    poke "$name" $((where)) "$value"
    cp "$name" before
    # shellcheck disable=SC2086
    expect_refusal "$name" "$pattern" \
        timeout 20 $VG "$QEMU_SNAP" ${command//,/ } "$name"
    expect_same "$name" before
    expect_status 0 qemu_snap list "$name"
    grep -q first out
    expect_status "$verdict" qemu_snap check "$name"
    rm "$name"
done <<'END'
l1-unaligned l1 8000000000000200 create,-n,new 2 impossible L1 entry 0: 0x
l1-reserved l1 8100000000050001 create,-n,new 2 impossible L1 entry 0: 0x
l1-behind-the-end l1 8000007fffff0000 create,-n,new 2 impossible L1 entry 0: 0x
l2-unaligned l2 8000000000000200 create,-n,new 2 impossible L2 entry 0x.* for guest offset 0x0
l2-reserved l2 8100000000050002 create,-n,new 2 impossible L2 entry 0x.* for guest offset 0x0
l2-behind-the-end l2 8000007fffff0000 create,-n,new 2 impossible L2 entry 0x.* for guest offset 0x0
block-unaligned refcounts 0000000000000200 create,-n,new 1 impossible refcount table entry 0: 0x
block-reserved refcounts 0000000000020001 create,-n,new 2 impossible refcount table entry 0: 0x
block-behind-the-end refcounts 00007fffffff0000 create,-n,new 2 impossible refcount table entry 0: 0x
vmstate-l1-unaligned snapshot_l1+8 8000000000000200 load,--raw 2 impossible L1 entry 1: 0x
vmstate-l1-reserved snapshot_l1+8 8100000000050001 load,--raw 2 impossible L1 entry 1: 0x
vmstate-l1-behind-the-end snapshot_l1+8 8000007fffff0000 load,--raw 2 impossible L1 entry 1: 0x
vmstate-l2-unaligned vmstate_l2 8000000000000200 load,--raw 2 VM state position 0: impossible L2 entry 0x
vmstate-l2-reserved vmstate_l2 8100000000050002 load,--raw 2 VM state position 0: impossible L2 entry 0x
vmstate-l2-behind-the-end vmstate_l2 8000007fffff0000 load,--raw 2 VM state position 0: impossible L2 entry 0x
snapshot-l1-unaligned snapshot 0000000000000200 load,--raw 2 impossible L1 table of snapshot 'first': 
snapshot-l1-behind-the-end snapshot 00007fffffff0000 load,--raw 2 impossible L1 table of snapshot 'first': 
snapshot-l1-in-the-header snapshot 0000000000000000 delete,-n,first 2 impossible L1 table of snapshot 'first': 
snapshot-l1-huge snapshot+8 ffffffff load,--raw 2 impossible L1 table of snapshot 'first': 
snapshot-l1-empty snapshot+8 00000000 load,--raw 3 the L1 table of snapshot 'first' with 0 entries cannot map 100000 bytes
END
