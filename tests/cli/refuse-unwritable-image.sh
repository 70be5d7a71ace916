#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# An image without write permission, a directory, a path without a directory.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
mkdir directory

expect_refusal directory 'directory|regular' \
    qemu_snap save -n x directory < stream
expect_refusal directory 'directory|regular' qemu_snap list directory
expect_refusal no/such.qcow2 'No such file' \
    qemu_snap save --create no/such.qcow2 < stream

# Root may write anything, unless without that capability.
chmod a-w disk.qcow2
run=()
[ ! -w disk.qcow2 ] || run=(setpriv --bounding-set=-dac_override)
expect_refusal disk.qcow2 'Permission denied' \
    "${run[@]}" "$QEMU_SNAP" save -n first disk.qcow2 < stream
expect_status 0 "${run[@]}" "$QEMU_SNAP" list disk.qcow2
