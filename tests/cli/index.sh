#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A snapshot that has no index gets one: nothing else of it changes, and nothing
# of the others. A damaged one is replaced.

. "$(dirname "$0")/../functions.sh"

inside()
{
    qemu_snap inspect -n "$1" --output=json image.qcow2 |
        jq 'del(.trailer, .["trailer-size"], .snapshot)'
}

# All that `list' says but the size.
listed()
{
    qemu_snap list --output=json image.qcow2 |
        jq '.snapshots[] | del(.["vm-state-size"])'
}

sample_stream stream
for cluster in 512 4096 65536; do
    rm -f image.qcow2
    new_image image.qcow2 16M cluster_size=$cluster
    qemu-io -c 'write -P 7 0 1M' image.qcow2 > /dev/null
    qemu_snap save --no-index -n one image.qcow2 < stream
    qemu-io -c 'write -P 8 512k 1M' image.qcow2 > /dev/null
    qemu_snap save --no-index -n two image.qcow2 < stream
    inside one > before
    listed > list-before
    expect_status 0 qemu_snap index -n one --output=json image.qcow2
    jq -e '.indexed | .name == "one" and .id == "1"' out > /dev/null ||
        fail "result: $(cat out)"
    expect_clean image.qcow2
    inside one > after
    expect_same before after
    listed > list-after
    expect_same list-before list-after
    for name in one two; do
        qemu_snap load -n $name image.qcow2 | cmp - stream >&2 ||
            fail "$cluster: $name is not the stream"
    done
    qemu_snap verify --all --output=json image.qcow2 |
        jq -e '[.snapshots[].result] == ["intact", "complete"]' > /dev/null ||
        fail "$cluster: not intact"

    # Twice is once.
    cp image.qcow2 once.qcow2
    expect_status 0 qemu_snap index -n one image.qcow2
    cmp image.qcow2 once.qcow2 >&2 || fail "$cluster: indexed once more"

    # Another one in place of one that is damaged.
    footer=$(grep -a -b -o QSNPTRLR image.qcow2 | tail -n 1 | cut -d : -f 1)
    poke image.qcow2 $((footer + 17)) ee
    expect_status 2 qemu_snap verify -n one image.qcow2
    expect_status 0 qemu_snap index -n one image.qcow2
    expect_status 0 qemu_snap verify -n one image.qcow2
    expect_clean image.qcow2
    qemu-img snapshot -a two image.qcow2
    qemu-img snapshot -d one image.qcow2
    expect_clean image.qcow2
done

# What is no stream has no index.
head -c 1000000 stream | qemu_snap save --raw -n half image.qcow2
expect_refusal image.qcow2 'ends' qemu_snap index -n half image.qcow2
