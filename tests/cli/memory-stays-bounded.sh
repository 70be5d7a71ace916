#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The memory of a save and of a load does not grow with the stream.

. "$(dirname "$0")/../functions.sh"

# What VG needs would be measured too.
[ -z "$VG" ] || skip 'measures qemu-snap alone'
limit_kib=$((48 * 1024))

# The peak is asked for while the program waits at the end of a pipe.
mkfifo pipe

peak_kib()
{
    awk '$1 == "VmHWM:" { print $2 }' "/proc/$1/status"
}

expect_small()
{
    local peak
    peak=$(peak_kib "$1")
    echo "$2: $peak KiB"
    [ "$peak" -lt $limit_kib ] || fail "$2 took $peak KiB"
}

# lines BYTES
lines()
{
    yes 'not all zeros' | head -c "$1" || true
}

"$QEMU_SNAP" save --raw --create -n big states.qcow2 < pipe &
pid=$!
exec 8> pipe
lines 400M >&8
expect_small $pid save
exec 8>&-
wait $pid

"$QEMU_SNAP" load states.qcow2 > pipe &
pid=$!
exec 8< pipe
head -c 390M <&8 | cmp - <(lines 390M)
expect_small $pid load
cat <&8 > /dev/null
wait $pid
