#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# How many requests are in flight changes the speed and not one byte: neither
# of the stream nor of the image.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

# What is in the image, without the moment at which it was saved.
snapshot_content()
{
    qemu-img snapshot -a first "$1"
    qemu-img map --output=json "$1"
    qemu-img check --output=json "$1" | jq 'del(.filename)'
}

for depth in 1 2 8 32; do
    new_image $depth.qcow2
    qemu_snap save --depth=$depth -n first $depth.qcow2 < stream
    for other in 1 3 32; do
        qemu_snap load --depth=$other $depth.qcow2 > loaded
        expect_same stream loaded
    done
    expect_clean $depth.qcow2
    snapshot_content $depth.qcow2 > $depth.content
    expect_same 1.content $depth.content
done
