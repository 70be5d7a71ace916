#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A VM state whose clusters are missing or out of bounds is an error with an
# offset, even if bytes went out before; never silent zeros, never a hang.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image good.qcow2
qemu_snap save -n first good.qcow2 < stream

# be64_at FILE OFFSET
be64_at()
{
    printf '%d' "0x$(od -A n -t x1 -j "$2" -N 8 "$1" | tr -d ' \n')"
}

# The table of snapshots begins with the offset of the first one's L1. With
# clusters of 64 KiB the L1 entry of a disk of 64 MiB is the first, that of the
# VM state the second. Bit 63 of an entry is a flag.
l1=$(be64_at good.qcow2 "$(be64_at good.qcow2 64)")
l2_entry=$((l1 + 8))
l2=$(($(be64_at good.qcow2 $l2_entry) & 0x00fffffffffffe00))

# damage NAME OFFSET HEX-DIGITS
damage()
{
    cp good.qcow2 "$1.qcow2"
    poke "$1.qcow2" "$2" "$3"
    expect_status 1 timeout 20 $VG "$QEMU_SNAP" load "$1.qcow2"
    [ "$(wc -l < err)" = 1 ] && grep -q -E \
        "^qemu-snap: $1.qcow2: .*[0-9]" err ||
        fail "$1: $(cat err)"
    [ "$(wc -c < out)" -lt "$(stat -L -c %s stream)" ] || fail "$1: all loaded"
}

damage no-l2-table $l2_entry 0000000000000000
damage l2-table-unaligned $l2_entry 0000000000000e00
damage l2-table-behind-the-end $l2_entry 00007fffffff0000
damage hole $((l2 + 8 * 20)) 0000000000000000
damage cluster-unaligned $((l2 + 8 * 20)) 0000000000000e00
damage cluster-behind-the-end $((l2 + 8 * 20)) 00007fffffff0000
damage last-cluster-behind-the-end $((l2 + 8 * 150)) 00007fffffff0000
