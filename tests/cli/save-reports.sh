#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What a save stored is told as JSON on standard output, if that is wanted,
# and in the file of --result, which is replaced at once; so are errors.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
bytes=$(stat -L -c %s stream)
new_image disk.qcow2
qemu-img snapshot -c other disk.qcow2

# expect_saved FILE NAME ID
expect_saved()
{
    [ "$(wc -l < "$1")" = 1 ] || fail "not one line: $(cat "$1")"
    jq -e --arg name "$2" --arg id "$3" --argjson bytes "$bytes" '.saved |
        .filename == "disk.qcow2" and .name == $name and .id == $id and
        .bytes == $bytes and .seconds > 0 and .rate > 0 and .with == []' "$1" \
        > /dev/null || fail "result: $(cat "$1")"
}

expect_status 0 qemu_snap save -n first disk.qcow2 < stream
[ ! -s out ] || fail "output that nobody wanted: $(cat out)"
expect_status 0 qemu_snap save -n second --output=json disk.qcow2 < stream
expect_saved out second 3
[ ! -s err ] || fail "$(cat err)"
echo '{"old":1}' > result
chmod 600 result
ln result before
expect_status 0 qemu_snap save -n third --result result disk.qcow2 < stream
expect_saved result third 4
[ ! -s out ] || fail "output that nobody wanted: $(cat out)"
[ "$(cat before)" = '{"old":1}' ] || fail 'the old result was written to'

# Without -n the name is known only now.
expect_status 0 qemu_snap save --result result disk.qcow2 < stream
expect_saved result "$(snapshot_names disk.qcow2 | awk '{ print $NF }')" 5

# The further disks are named.
new_image further.qcow2
expect_status 0 qemu_snap save -n both --result result disk.qcow2 \
    --with further.qcow2 < stream
jq -e '.saved.with == [ "further.qcow2" ]' result > /dev/null ||
    fail "$(cat result)"

# Errors, also of the command line.
expect_status 1 qemu_snap save -n third --result result disk.qcow2 < stream
jq -e '.error.class == "exists"' result > /dev/null || fail "$(cat result)"
expect_status 1 qemu_snap save --result result < stream
jq -e '.error.class == "invalid"' result > /dev/null || fail "$(cat result)"
head -c 100000 stream > part
expect_status 1 qemu_snap save --result result disk.qcow2 < part
jq -e '.error.class == "stream"' result > /dev/null || fail "$(cat result)"

# What cannot be written is said before anything is saved.
cp disk.qcow2 image-before
mkfifo pipe
echo something > notes
ln -s disk.qcow2 link
for wrong in pipe . missing/result disk.qcow2 ./disk.qcow2 link notes; do
    expect_status 1 qemu_snap save -n x --result "$wrong" disk.qcow2 < stream
    grep -q "result cannot go to '$wrong'" err || fail "$wrong: $(cat err)"
done
expect_status 1 qemu_snap save --frob --result disk.qcow2
expect_status 1 qemu_snap save --create -n x --result new.qcow2 ./new.qcow2 \
    < stream
expect_snapshots new.qcow2 x
expect_same image-before disk.qcow2
[ -p pipe ] || fail 'the FIFO is gone'
[ -z "$(find . -name 'result.*')" ] || fail 'a temporary file is left'

# Other commands have no result.
expect_status 1 qemu_snap list --result result disk.qcow2
