#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `diff' says by its exit status whether VM states differ, and shows where in
# several forms that agree, for snapshots of one image and of two.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
sample_stream later 2
export LC_ALL=C.UTF-8
new_image disk.qcow2
new_image other.qcow2 1M cluster_size=4k
qemu_snap save -n first disk.qcow2 < stream
qemu_snap save -n again disk.qcow2 < stream
qemu_snap save -n later disk.qcow2 < later
qemu_snap save -n there other.qcow2 < later

# Nothing differs: the same stream twice, the same snapshot, two images.
expect_status 0 qemu_snap diff -a first -b again disk.qcow2
grep -q '^pages that differ: 0 (0 B)$' out || fail "$(cat out)"
grep -q '^devices that differ: 0 of [1-9]' out || fail "$(cat out)"
expect_status 0 qemu_snap diff -a 1 -b 1 --id disk.qcow2
expect_status 0 qemu_snap diff -a later disk.qcow2 other.qcow2
expect_status 0 qemu_snap diff -a again -b first --ranges disk.qcow2
expect_output ''

# A guest that ran in between.
expect_status 1 qemu_snap diff -a first -b later --output=json disk.qcow2
cp out json
jq -e '.different and .a.snapshot.name == "first" and
    .b.snapshot.name == "later" and .b.filename == "disk.qcow2" and
    .["page-size"] == 4096 and .["changed-pages"] > 0 and
    .["same-pages"] > 1000 and .["zero-pages"] > 1000 and
    all(.["ram-blocks"][]; .["size-a"] == .["size-b"] and .["size-a"] == 4096 *
        (.["changed-pages"] + .["only-in-a-pages"] + .["only-in-b-pages"] +
        .["same-pages"] + .["zero-pages"])) and
    any(.devices[]; .name == "timer" and .result == "content") and
    any(.devices[]; .result == "same") and
    all(.devices[]; .name != "ram")' json > /dev/null || fail "$(cat json)"
expect_status 1 qemu_snap diff -a first -b later --ranges disk.qcow2
[ "$(awk -F '\t' '{ sum += $3 } END { print sum }' out)" = \
    "$(jq '.["different-bytes"]' json)" ] || fail "ranges: $(cat out)"
expect_status 1 qemu_snap diff -a first -b later disk.qcow2
grep -q "timer, instance 0: content" out || fail "$(cat out)"
grep -q '^The VM states differ.$' out || fail "$(cat out)"
expect_status 1 qemu_snap diff -a first -b later --map disk.qcow2
grep -q -E '^ +4 MiB │·{64}│$' out || fail "$(cat out)"
grep -q -E '^ +0 │.*[▁▂▃▄▅▆▇█░▒▓].*│$' out || fail "$(cat out)"
expect_status 1 qemu_snap diff -a first -b there -q disk.qcow2 other.qcow2
expect_output ''
[ ! -s err ] || fail "$(cat err)"

# A failure is not a difference.
new_image empty.qcow2
for words in '-a first -b none disk.qcow2' '-a first disk.qcow2' \
    '-a first -b later --nosuch disk.qcow2' '-a first -b later nosuch' \
    '-a first -b later --map --ranges disk.qcow2' \
    '-a first disk.qcow2 empty.qcow2' '-a first -b later disk.qcow2 a b'; do
    # The words are several.
    # shellcheck disable=SC2086
    expect_status 2 qemu_snap diff $words
    [ -s err ] && [ ! -s out ] || fail "no error: diff $words"
done
expect_status 2 qemu_snap diff -b there disk.qcow2 other.qcow2
grep -q 'choose one with -a: 1 (first), 2 (again), 3 (later)$' err ||
    fail "$(cat err)"
status=0
qemu_snap diff -a first -b later disk.qcow2 > /dev/full 2> err || status=$?
[ $status = 2 ] || fail "status $status where nothing can be written"
