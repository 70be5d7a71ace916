#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The disk of a running guest is refused, in QEMU's own words; looking at it
# needs -U, as with qemu-img.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
guest_disk 4 disk.qcow2
qemu_snap save -n first disk.qcow2 < stream
qemu-img snapshot -l disk.qcow2 > table

qemu_start owner -m 16 -drive file=disk.qcow2,if=ide
qemu_wait_serial owner '^tick' $PATIENCE

# What qemu-img says about its lock, without the prefix.
words_of_qemu_img()
{
    qemu-img snapshot "$@" disk.qcow2 2>&1 |
        grep -o 'Failed to get .* lock'
}

expect_refusal disk.qcow2 "$(words_of_qemu_img -c other)" \
    qemu_snap save --wait-lock=0 -n second disk.qcow2 < stream
expect_refusal disk.qcow2 "$(words_of_qemu_img -l)" \
    qemu_snap list disk.qcow2
expect_refusal disk.qcow2 "$(words_of_qemu_img -l)" \
    qemu_snap load disk.qcow2

expect_status 0 qemu_snap list -U disk.qcow2
expect_same table out
expect_status 0 qemu_snap load -U disk.qcow2
expect_same stream out

guest_proves_itself owner
qemu_quit owner
expect_clean disk.qcow2
expect_snapshots disk.qcow2 first
