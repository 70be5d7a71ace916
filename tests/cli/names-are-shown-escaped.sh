#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What an image says may be meant for a terminal: names of snapshots, backing
# files and features are shown without control characters, wherever they appear.

. "$(dirname "$0")/../functions.sh"

# ESC, a line end, DEL, and CSI as one character (c2 9b).
evil=$'a\e[2Jb\nc\x7fd\xc2\x9b31me'

# expect_escaped PATTERN COMMAND...: it is there, and on neither output is a
# control character but line ends, and the zero byte of a load that failed.
expect_escaped()
{
    local pattern=$1
    shift
    "$@" > out 2> err < /dev/null || true
    if LC_ALL=C grep -q -a -P '[\x01-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' out err
    then
        fail "control characters: $*: $(cat -v out err)"
    fi
    grep -q -a -F -e "$pattern" out err || fail "$*: $(cat -v out err)"
}

text='a\x1b[2Jb\x0ac\x7fd\xc2\x9b31me'
json='a\u001b[2Jb\nc\u007fd\u009b31me'

new_image image.qcow2 64M
head -c 100000 /dev/urandom > bytes
qemu_snap save --raw -n first image.qcow2 < bytes
qemu_snap save --raw -n second image.qcow2 < bytes
qemu-img snapshot -c "$evil" image.qcow2
poke image.qcow2 "$(grep -a -b -o second image.qcow2 | cut -d : -f 1)" 1b5d300a7f

for command in list 'snapshot -l' inspect; do
    # shellcheck disable=SC2086
    expect_escaped "$text" qemu_snap $command image.qcow2
done
for command in list inspect; do
    expect_escaped "$json" qemu_snap $command --output=json image.qcow2
done
for command in load 'rename --to=x' delete apply; do
    # shellcheck disable=SC2086
    expect_escaped "$text" qemu_snap $command -n "no $evil" image.qcow2
done

# Candidates, where a name should have been given.
expect_escaped '\x1b]0' qemu_snap load image.qcow2
expect_escaped 'x1b]0' qemu_snap load --output=json image.qcow2
expect_escaped "$text" qemu_snap load -n "$evil" image.qcow2
expect_escaped "$json" qemu_snap load -n "$evil" --output=json image.qcow2

# Findings: the L1 table of the snapshot is not where one can be.
cp image.qcow2 damaged.qcow2
table=$((0x$(xxd -s 64 -l 8 -p image.qcow2)))
name=$(grep -a -b -o -F 'a'$'\e''[2Jb' image.qcow2 | cut -d : -f 1)
[ "$name" -gt $table ]
poke damaged.qcow2 $((name - 65)) 0000000000000201
expect_escaped "$text" qemu_snap check damaged.qcow2
expect_escaped '"corruptions"' qemu_snap check --output=json damaged.qcow2
expect_escaped "$text" qemu_snap create -n new damaged.qcow2

# Changes say what they did.
cp image.qcow2 changed.qcow2
expect_escaped "$json" \
    qemu_snap rename -n "$evil" --to=plain --output=json changed.qcow2
expect_escaped "$json" \
    qemu_snap delete -n "$evil" --output=json image.qcow2

# A backing file, and the image's own word for a feature that we do not know.
qemu-img create -q -f qcow2 -u -b "$evil" -F raw backing.qcow2 64M
expect_escaped "$text" qemu_snap inspect backing.qcow2
expect_escaped "$json" qemu_snap inspect --output=json backing.qcow2
cp image.qcow2 feature.qcow2
poke feature.qcow2 72 8000000000000000
poke feature.qcow2 120 003f1b5b324a0a7fc29b00
expect_escaped '[2J' qemu_snap list feature.qcow2
expect_escaped '[2J' qemu_snap list --output=json feature.qcow2
