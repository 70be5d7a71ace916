#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of `virt' machines with RISC-V add up, as account-functions.sh says.

. "$(dirname "$0")/../functions.sh"
QEMU=qemu-system-riscv64
. "$TOP/tests/account-functions.sh"

machine='-machine virt -m 16 -bios none'
ram=0x80000000

# li a0, 0x201;  slli a0, a0, 22;  lui a2, 0x200;  add a2, a2, a0;  lui a5, 1
# 1: sfence.vma;  addi a3, a3, 1;  mv a1, a0
# 2: srli a4, a1, 12;  add a4, a4, a3;  andi a4, a4, 7;  mul a4, a4, a1
# sd a4, 0(a1);  add a1, a1, a5;  bltu a1, a2, 2b;  j 1b
program 13051020 13156501 37062000 3306a600 b7170000 73000012 93861600 \
    93050500 13d7c500 3307d700 13777700 3307b702 23b0e500 b385f500 e3e4c5fe \
    6ff09ffd
guest="$(loader program 0) $(loader random 0x600000)"

all_ways_add_up
adds_up paused -machine aclint=on,aia=aplic-imsic -smp 3 \
    -device virtio-net-device -device virtio-gpu-pci
