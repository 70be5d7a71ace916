#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A bit that has changed anywhere in a stored stream is found, and its place
# named: the MiB, and the pages or the device that were there. `load --verify'
# lets no damaged piece out. Without checksums only what no stream can be is
# seen.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
bytes=$(stat -L -c %s stream)
new_image sound.qcow2 64M cluster_size=4096
qemu_snap save -n one sound.qcow2 < stream
qemu_snap save -n two sound.qcow2 < stream
qemu_snap save --no-index -n three sound.qcow2 < stream
qemu_snap create -n disk sound.qcow2

expect_status 0 qemu_snap verify -n one sound.qcow2
grep -q '^snapshot: one (ID 1): .*, intact$' out || fail "one: $(cat out)"
expect_status 0 qemu_snap verify --all --output=json sound.qcow2
jq -e '[.snapshots[] | [.name, .result, (.damage | length)]] ==
    [["one", "intact", 0], ["two", "intact", 0], ["three", "complete", 0]]' \
    out > /dev/null || fail "all: $(cat out)"
expect_status 0 qemu_snap load --verify -n one sound.qcow2
cmp out stream >&2 || fail 'not the stream'

# flip AT: one bit of the first snapshot's stream, which lies in one piece.
begin=$(grep -a -b -o QEVM sound.qcow2 | head -n 1 | cut -d : -f 1)
dd if=sound.qcow2 iflag=skip_bytes,count_bytes skip="$begin" count="$bytes" \
    bs=1M status=none | cmp - stream >&2 || fail 'not in one piece'
flip()
{
    local old
    cp sound.qcow2 flipped.qcow2
    old=$(od -A n -t u1 -j $((begin + $1)) -N 1 flipped.qcow2)
    poke flipped.qcow2 $((begin + $1)) "$(printf %02x $((old ^ 1 << RANDOM % 8)))"
}

places="0 1 13 $((bytes / 2)) $((bytes - 1))"
for ((i = 0; i < ${ROUNDS:-5}; i++)); do
    places="$places $(((RANDOM * 32768 + RANDOM) % bytes))"
done
for at in $places; do
    flip "$at"
    expect_status 2 qemu_snap verify -n one --output=json flipped.qcow2
    jq -e --argjson at "$at" '.snapshots[0] | .result == "damaged" and
        (.damage | length) == 1 and .damage[0].kind == "checksum" and
        .damage[0].offset <= $at and .damage[0].bytes <= 1048576 and
        .damage[0].offset + .damage[0].bytes > $at' out > /dev/null ||
        fail "bit at $at: $(cat out)"
    expect_status 0 qemu_snap verify -n two flipped.qcow2
    expect_status 1 qemu_snap load --verify -n one flipped.qcow2
    grep -q "MiB $((at >> 20)) of the VM state" err || fail "$at: $(cat err)"
    [ "$(stat -c %s out)" -le $((at >> 20 << 20 | 1)) ] ||
        fail "$(stat -c %s out) bytes went out before $at"
    expect_status 0 qemu_snap load -n one flipped.qcow2
done

# What is there: RAM where the bulk is, devices near the end.
flip $((bytes / 2))
expect_status 2 qemu_snap verify -n one flipped.qcow2
grep -q '^        pc.ram: [0-9]* pages from 0x' out || fail "no page: $(cat out)"
flip $((bytes - 100000))
expect_status 2 qemu_snap verify -n one flipped.qcow2
grep -q '^        device ' out || fail "no device: $(cat out)"

# Pieces that cannot be read are named, and the rest is judged.
cp sound.qcow2 cut.qcow2
truncate -s $((begin + 3 * 1048576 + 500)) cut.qcow2
if qemu_snap list cut.qcow2 > out 2> err; then
    expect_status 2 qemu_snap verify -n one --output=json cut.qcow2
    jq -e '.snapshots[0].damage[0] | .kind == "unreadable" and
        .offset == 3145728' out > /dev/null || fail "cut: $(cat out)"
fi

# One whose tables are damaged is no reason not to look at the others.
cp sound.qcow2 tables.qcow2
table=$(number tables.qcow2 64)
poke tables.qcow2 "$table" 00000000000000ff
expect_status 2 qemu_snap verify --all --output=json tables.qcow2
jq -e '[.snapshots[] | [.name, .result, (.damage[0].kind // "")]] ==
    [["one", "damaged", "unreadable"], ["two", "intact", ""],
     ["three", "complete", ""]]' out > /dev/null || fail "all: $(cat out)"
expect_status 2 qemu_snap verify -n one tables.qcow2
grep -q '^    cannot be read: ' out || fail "no reason: $(cat out)"
expect_refusal tables.qcow2 'no VM state' qemu_snap verify -n disk tables.qcow2

# Without checksums.
expect_status 1 qemu_snap load --verify -n three sound.qcow2
grep -q "no checksums" err || fail "compared with what? $(cat err)"
head -c $((bytes / 2)) stream | qemu_snap save --raw -n half sound.qcow2
expect_status 2 qemu_snap verify -n half sound.qcow2
grep -q 'the stream is not complete' out || fail "half: $(cat out)"

expect_refusal sound.qcow2 'exclude each other' \
    qemu_snap verify --all -n one sound.qcow2
