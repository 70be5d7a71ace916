#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Without --raw only a complete migration stream is stored, with it anything,
# of any length.

. "$(dirname "$0")/../functions.sh"

new_image disk.qcow2
remember_image disk.qcow2
expect_refusal disk.qcow2 'stream' \
    qemu_snap save -n text disk.qcow2 <<< 'not a stream'
expect_untouched disk.qcow2

head -c 3000000 /dev/urandom > noise
for length in 1 511 512 65536 65537 2999999; do
    head -c $length noise > data
    qemu_snap save --raw -n "bytes-$length" disk.qcow2 < data
    qemu_snap load -n "bytes-$length" disk.qcow2 > loaded
    expect_same data loaded
done
expect_clean disk.qcow2

# A length of 0 would be a snapshot without VM state.
expect_refusal disk.qcow2 'empty|no data|ends' \
    qemu_snap save --raw -n nothing disk.qcow2 < /dev/null
