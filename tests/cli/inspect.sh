#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `inspect' shows an image with its snapshots, and with -n what is in one.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2 64M cluster_size=4k,refcount_bits=8
qemu_snap save -n first disk.qcow2 < stream
qemu_snap save -n second disk.qcow2 < stream

# The image: qemu-img's members, except for those of other versions.
qemu_snap inspect --output=json disk.qcow2 | jq -S . > ours.json
qemu-img info --output=json disk.qcow2 | jq -S 'del(.children) |
    del(.["format-specific"].data["extended-l2"])' > theirs.json
jq -S 'del(.["format-specific"].data["extended-l2"])' ours.json > found.json
expect_same theirs.json found.json
qemu_snap inspect disk.qcow2 > out
qemu_snap list disk.qcow2 > table
for line in 'virtual size: 64 MiB (67108864 bytes)' 'cluster_size: 4096' \
    'compat: 1.1'; do
    grep -q "^ *$line" out || fail "no '$line' in: $(cat out)"
done
grep -A 3 '^Snapshot list:' out > found
expect_same <(head -n 4 table) found

# A snapshot: what this guest is known to have.
expect_status 0 qemu_snap inspect -n second --output=json disk.qcow2
jq -e --argjson size "$(stat -L -c %s stream)" '
    .snapshot.name == "second" and .["stream-size"] == $size and
    (.machine | startswith("pc-i440fx-")) and .["page-size"] == 4096 and
    .["data-pages"] * 4096 > 8 * 1024 * 1024 and
    .["device-sections"] > 10 and
    any(.["ram-blocks"][]; .name == "pc.ram" and .size == 16 * 1024 * 1024)
    ' out > /dev/null || fail "not our guest: $(cat out)"
expect_status 0 qemu_snap inspect -n 2 disk.qcow2
grep -q '^ *pc.ram  *16 MiB ' out || fail "no RAM: $(cat out)"

# Each page of RAM once, and all that the stream has.
qemu_snap inspect -n second --output=json disk.qcow2 > out
jq -e '.["repeated-pages"] + ([.["ram-blocks"][] |
        .["data-pages"] + .["zero-pages"] + .["filled-pages"]] | add) ==
        .["data-pages"] + .["zero-pages"] and
    all(.["ram-blocks"][]; .size == 4096 * (.["data-pages"] +
        .["zero-pages"] + .["filled-pages"] + .["absent-pages"])) and
    any(.["ram-blocks"][]; .name == "pc.ram" and .["data-pages"] > 2048 and
        .["zero-pages"] > 1000 and .["absent-pages"] == 0)
    ' out > /dev/null || fail "pages do not add up: $(cat out)"

# Every byte of the stream belongs to one section, or to what is around them.
jq -e '([.sections[].bytes] | add) + .["framing-bytes"] +
        .["description-bytes"] + .["undelimited-bytes"] == .["stream-size"] and
    .["undelimited-bytes"] == 0 and all(.sections[]; .delimited) and
    ([.sections[] | select(.device)] | length) == .["device-sections"] and
    .sections[0].name == "ram" and .sections[0].bytes > 8 * 1024 * 1024 and
    any(.sections[]; .name == "timer" and .instance == 0 and .version == 2 and
        .bytes == 24 + 19 + 5) and .capabilities == []
    ' out > /dev/null || fail "sections do not add up: $(cat out)"
expect_status 0 qemu_snap inspect -n second disk.qcow2
grep -q '^    timer  *0  *2  *48$' out || fail "no timer: $(cat out)"

expect_refusal disk.qcow2 'nosuch' qemu_snap inspect -n nosuch disk.qcow2
