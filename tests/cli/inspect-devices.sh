#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `inspect --devices' shows what is in the devices of a snapshot, as far as the
# stream describes it; what it does not, as bytes.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
qemu_snap save --create -n sound disk.qcow2 < stream
qemu_snap inspect -n sound --output=json disk.qcow2 > inside

# All devices, with as many bytes as their sections have payload.
expect_status 0 qemu_snap inspect --devices --output=json disk.qcow2
jq -e --slurpfile inside inside '
    .snapshot.name == "sound" and
    [.devices[] | [.name, .instance, .version, .bytes + (.name | length)]] ==
    [$inside[0].sections[] | select(.device) |
        [.name, .instance, .version, .bytes - 14 - 5]] and
    all(.devices[]; has("fields") and (has("error") | not)) and
    (.devices[] | select(.name == "cpu").fields |
        (."env.regs" | length) == 16 and
        (."env.eip" | test("^0x[0-9a-f]{16}$")) and
        (."env.segs"[1] | has("selector"))) and
    (.devices[] | select(.name == "globalstate").fields.runstate |
        length == 200 and test("^[0-9a-f]*$"))
    ' out > /dev/null || fail "not our devices: $(head -n 100 out)"
cp out devices.json
clock=$(jq '.snapshot["vm-clock-sec"] * 1000000000 +
    .snapshot["vm-clock-nsec"]' inside)
[ "$(jq '.devices[] | select(.name == "timer").fields.cpu_clock_offset' \
    devices.json)" = "$clock" ] || fail "the clock is not $clock"

expect_status 0 qemu_snap inspect --devices -n sound disk.qcow2
for line in 'snapshot: sound \(ID 1\)' 'timer, instance 0, version 2:' \
    "    cpu_clock_offset: $clock" '    env.regs:' '    env.segs:' \
    '        \[1\]:' '            selector: 0x[0-9a-f]{8}' \
    '    runstate: "[a-z]*" in 100 bytes' \
    '            0040: [0-9a-f]{64}'; do
    grep -q -E "^$line\$" out || fail "no '$line' in: $(head -n 100 out)"
done

# What the description says is not believed, and its names are shown escaped.
sed -e 's/"cpu_clock_offset"/"cpu\x1bclock\x7foffset"/' stream > escape
qemu_snap save -n escape disk.qcow2 < escape
expect_status 0 qemu_snap inspect --devices -n escape disk.qcow2
grep -q -F "    cpu\\x1bclock\\x7foffset: $clock" out || fail 'no escaped name'
expect_status 0 qemu_snap inspect --devices -n escape --output=json disk.qcow2
grep -q -F '"cpu\u001bclock\u007foffset" : '"$clock" out ||
    fail 'no escaped name in JSON'
jq -e . out > /dev/null || fail 'no JSON'

sed -e 's/\("cpu_clock_offset", "type": "int64", "size": \)8/\19/' stream \
    > larger
qemu_snap save -n larger disk.qcow2 < larger
expect_status 0 qemu_snap inspect --devices -n larger disk.qcow2
grep -A 1 '^    not decoded: .*cpu_clock_offset.*does not fit' out > found ||
    fail "no reason: $(head out)"
grep -q '^    data: 24 bytes' found || fail "no bytes: $(cat found)"
[ "$(grep -c 'not decoded' out)" = 1 ] || fail 'more is not decoded'
expect_status 0 qemu_snap inspect --devices -n larger --output=json disk.qcow2
jq -e --slurpfile sound devices.json '
    (.devices[] | select(.name == "timer") | (has("fields") | not) and
        (.error | test("cpu_clock_offset")) and (.data | length == 48)) and
    [.devices[] | select(.name != "timer")] ==
    [$sound[0].devices[] | select(.name != "timer")]
    ' out > /dev/null || fail "not only the timer: $(head -n 50 out)"

# A stream is complete without a description.
bytes=$(jq '.["stream-size"] - .["description-bytes"] - 5' inside)
head -c "$bytes" stream > bare
qemu_snap save -n bare disk.qcow2 < bare
expect_status 0 qemu_snap inspect --devices -n bare --output=json disk.qcow2
jq -e --slurpfile sound devices.json '
    all(.devices[]; (.error | test("no description")) and
        (.data | length) == .bytes * 2) and
    [.devices[] | .bytes] == [$sound[0].devices[] | .bytes]
    ' out > /dev/null || fail "not as bytes: $(head -n 50 out)"

expect_refusal disk.qcow2 'sound.*bare' qemu_snap inspect --devices disk.qcow2

# One of them.
expect_status 0 qemu_snap inspect --device=timer -n sound --output=json \
    disk.qcow2
jq -e --slurpfile sound devices.json '.devices ==
    [$sound[0].devices[] | select(.name == "timer")]' out > /dev/null ||
    fail "not the timer: $(cat out)"
expect_status 0 qemu_snap inspect --device=i8259:1 -n sound --output=json \
    disk.qcow2
jq -e '[.devices[] | [.name, .instance]] == [["i8259", 1]]' out > /dev/null ||
    fail "not the second one: $(cat out)"
expect_refusal disk.qcow2 'say which' \
    qemu_snap inspect --device=i8259 -n sound disk.qcow2
expect_refusal disk.qcow2 'no device' \
    qemu_snap inspect --device=pc.ram -n sound disk.qcow2
