#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What becomes free in the middle of the image takes no disk space any more,
# unless that is not wanted.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
bytes=$(stat -L -c %s stream)

taken()
{
    sync -d "$1"
    du -B1 "$1" | cut -f 1
}

truncate -s 1M hole
fallocate -p -o 0 -l 64k hole 2> err || skip "no holes here: $(cat err)"

# images NAME...: each with a large snapshot before a small one.
images()
{
    local name
    for name; do
        rm -f "$name"
        new_image "$name" 16M
        qemu_snap save -n large "$name" < stream
        qemu-io -c 'write -q -P 1 0 1M' "$name"
        qemu_snap create -n small "$name"
        qemu-io -c 'write -q -P 2 0 1M' "$name"
    done
}

expect_less()
{
    [ "$(taken "$1")" -le $((before - bytes * 9 / 10)) ] ||
        fail "$1 takes $(taken "$1") of $before bytes"
    expect_clean "$1"
}

expect_all()
{
    [ "$(taken "$1")" -ge $((before - 1000000)) ] ||
        fail "$1 takes only $(taken "$1") of $before bytes"
    expect_clean "$1"
}

images deleted kept replaced
before=$(taken kept)
qemu_snap delete -n large deleted
expect_less deleted
qemu_snap delete --no-discard -n large kept
expect_all kept
qemu_snap create --replace -n large replaced
expect_less replaced

# The disk's own clusters, by apply.
for image in applied applied-kept; do
    new_image $image 32M
    qemu_snap create -n empty $image
    qemu-io -c 'write -q -P 1 0 16M' $image
    qemu_snap create -n last $image
    qemu-img snapshot -d last $image
    qemu-io -c 'write -q -P 1 20M 64k' $image
done
before=$(taken applied)
bytes=$((16 << 20))
qemu_snap apply -n empty applied
expect_less applied

# Deleting and saving again and again does not let the image grow.
for round in 1 2 3 4 5; do
    qemu_snap save -q -n large deleted < stream
    expect_clean deleted
    [ $round != 1 ] || size=$(stat -c %s deleted)
    [ "$(stat -c %s deleted)" -le $((size + 300000)) ] ||
        fail "round $round: $(stat -c %s deleted) bytes, it was $size"
    qemu_snap load -n large deleted > loaded
    expect_same stream loaded
    qemu_snap delete -n large deleted
done
