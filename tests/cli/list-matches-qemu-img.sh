#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `list' prints what `qemu-img snapshot -l' prints, byte for byte, and as JSON
# what `qemu-img info' has in its array.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

# expect_list IMAGE
expect_list()
{
    expect_status 0 qemu_snap list "$1"
    qemu-img snapshot -l "$1" > expected
    # Newer versions print the same facts in other columns.
    if grep -q VM_SIZE expected; then
        for file in expected out; do
            awk 'NR > 2 { print $1, $2, $3, $4 }' $file > $file.facts
        done
        expect_same expected.facts out.facts
    else
        expect_same expected out
    fi
    expect_status 0 qemu_snap list --output=json "$1"
    jq -S .snapshots out > found.json
    qemu-img info --output=json "$1" | jq -S '.snapshots // []' > expected.json
    expect_same expected.json found.json
}

new_image disk.qcow2
expect_list disk.qcow2

qemu_snap save -n ours disk.qcow2 < stream
expect_list disk.qcow2

qemu-img snapshot -c "disk only, a name that moves the columns" disk.qcow2
new_guest 8 16
guest_start source -drive file=disk.qcow2,if=none
qemu_wait_serial source '^tick' $PATIENCE
qemu_hmp source 'savevm theirs'
qemu_quit source
qemu_snap save -n "$(printf 'n%.0s' {1..255})" disk.qcow2 < stream
expect_list disk.qcow2

# The date is local time.
TZ=Asia/Kathmandu expect_list disk.qcow2

qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 old.qcow2 1M
qemu_snap save -n ours old.qcow2 < stream
expect_list old.qcow2
