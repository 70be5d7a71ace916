#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of `virt' machines with 64-bit ARM add up, as account-functions.sh
# says. Before version 2.7 they have pages of 1 KiB.

. "$(dirname "$0")/../functions.sh"
QEMU=qemu-system-aarch64
. "$TOP/tests/account-functions.sh"

machine='-machine virt -cpu cortex-a57 -m 16'
ram=0x40000000

# movz x0, #0x4040, lsl #16;  movz x2, #0x4060, lsl #16
# 1: tlbi vmalle1;  add x3, x3, #1;  mov x1, x0
# 2: add x4, x3, x1, lsr #12;  and x4, x4, #7;  mul x4, x4, x1
# str x4, [x1];  add x1, x1, #1, lsl #12;  cmp x1, x2;  b.lo 2b;  b 1b
program 0008a8d2 020ca8d2 1f8708d5 63040091 e10300aa 6430418b 84084092 \
    847c019b 240000f9 21044091 3f0002eb 43ffff54 f6ffff17
guest="$(loader program 0x200000 cpu-num=0) $(loader random 0x600000)"

all_ways_add_up
! has_machine virt-2.6 || adds_up paused -machine virt-2.6
adds_up live -machine virt-5.0
adds_up paused -machine gic-version=3,virtualization=on,iommu=smmuv3 -smp 3 \
    -device virtio-gpu-pci -device qemu-xhci -device usb-kbd
