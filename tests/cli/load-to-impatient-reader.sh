#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# QEMU closes the pipe once it has parsed the end of the stream. What follows
# that end may be lost without harm; a reader that leaves earlier is an error.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
length=$(stat -L -c %s stream)
new_image disk.qcow2
cat stream <(head -c 4M /dev/zero) > padded
qemu_snap save --raw -n padded disk.qcow2 < padded

# load_to_reader_of BYTES: leaves the status of the load in `status'.
load_to_reader_of()
{
    status=0
    { qemu_snap load disk.qcow2 2> err || echo $? > status.file; } |
        head -c "$1" > loaded || true
    [ ! -e status.file ] || status=$(cat status.file)
    rm -f status.file
}

load_to_reader_of "$length"
[ $status = 0 ] || fail "status $status: $(cat err)"
expect_same stream loaded

load_to_reader_of $((length / 2))
[ $status = 1 ] || fail "status $status when the reader left in the middle"
grep -q -i '^qemu-snap: .*pipe' err || fail "no reason: $(cat err)"
