#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU waits for ever for a command that ends without a word, so a load that
# fails before its first byte writes a single zero byte.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image none.qcow2
new_image two.qcow2
qemu-img snapshot -c diskonly none.qcow2
qemu_snap save -n one two.qcow2 < stream
qemu_snap save -n two two.qcow2 < stream
echo 'something else' > text.qcow2
printf '\0' > zero

# expect_one_byte IMAGE PATTERN ARGUMENTS...
expect_one_byte()
{
    local image=$1 pattern=$2
    shift 2
    expect_refusal "$image" "$pattern" qemu_snap load "$@" "$image"
    expect_same zero out
}

expect_one_byte missing.qcow2 'No such file'
expect_one_byte text.qcow2 'qcow2'
expect_one_byte none.qcow2 'no snapshot'
expect_one_byte none.qcow2 'diskonly.* no VM state' -n diskonly
expect_one_byte two.qcow2 'nosuch' -n nosuch
expect_one_byte two.qcow2 'one.*two'
