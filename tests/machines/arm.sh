#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of a machine with pages of 1 KiB, by which old processors of ARM can
# protect memory, add up, as account-functions.sh says.

. "$(dirname "$0")/../functions.sh"
QEMU=qemu-system-arm
. "$TOP/tests/account-functions.sh"

machine='-machine versatilepb -m 16'
ram=0

# mov r0, #0x400000;  mov r2, #0x600000
# 1: mcr p15, 0, r0, c8, c7, 0;  add r3, r3, #1;  mov r1, r0
# 2: add r4, r3, r1, lsr #10;  and r4, r4, #7;  mul r5, r4, r1
# str r5, [r1];  add r1, r1, #1024;  cmp r1, r2;  blo 2b;  b 1b
program 0105a0e3 0626a0e3 170f08ee 013083e2 0010a0e1 214583e0 074004e2 \
    940105e0 005081e5 011b81e2 020051e1 f8ffff3a f4ffffea
guest="$(loader program 0x10000 cpu-num=0) $(loader random 0x600000)"

all_ways_add_up
