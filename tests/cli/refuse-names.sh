#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Names of snapshots that are taken, too long, empty or would be taken for an
# ID are refused before the first byte is read.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n first disk.qcow2 < stream
remember_image disk.qcow2
mkfifo silence

# refuse NAME PATTERN
refuse()
{
    expect_refusal disk.qcow2 "$2" \
        timeout 20 $VG "$QEMU_SNAP" save -n "$1" disk.qcow2 <> silence
    expect_untouched disk.qcow2
}

refuse first 'already|exists'
refuse "$(printf 'n%.0s' {1..256})" 'long'
refuse 7 'number|decimal|ID'
refuse '' 'empty'

# Without a name there must be one snapshot only.
qemu_snap save -n second disk.qcow2 < stream
expect_refusal disk.qcow2 'first.*second' qemu_snap load disk.qcow2
expect_refusal disk.qcow2 'nosuch' qemu_snap load -n nosuch disk.qcow2
