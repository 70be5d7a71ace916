#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# VM state with mapped RAM, whole or with holes and a recorded size that is far
# too small, as QEMU leaves it: all commands do with it what they do with others,
# and load sends a classic stream.

. "$(dirname "$0")/../functions.sh"

inside()
{
    qemu_snap inspect -n "$1" --output=json "$2" |
        jq 'del(.trailer, .["trailer-size"], .snapshot)'
}

# memory IMAGE NAME: all blocks are those of the classic stream.
memory()
{
    rm -rf blocks
    qemu_snap extract -n "$2" --format=blocks "$1" blocks
    diff -r -x index.json blocks expected >&2 || fail "$1: $2 has other memory"
}

for tool in to-mapped-ram make-holes; do
    ${CC:-cc} -O1 -D_GNU_SOURCE -o $tool "$TOP/tests/cli/$tool.c"
done
sample_stream stream
./to-mapped-ram stream mapped
new_image image.qcow2
qemu_snap save -n classic image.qcow2 < stream
qemu_snap extract -n classic --format=blocks image.qcow2 expected

# Whole, with its size and a trailer.
new_image whole.qcow2
qemu_snap save -n vm whole.qcow2 < mapped
expect_status 0 qemu_snap inspect -n vm whole.qcow2
grep -q '^RAM: mapped$' out || fail "not mapped: $(cat out)"
expect_status 0 qemu_snap verify -n vm whole.qcow2
grep -q 'intact$' out || fail "not verified: $(cat out)"
memory whole.qcow2 vm
qemu_snap load -n vm whole.qcow2 > loaded
qemu_snap load -n vm --verify whole.qcow2 | cmp - loaded >&2 ||
    fail "verified, it is another stream"
qemu_snap load -n vm --raw whole.qcow2 | cmp - mapped >&2 ||
    fail "raw, it is another stream"
for depth in 1 3 16; do
    qemu_snap load -n vm --depth=$depth whole.qcow2 | cmp - loaded >&2 ||
        fail "depth $depth: it is another stream"
done

# What was loaded is a classic stream with the same memory and devices.
qemu_snap save -n loaded image.qcow2 < loaded
memory image.qcow2 loaded
inside loaded image.qcow2 > found
jq -e '.capabilities == [] and (.["mapped-ram"] | not) and
    .["ram-blocks"][0]["absent-pages"] == 0' found > /dev/null ||
    fail "not classic: $(cat found)"
for name in loaded classic; do
    qemu_snap inspect -n $name --devices --output=json image.qcow2 |
        jq .devices > $name.devices
done
expect_same loaded.devices classic.devices

# With holes, and a size amid the pages.
for cluster in 4096 65536; do
    rm -f holes.qcow2
    new_image holes.qcow2 64M cluster_size=$cluster
    qemu_snap save --raw -n vm holes.qcow2 < mapped
    [ "$(./make-holes holes.qcow2 3000000)" -gt 5 ] || fail "$cluster: no holes"
    qemu_snap load -n vm holes.qcow2 | cmp - loaded >&2 ||
        fail "$cluster: with holes, it is another stream"
    inside vm holes.qcow2 > found
    inside vm whole.qcow2 > wanted
    expect_same wanted found
    memory holes.qcow2 vm
    expect_status 0 qemu_snap verify -n vm holes.qcow2
    grep -q 'complete; there are no' out || fail "$cluster: $(cat out)"
    qemu_snap load -n vm --raw holes.qcow2 | cmp - mapped >&2 ||
        fail "$cluster: raw, it is another stream"
done
expect_refusal holes.qcow2 'mapped RAM.* no index' \
    qemu_snap index -n vm holes.qcow2

# A reader that has had enough.
set +o pipefail
qemu_snap load -n vm holes.qcow2 2> err | head -c 100000 > part
set -o pipefail
cmp -n 100000 part loaded >&2 || fail 'another beginning'
grep -q 'the reader closed the pipe after' err || fail "no word: $(cat err)"

# Damage goes nowhere.
cp whole.qcow2 damaged.qcow2
begin=$(grep -a -b -o QEVM whole.qcow2 | head -n 1 | cut -d : -f 1)
poke damaged.qcow2 $((begin + 0x400000)) eeeeee
expect_status 2 qemu_snap verify -n vm damaged.qcow2
expect_status 1 qemu_snap load -n vm --verify damaged.qcow2
grep -q 'not what was saved' err || fail "loaded: $(cat err)"
