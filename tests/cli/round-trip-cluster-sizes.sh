#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The bytes that go in come out, for every cluster size of both versions.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

for compat in 0.10 1.1; do
    for size in 512 1k 4k 64k 2M; do
        image=$compat-$size.qcow2
        new_image $image 64M compat=$compat,cluster_size=$size
        qemu_snap save -n first $image < stream
        expect_clean $image
        qemu_snap load $image > loaded
        expect_same stream loaded
        rm $image
    done
done
