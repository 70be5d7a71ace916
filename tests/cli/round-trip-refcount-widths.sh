#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Reference counts of 2 to 64 bits. With one bit nothing can be shared, and
# QEMU needs a second reference while it loads: refused before any byte.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for bits in 2 4 8 16 32 64; do
    image=$bits.qcow2
    new_image $image 64M refcount_bits=$bits
    qemu-io -c 'write -q -P 1 0 1M' $image
    qemu_snap save -n first $image < stream
    expect_clean $image
    qemu_snap load $image > loaded
    expect_same stream loaded

    # The moment of truth is a further reference to all of it.
    qemu-img snapshot -a first $image
    expect_clean $image
    rm $image
done

new_image 1.qcow2 64M refcount_bits=1
remember_image 1.qcow2
expect_refusal 1.qcow2 'refcount' qemu_snap save -n first 1.qcow2 < stream
expect_untouched 1.qcow2
