#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The clock of a machine that is stopped, as `save' finds it in the stream, is
# the one that QEMU's own snapshot of it has, to the nanosecond.

. "$(dirname "$0")/../functions.sh"
export QEMU_AUDIO_DRV=none

# clock_of IMAGE: of its only snapshot, in nanoseconds
clock_of()
{
    qemu-img info --output=json "$1" | jq '.snapshots[0] |
        .["vm-clock-sec"] * 1000000000 + .["vm-clock-nsec"]'
}

# same_clock QEMU MACHINE [ARGUMENTS...]
same_clock()
{
    local QEMU=$1 machine=$2 ours theirs
    shift 2
    requires "$QEMU"
    rm -f ours.qcow2
    new_image theirs.qcow2
    qemu_start source -machine "$machine" -m 16 -S -action panic=none \
        -drive if=none,format=qcow2,file=theirs.qcow2 "$@"
    qemu_qmp source cont > /dev/null
    qemu_qmp source stop > /dev/null
    qemu_hmp source 'savevm theirs' > hmp
    [ ! -s hmp ] || fail "$machine: savevm: $(cat hmp)"
    qemu_migrate source "$SNAP_COMMAND save --create ours.qcow2"
    qemu_quit source
    ours=$(clock_of ours.qcow2)
    theirs=$(clock_of theirs.qcow2)
    echo "$QEMU $machine: $ours"
    [ "$ours" = "$theirs" ] || fail "$machine: $ours, in QEMU $theirs"
    [ "$ours" -gt 0 ] || fail "$machine: the clock stood still"
}

same_clock qemu-system-x86_64 pc
same_clock qemu-system-x86_64 q35
same_clock qemu-system-x86_64 microvm
same_clock qemu-system-x86_64 pc -global migration.send-section-footer=off
same_clock qemu-system-x86_64 pc,suppress-vmdesc=on
same_clock qemu-system-aarch64 virt
same_clock qemu-system-arm versatilepb
same_clock qemu-system-riscv64 virt
same_clock qemu-system-s390x s390-ccw-virtio
