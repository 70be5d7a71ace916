#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# docs/json.md names every member that a command prints.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n one --output=json disk.qcow2 < stream > all
qemu_snap save --no-index -n two disk.qcow2 < stream
qemu_snap create -n disk --output=json disk.qcow2 >> all
{
    qemu_snap index -n two --output=json disk.qcow2
    qemu_snap list --output=json disk.qcow2
    qemu_snap inspect --output=json disk.qcow2
    qemu_snap inspect -n one --output=json disk.qcow2
    qemu_snap diff -a one -b two --output=json disk.qcow2
    qemu_snap extract -n one --output=json disk.qcow2 memory
    qemu_snap verify --all --output=json disk.qcow2
    qemu_snap check --output=json disk.qcow2
    # What devices have inside has QEMU's names.
    qemu_snap inspect -n one --devices --output=json disk.qcow2 |
        jq 'del(.devices[].fields[])'
    qemu_snap rename -n disk --to=other --output=json disk.qcow2
    qemu_snap apply -n other --output=json disk.qcow2
    qemu_snap delete -n other --output=json disk.qcow2
    qemu_snap gc --output=json disk.qcow2
} >> all
qemu_snap list --output=json missing.qcow2 2>> all && fail 'no error'
poke disk.qcow2 $(($(grep -a -b -o QEVM disk.qcow2 | head -n 1 |
    cut -d : -f 1) + 5000000)) ee
qemu_snap verify --all --output=json disk.qcow2 >> all && fail 'no damage'

jq -r 'paths | map(strings) | last // empty' all | sort -u > members
[ "$(wc -l < members)" -gt 60 ] || fail "few members: $(cat members)"
while read -r member; do
    grep -q "[\`\"]${member}[\`\"]" "$TOP/docs/json.md" ||
        fail "docs/json.md says nothing of $member"
done < members
