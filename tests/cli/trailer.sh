#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Behind a stream there is a trailer with its index, which says what reading all
# of the stream would. Nobody who loads the stream gets to see it, and nobody
# needs it: damaged or left out, all is the same but slower.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
bytes=$(stat -L -c %s stream)

# What is inside, but for the trailer and what is different for each save.
inside()
{
    qemu_snap inspect -n "$2" --output=json "$1" |
        jq 'del(.trailer, .["trailer-size"], .snapshot)'
}

trailer()
{
    qemu_snap inspect -n "$2" --output=json "$1" | jq -r .trailer
}

qemu_snap save --create -n with image.qcow2 < stream
qemu_snap save --no-index -n without image.qcow2 < stream
expect_clean image.qcow2
[ "$(trailer image.qcow2 with)" = valid ] || fail 'no trailer'
[ "$(trailer image.qcow2 without)" = none ] || fail 'a trailer'
qemu_snap list --output=json image.qcow2 | jq -e --argjson bytes "$bytes" '
    .snapshots[0]["vm-state-size"] > $bytes and
    .snapshots[0]["vm-state-size"] < $bytes + 65536 and
    .snapshots[1]["vm-state-size"] == $bytes' > /dev/null ||
    fail "sizes: $(qemu_snap list image.qcow2)"
inside image.qcow2 with > indexed
inside image.qcow2 without > scanned
expect_same scanned indexed

expect_all_is_there()
{
    qemu_snap load -n with image.qcow2 | cmp - stream >&2 ||
        fail "$1: not the stream"
    inside image.qcow2 with > found
    expect_same scanned found
}

expect_all_is_there 'sound'

# Each part of the footer, and what is in front of it.
footer=$(grep -a -b -o QSNPTRLR image.qcow2 | tail -n 1 | cut -d : -f 1)
for at in 0 9 19 28 36 44 60 -40 -500; do
    cp image.qcow2 sound.qcow2
    poke image.qcow2 $((footer + at)) ee
    case $at in
    0) [ "$(trailer image.qcow2 with)" = none ] || fail 'still found' ;;
    *) [ "$(trailer image.qcow2 with)" = damaged ] || fail "$at: not seen" ;;
    esac
    # Where nothing tells that it was one, nobody can tell it from the stream.
    [ $at = 0 ] || expect_all_is_there "damaged at $at"
    [ $at = 0 ] || expect_status 1 qemu_snap load --verify -n with image.qcow2
    [ $at = 0 ] || grep -q "checksums of snapshot 'with' are damaged" err ||
        fail "damaged at $at: $(cat err)"
    mv sound.qcow2 image.qcow2
done

# A source that says more than its stream, which QEMU ignores, gets none.
(cat stream; head -c 5000 /dev/zero) |
    qemu_snap save -n more image.qcow2 2> err
grep -q 'warning: the snapshot has no index' err || fail "not told: $(cat err)"
[ "$(trailer image.qcow2 more)" = none ] || fail 'a trailer behind padding'
qemu_snap load -n more image.qcow2 | cmp - stream >&2 || fail 'not the stream'
