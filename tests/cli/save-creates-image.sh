#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `save' makes an image only when told how: -s gives its virtual size, --create
# means none at all. An image that exists is used as it is.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

expect_refusal new.qcow2 'No such file' qemu_snap save new.qcow2 < stream
[ ! -e new.qcow2 ] || fail 'an image appeared without being asked for'

# expect_geometry IMAGE VIRTUAL-SIZE CLUSTER-SIZE
expect_geometry()
{
    local found
    found=$(qemu-img info --output=json "$1" |
        jq -r '"\(.["virtual-size"]) \(.["cluster-size"])"')
    [ "$found" = "$2 $3" ] || fail "$1: sizes $found instead of $2 $3"
}

expect_status 0 qemu_snap save -s 16G -n first sized.qcow2 < stream
expect_output ''
expect_geometry sized.qcow2 17179869184 1048576
expect_status 0 qemu_snap save --create -n first empty.qcow2 < stream
expect_geometry empty.qcow2 0 1048576

expect_status 0 qemu_snap save -s 1M -n second sized.qcow2 < stream
expect_geometry sized.qcow2 17179869184 1048576

for image in sized.qcow2 empty.qcow2; do
    expect_clean $image
    qemu_snap load -n first $image > loaded
    expect_same stream loaded
done
