#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What is not a size is not taken for one.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for size in '' x 12x -5 0x 1.5.5 16E 99999999999999999999 '1 G' G; do
    expect_status 1 qemu_snap save -s "$size" new.qcow2 < stream
    [ "$(wc -l < err)" = 1 ] || fail "not one line for '$size': $(cat err)"
    grep -q -i 'size' err || fail "'$size': $(cat err)"
    [ ! -e new.qcow2 ] || fail "made an image of size '$size'"
done

for size in 0:0 512:512 64k:65536 1.5G:1610612736 2T:2199023255552; do
    qemu_snap save -s "${size%:*}" -n first new.qcow2 < stream
    [ "$(qemu-img info --output=json new.qcow2 |
        jq '.["virtual-size"]')" = "${size#*:}" ] || fail "$size differs"
    expect_clean new.qcow2
    rm new.qcow2
done
