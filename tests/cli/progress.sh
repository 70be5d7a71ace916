#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Progress goes to standard error, only when asked for: by -p or SIGUSR1.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2

expect_status 0 qemu_snap save -n quiet disk.qcow2 < stream
[ ! -s err ] || fail "not asked for: $(cat err)"
expect_status 0 qemu_snap save -p -n first disk.qcow2 < stream
expect_output ''
grep -q -E '[0-9.]+ MiB' err || fail "no bytes in '$(cat err)'"

expect_status 0 qemu_snap load -n first disk.qcow2
[ ! -s err ] || fail "not asked for: $(cat err)"
expect_status 0 qemu_snap load -p -n first disk.qcow2
expect_same stream out
grep -q '100' err || fail "no 100 % in '$(cat err)'"

# The signal, while the input pauses.
mkfifo pipe
"$QEMU_SNAP" save -n second disk.qcow2 < pipe 2> err &
exec 8> pipe
head -c 5M stream >&8
[ ! -s err ] || fail "not asked for: $(cat err)"
kill -USR1 $!
wait_until $PATIENCE test -s err || fail 'SIGUSR1 says nothing'
tail -c +$((5 * 1024 * 1024 + 1)) stream >&8
exec 8>&-
wait $!
grep -q -E '[0-9.]+ MiB' err || fail "no bytes in '$(cat err)'"
