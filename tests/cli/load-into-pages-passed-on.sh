#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A load gives its pages to the pipe instead of copying them. Somebody behind
# it may pass the pages on unread, and read them late: they must still hold
# what they held when they were given.

. "$(dirname "$0")/../functions.sh"

${CC:-cc} -O2 -o splice-through "$TOP/tests/cli/splice-through.c"

# Each MiB differs from all others.
seq 1 9000000 > stream
qemu_snap save --raw --create -n first states.qcow2 < stream

# slowly BYTES: pass on so many, pause, then the rest.
slowly()
{
    head -c "$1"
    sleep 0.5
    cat
}

for depth in '' --depth=4 --depth=32 --cache=writeback; do
    # shellcheck disable=SC2086
    qemu_snap load -q --raw -T 'snap_stream_out,file=trace' $depth \
        states.qcow2 | ./splice-through | ./splice-through |
        ./splice-through | slowly 10M > loaded
    expect_same stream loaded
done

# It was what is written above that has been tested, if there are huge pages.
enabled=$(cat /sys/kernel/mm/transparent_hugepage/enabled 2> none || true)
case $enabled in
*'[never]'* | '') ;;
*) grep -q 'given=yes' trace || fail "nothing was given: $(cat trace)" ;;
esac
