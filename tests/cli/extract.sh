#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `extract' writes RAM into files that are complete or not there, sparse, and
# never in place of something that nobody gave up; and the same into a pipe.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n one disk.qcow2 < stream
guest_bytes=$((16 * 1024 * 1024))

# The RAM in three ways; for this machine it is one block at address 0.
expect_status 0 qemu_snap extract -n one disk.qcow2 raw
[ ! -s out ] || fail "says '$(cat out)'"
[ "$(stat -c '%s %a' raw)" = "$guest_bytes 600" ] ||
    fail "size and mode: $(stat -c '%s %a' raw)"
[ "$(du -k raw | cut -f 1)" -lt 12000 ] || fail 'not sparse'
qemu_snap extract disk.qcow2 - | cmp - raw >&2 || fail 'the pipe has another'
expect_status 0 qemu_snap extract --format=blocks disk.qcow2 blocks
expect_same raw blocks/pc.ram
expect_status 0 qemu_snap extract --block=pc.ram --depth=1 disk.qcow2 block
expect_same raw block
qemu_snap inspect -n one --output=json disk.qcow2 > inspected
jq -r '.["ram-blocks"][] | [.file, .size] | @tsv' blocks/index.json > index
while IFS=$'\t' read -r file size; do
    [ "$(stat -c %s "blocks/$file")" = "$size" ] || fail "$file: no such size"
done < index
[ "$(wc -l < index)" = "$(jq '.["ram-blocks"] | length' inspected)" ] ||
    fail "blocks are missing: $(cat index)"
grep -q '^%2From%40' index || fail "no names with a slash: $(cat index)"
[ "$(find blocks -type f | wc -l)" = $(($(wc -l < index) + 1)) ] ||
    fail "other files: $(ls blocks)"

# What it did, as JSON; not into the output.
expect_status 0 qemu_snap extract --output=json disk.qcow2 other
jq -e --argjson bytes $guest_bytes '.extracted | .bytes == $bytes and
    .name == "one" and .output == "other" and .filename == "disk.qcow2"' out \
    > /dev/null || fail "report: $(cat out)"
expect_status 0 qemu_snap extract --output=json disk.qcow2 -
expect_same raw out

# What is there stays, unless it is a file and --force was given.
md5sum raw blocks/* disk.qcow2 > before
for taken in raw blocks disk.qcow2 .; do
    expect_refusal disk.qcow2 'already' qemu_snap extract disk.qcow2 $taken
    expect_refusal disk.qcow2 'already' \
        qemu_snap extract --format=blocks --force disk.qcow2 $taken
    md5sum --quiet -c before || fail "$taken is another"
done
expect_refusal disk.qcow2 'already, and not a file' \
    qemu_snap extract --force disk.qcow2 blocks
ln disk.qcow2 link.qcow2
expect_refusal disk.qcow2 'cannot be the image' \
    qemu_snap extract --force disk.qcow2 link.qcow2
expect_clean disk.qcow2
echo old > other
expect_status 0 qemu_snap extract --force disk.qcow2 other
expect_same raw other

# Nothing is left of what fails, or is stopped.
ls -A > before
expect_refusal disk.qcow2 'no RAM block' \
    qemu_snap extract --block=nosuch disk.qcow2 new
expect_refusal disk.qcow2 'no device' \
    qemu_snap extract --device=nosuch disk.qcow2 new
expect_refusal disk.qcow2 'cannot make' \
    qemu_snap extract disk.qcow2 nosuch/new
ls -A > after
expect_same <(grep -v -x -e before -e after -e out -e err before) \
    <(grep -v -x -e before -e after -e out -e err after)
(
    ulimit -f 4096
    expect_refusal disk.qcow2 'cannot write|too large' \
        qemu_snap extract --format=blocks disk.qcow2 new
)
[ -z "$(find . -name '.qemu-snap*' -o -name new)" ] || fail 'something is left'

# A reader that has had enough.
set +o pipefail
qemu_snap extract disk.qcow2 - 2> err | head -c 1000 > part
set -o pipefail
cmp -n 1000 part raw >&2 || fail 'another beginning'
grep -q 'the reader closed the pipe after' err || fail "no word: $(cat err)"

# A device; several have the same name in other machines.
expect_status 0 qemu_snap extract --device=cpu disk.qcow2 cpu
expect_status 0 qemu_snap extract --device=cpu:0 --format=bytes disk.qcow2 -
expect_same cpu out
expect_refusal disk.qcow2 'no device' \
    qemu_snap extract --device=cpu:1 disk.qcow2 -

# Options that do not go with each other.
for options in '--block=pc.ram --format=raw' '--format=bytes' \
    '--device=cpu --format=raw' '--order=pc.ram --block=pc.ram' \
    '--format=blocks --below-4g=1G'; do
    # shellcheck disable=SC2086
    expect_refusal disk.qcow2 'go(es)? with' \
        qemu_snap extract $options disk.qcow2 new
done
expect_refusal disk.qcow2 'makes a directory' \
    qemu_snap extract --format=blocks disk.qcow2 -

# Somebody else has the image.
hold_image disk.qcow2
expect_refusal disk.qcow2 'lock' qemu_snap extract disk.qcow2 new
expect_status 0 qemu_snap extract -U disk.qcow2 new
expect_same raw new
release_image
