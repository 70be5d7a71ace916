#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of s390x machines add up, as account-functions.sh says. They have a
# second iterable section between those of the RAM, and storage keys.

. "$(dirname "$0")/../functions.sh"
QEMU=qemu-system-s390x
. "$TOP/tests/account-functions.sh"

machine='-machine s390-ccw-virtio -m 16'
ram=0

# llilh %r0, 64;  llilh %r2, 96;  lghi %r3, 0;  lghi %r5, 7
# 1: ptlb;  aghi %r3, 1;  lgr %r1, %r0
# 2: srlg %r4, %r1, 12;  agr %r4, %r3;  ngr %r4, %r5;  msgr %r4, %r1
# stg %r4, 0(%r1);  aghi %r1, 4096;  clgr %r1, %r2;  jl 2b;  j 1b
program a50e0040 a52e0060 a7390000 a7590007 b20d0000 a73b0001 b9040010 \
    eb41000c000c b9080043 b9800045 b90c0041 e34010000024 a71b1000 b9210012 \
    a744fff0 a7f4ffe8
# The processor begins where the first word of memory says.
{
    printf '\0\10\0\0\200\0\200\0'
    head -c 32760 /dev/zero
    cat program
} > kernel
guest="-kernel kernel $(loader random 0x600000)"

all_ways_add_up
! has_machine s390-ccw-virtio-2.4 || adds_up live -machine s390-ccw-virtio-2.4
adds_up paused -smp 3 -device virtio-net-ccw -device virtio-gpu-ccw
grep -q '^section s390-storage_attributes ' account ||
    fail "no storage attributes: $(cat account)"
