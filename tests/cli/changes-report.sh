#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# With --output=json each command that changes an image says in one line on
# standard output what it did to which snapshot of which images; without it, and
# when it fails, nothing.

. "$(dirname "$0")/../functions.sh"

for image in disk.qcow2 second.qcow2 $'third "\xfe".qcow2'; do
    new_image "$image" 16M
done
qemu-img snapshot -c other disk.qcow2

# told WHAT MEMBERS COMMAND...: one object, WHAT, has these members, as JSON,
# besides the file's name and the time, which is rounded.
told()
{
    local what=$1 members=$2
    shift 2
    expect_status 0 qemu_snap "$@" --output=json disk.qcow2
    [ "$(wc -l < out)" = 1 ] || fail "not one line: $(cat out)"
    grep -q -E '"seconds":[0-9]+\.[0-9]{6}[,}]' out ||
        fail "seconds: $(cat out)"
    jq -e --arg what "$what" --argjson members "$members" '.[$what] |
        .filename == "disk.qcow2" and .seconds > 0 and
        (del(.filename, .seconds, .rate) == $members)' out > /dev/null ||
        fail "$*: $(cat out)"
}

told created '{ "id": "2", "name": "first", "with": [] }' create -n first
told created '{ "id": "3", "name": "all",
    "with": [ "second.qcow2", "third \"\ufffd\".qcow2" ] }' create -n all \
    --with second.qcow2 --with $'third "\xfe".qcow2'
told applied '{ "id": "3", "name": "all", "with": [ "second.qcow2" ] }' \
    apply --id=3 --with second.qcow2
told renamed '{ "id": "1", "name": "new", "old-name": "other" }' \
    rename -n other --to=new
told deleted '{ "id": "2", "name": "first", "with": [] }' delete -n first
told deleted '{ "id": "3", "name": "all", "with": [ "second.qcow2" ] }' \
    delete -n 3 --with second.qcow2
told saved '{ "id": "2", "name": "state", "with": [ "second.qcow2" ],
    "bytes": 1000000 }' save --raw -n state --with second.qcow2 \
    < <(head -c 1000000 /dev/zero)

# The bytes of gc are whole clusters.
told freed '{ "bytes": 0 }' gc
qemu-img snapshot -a state disk.qcow2
qemu_snap delete -n state disk.qcow2
told freed '{ "bytes": 1114112 }' gc
told freed '{ "bytes": 0 }' gc

# Nothing without the option, or when it fails.
for command in 'create -n quiet' 'apply -n quiet' 'rename -n quiet --to=q' \
    'delete -n q' gc; do
    # The command is several words.
    # shellcheck disable=SC2086
    expect_status 0 qemu_snap $command disk.qcow2
    [ ! -s out ] || fail "$command: output that nobody wanted: $(cat out)"
done
expect_status 1 qemu_snap delete -n none --output=json disk.qcow2
[ ! -s out ] || fail "output of a failure: $(cat out)"
qemu_snap create -n full --output=json disk.qcow2 > /dev/full 2> err &&
    fail 'a full disk goes unnoticed'
grep -q 'create is done, but .*No space' err || fail "$(cat err)"
