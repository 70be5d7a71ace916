#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Persistent dirty bitmaps keep QEMU from loading any snapshot of the image:
# `save' says so, does its work, and leaves the bitmaps valid, as does whatever
# else does not change the disk. -q is silent.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu-img bitmap --add disk.qcow2 changes
bitmaps()
{
    qemu-img info --output=json disk.qcow2 |
        jq -S '.["format-specific"].data.bitmaps'
}
bitmaps > before

expect_status 0 qemu_snap save -n first disk.qcow2 < stream
grep -q '^qemu-snap: disk.qcow2: warning: .*bitmap' err || fail "$(cat err)"
expect_status 0 qemu_snap save -q -n second disk.qcow2 < stream
[ ! -s err ] || fail "$(cat err)"

expect_clean disk.qcow2
bitmaps > after
expect_same before after
qemu_snap load -n first disk.qcow2 > loaded
expect_same stream loaded

expect_status 0 qemu_snap create -n third disk.qcow2
grep -q 'warning: .*bitmap' err || fail "create: $(cat err)"
qemu_snap rename -n third --to=last disk.qcow2
qemu_snap delete -n second disk.qcow2
qemu_snap gc disk.qcow2
expect_clean disk.qcow2
bitmaps > after
expect_same before after

# Applied, they would lie. QEMU refuses as well, until they are removed.
remember_image disk.qcow2
expect_refusal disk.qcow2 'bitmap' qemu_snap apply -n first disk.qcow2
expect_status 1 qemu-img snapshot -a first disk.qcow2
grep -q 'bitmap' err || fail "qemu-img: $(cat err)"
expect_untouched disk.qcow2
qemu-img bitmap --remove disk.qcow2 changes
qemu_snap apply -n first disk.qcow2
expect_clean disk.qcow2
