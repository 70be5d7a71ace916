#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Two bits count to three: disk, snapshot and the one more that loading needs.
# A second snapshot of the same disk data is refused, nothing is lost. One bit
# is refused before any byte.

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

# The moment of truth is a further reference to all of it.
qemu-img snapshot -a first disk.qcow2
expect_clean disk.qcow2

new_image 1.qcow2 64M refcount_bits=1
remember_image 1.qcow2
expect_refusal 1.qcow2 '1-bit refcounts' qemu_snap save -n first 1.qcow2 < stream
expect_untouched 1.qcow2
