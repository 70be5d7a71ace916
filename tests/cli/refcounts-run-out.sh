#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Two bits count to three: disk, snapshot and the one more that loading needs.
# A second snapshot of the same disk data is refused, nothing is lost.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2 64M refcount_bits=2
qemu-io -c 'write -q -P 1 0 1M' disk.qcow2
qemu_snap save -n first disk.qcow2 < stream
remember_image disk.qcow2

expect_refusal disk.qcow2 'refcount' \
    qemu_snap save -n second disk.qcow2 < stream
expect_untouched disk.qcow2
qemu_snap load disk.qcow2 > loaded
expect_same stream loaded
